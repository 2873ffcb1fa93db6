"""Everything that a run pins, resolved once from its sources: streams, sizes, numbers."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader.batch_reader import BatchReader, Recipe, is_sampled
from latentcache.loader.distributed import is_first
from latentcache.loader.gather.address_range import max_maps
from latentcache.loader.loader_options import LoaderOptions
from latentcache.loader.metadata_columns import SideValues
from latentcache.loader.order.batch_sizes import BatchSizes, Ranks, check_size
from latentcache.loader.order.epoch_order import ORDER_VERSION, OrderRule, StreamOrder
from latentcache.loader.order.feistel import Indices
from latentcache.loader.order.mixture import Member, Mixture, StepDraw
from latentcache.loader.run_state import STATE_FORMAT
from latentcache.loader.select.source_classes import LABEL, find_classes
from latentcache.loader.small_streams import SmallStream, iter_warnings
from latentcache.loader.streams.make_streams import StreamRule
from latentcache.loader.streams.open_sources import OpenSource, tensor_columns
from latentcache.loader.streams.shard_readahead import WindowsAhead, check_cache_holds_windows
from latentcache.loader.streams.stream import Stream
from latentcache.loader.streams.stream_column import share_maps
from latentcache.loader.text.text_columns import TextColumns, text_columns
from latentcache.loader.transform.column_modes import Mode, latents_mode, resolve_others
from latentcache.loader.transform.indices import IndexColumns
from latentcache.loader.transform.normalizer import Normalizer, primary_field, resolve_normalizer
from latentcache.store import ColumnView, Pin

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, beside the sources.

    Attributes:
        columns: Encoded columns, annotations and plan values.
        sizes: Of global batches.
        ranks: Who shares them.
        rule: Of the order.
        normalize: A mode or operations by column.
        device: Where tensors go.
        num_ahead: Batches that are made before they are taken.
        is_one_pass: Every row once, without stand-ins.
        options: What is rarely changed.
    """

    columns: tuple[str, ...]
    sizes: BatchSizes
    ranks: Ranks
    rule: OrderRule
    normalize: Mapping[str, Mode]
    device: torch.device | None
    num_ahead: int = 0
    is_one_pass: bool = False
    options: LoaderOptions = field(default_factory=LoaderOptions)

    def __post_init__(self) -> None:
        if self.is_one_pass and self.ranks.micro_batches != 1:
            raise ConfigError(
                f"micro_batches must be 1 for one pass, got {self.ranks.micro_batches}; leave it "
                f"out"
            )

    def as_of(self, state: Mapping[str, Any]) -> "Request":
        """Return the request of a run with whose state is gone on: it keeps its order version."""
        version = state["order"].get("version", self.rule.version)
        if version not in range(1, ORDER_VERSION + 1):
            raise ConfigError(
                f"order version must be 1 to {ORDER_VERSION}, got {version!r} (state); resume with "
                f"the version of latentcache that wrote it"
            )
        return replace(self, rule=replace(self.rule, version=version))

    @property
    def stream_rule(self) -> StreamRule:
        """What makes streams."""
        return replace(self.options.stream_rule, is_one_pass=self.is_one_pass)

    def order_json(self) -> dict[str, Any]:
        """Return what decides the order, as plain values."""
        return {
            "version": self.rule.version,
            "seed": self.rule.seed,
            "partitions": self.rule.partitions,
            "window_shards": self.rule.window_blocks,
            **({"one_pass": True} if self.is_one_pass else {}),
            **self.options.order_json(),
        }


class RunConfig:
    """What is drawn, from where, and what is done to it; fixed for a run.

    Attributes:
        opened: The sources.
        streams: All of them, in the order of the mixture's members.
        mixture: Which stream serves which step.
        encoded: The columns that encoders made, as the first source has them.
        recipe: What is done to tensors.
        side: What comes beside tensors.
        reader: Makes batches.
        texts: Columns of embedded texts.
        static: The part of the state that does not move.
    """

    def __init__(
        self, request: Request, opened: Sequence[OpenSource], state: Mapping[str, Any] | None
    ) -> None:
        """Resolve.

        Args:
            request: Of the user.
            opened: The sources.
            state: Of a run to go on with; what must not change is taken from it.

        Raises:
            ConfigError: Something asked for does not fit the sources or the run.
        """
        self._request, self.opened = request, tuple(opened)
        self._warnings: list[str] = []
        self.streams: list[Stream] = [stream for one in opened for stream in one.streams]
        if request.is_one_pass:
            for stream in self.streams:
                stream.leave_out_missing()
        columns = {
            id(column): column for stream in self.streams for column in stream.columns.values()
        }  # parts of a bucket share theirs
        share_maps(list(columns.values()), _max_tars())
        self.encoded = tensor_columns(opened[0].snapshot, request.columns)
        self.recipe = self._make_recipe(state)
        rest = [name for name in request.columns if name not in self.encoded]
        if LABEL in rest:
            find_classes([one.snapshot for one in opened])
        weights = request.options.text_weights
        self.side = SideValues(opened, rest, rule=request.rule, weights=weights)
        self.texts = TextColumns(
            text_columns(self.encoded),
            rule=request.rule,
            drop=request.options.text_drop,
            weights=weights,
        )
        _check_weights(weights, {*rest, *self.texts.annotations})
        self.texts.check_as_stored(self.recipe.others)
        self._indices = IndexColumns(self._views(), request.options.indices, request.device)
        self.reader = BatchReader(
            self.recipe, self.side, self.texts, self._indices, num_ahead=request.num_ahead
        )
        for stream in self.streams:  # what does not fit a bucket is said now, not at its turn
            for name in (self.recipe.latents, *self.recipe.others):
                if not stream.columns[name].is_varying:
                    self.reader.shape(stream, name, 1)
        self.mixture = self._make_mixture(self._make_sizes(state))
        members = self.mixture.members
        check_cache_holds_windows(self.streams, members, request.rule, request.ranks)
        self._windows = WindowsAhead(self.streams, members, request.rule)
        self.static = self._make_static()

    @property
    def pins(self) -> list[Pin]:
        """The snapshots that are read, by source."""
        return [one.snapshot.pin for one in self.opened]

    def say_warnings(self, told: set[str]) -> None:
        """Say what a person should know of the run, in the first process alone.

        Args:
            told: What was said before, and is not said again; grows.
        """
        for sentence in self._warnings if is_first(self._request.ranks) else ():
            if sentence not in told:
                told.add(sentence)
                logger.warning("%s", sentence)

    @property
    def is_windowed(self) -> bool:
        """Whether what comes a window later is to be fetched ahead."""
        return self._request.rule.window_blocks > 0

    def fetch_ahead(self, draw: StepDraw, part: slice) -> None:
        """Have fetched what the same part of this stream needs one window later."""
        self._windows.fetch(draw, part)

    def shapes(self, ranks: Ranks) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return, by bucket, the shape of every encoded column of one shape in a batch."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for member, stream in zip(self.mixture.members, self.streams, strict=True):
            each = member.batch_size // ranks.num_parts
            found[str(stream.bucket)] = {
                name: self.reader.shape(stream, name, each)
                for name, column in stream.columns.items()
                if not column.is_varying
            }
        return found

    def _make_recipe(self, state: Mapping[str, Any] | None) -> Recipe:
        request = self._request
        latents = "latents" if "latents" in self.encoded else next(iter(self.encoded))
        for stream in self.streams:
            if stream.columns[latents].is_varying:
                raise ConfigError(
                    f"{latents} must have one shape in bucket {stream.bucket} to be trained on, "
                    f"got samples of many; add a column of latents before it"
                )
        beside = self._views()
        views = beside[latents]
        fields = [field.name for field in views[0].record.fields]
        posterior = request.options.posterior
        is_float = "float" in primary_field(views[0]).dtype
        found = resolve_normalizer(
            views,
            latents_mode(request.normalize, latents) if is_float else "none",
            is_sampled=is_sampled(fields, posterior),
            warn=self._warnings.append,
        )
        others = resolve_others(beside, request.normalize, latents, warn=self._warnings.append)
        if state is not None:
            others = _kept_others(state.get("normalizers_beside", {}), others)
        if not (found.ops or is_sampled(fields, posterior)):
            _check_dtype(request.options.dtype, views[0])
        return Recipe(
            columns=request.columns,
            latents=latents,
            normalizer=found if state is None else _kept_normalizer(state["normalizer"], found),
            others=others,
            posterior=posterior,
            seed=request.rule.seed,
            device=request.device,
            dtype=getattr(torch, request.options.dtype),
            window_frames=request.options.window_frames,
            order_version=request.rule.version,
        )

    def _views(self) -> dict[str, list[ColumnView]]:
        """Return each encoded column in each source."""
        return {name: [one.snapshot.columns[name] for one in self.opened] for name in self.encoded}

    def _make_sizes(self, state: Mapping[str, Any] | None) -> dict[Bucket, int]:
        request, latents = self._request, self.recipe.latents
        shapes, axes = {}, ""
        for stream in self.streams:
            column = stream.columns[latents]
            primary = primary_field(column.view)
            axes, shapes[stream.bucket] = primary.axes, column.field(primary.name).shape
        sizes = request.sizes.resolve(shapes, request.ranks, axes=axes)
        if state is not None and request.sizes.tokens_per_rank is not None:
            # Tokens per rank were turned into samples once: other ranks share the same.
            pinned = {facts["bucket"]: facts["batch"] for facts in state["streams"].values()}
            sizes = {bucket: pinned.get(str(bucket), size) for bucket, size in sizes.items()}
            for bucket, size in sizes.items():
                check_size(size, request.ranks, where=f"bucket {bucket}")
        return sizes

    def _make_mixture(self, sizes: Mapping[Bucket, int]) -> Mixture:
        members = []
        shared: dict[str, Indices | None] = {}
        weights = [weight for one in self.opened for weight in one.weights()]
        for stream, weight in zip(self.streams, weights, strict=True):
            num_rows, size = stream.selection.num_rows, sizes[stream.bucket]
            rule = self._request.rule
            if stream.order_name not in shared:  # one order has one set of blocks
                shared[stream.order_name] = stream.block_starts() if rule.window_blocks else None
            order = StreamOrder(
                stream.order_name,
                num_rows,
                rule,
                block_rows=stream.block_rows,
                block_starts=shared[stream.order_name],
            )
            name = stream.place.name
            members.append(Member(order=order, weight=weight, batch_size=size, name=name))
        asked, num_parts = self._request.sizes, self._request.ranks.num_parts
        self._warnings += iter_warnings(self._small_streams(sizes), asked, num_parts=num_parts)
        if unused := asked.unused(sizes):
            had = ", ".join(map(str, sizes))
            self._warnings.append(f"global_batch_size names no bucket: {unused} (there are {had})")
        return Mixture(members, seed=self._request.rule.seed)

    def _small_streams(self, sizes: Mapping[Bucket, int]) -> list[SmallStream]:
        if self._request.is_one_pass:
            return []
        in_bucket: Counter[tuple[int, Bucket]] = Counter()
        for stream in self.streams:
            in_bucket[stream.place.source, stream.bucket] += stream.selection.num_rows
        return [
            SmallStream(
                num_rows=stream.selection.num_rows,
                num_in_bucket=in_bucket[stream.place.source, stream.bucket],
                batch_size=sizes[stream.bucket],
                bucket=stream.bucket,
                generation=stream.place.generation,
                part=stream.place.part,
                store=self.opened[stream.place.source].snapshot.folder.label,
            )
            for stream in self.streams
            if stream.selection.num_rows < sizes[stream.bucket]
        ]

    def _make_static(self) -> dict[str, Any]:
        request = self._request
        others = {name: each.to_json() for name, each in self.recipe.others.items()}
        return {
            "format": STATE_FORMAT,
            "order": request.order_json(),
            "columns": {name: view.record.fingerprint for name, view in self.encoded.items()},
            "posterior": request.options.posterior,
            "normalizer": self.recipe.normalizer.to_json(),
            **({"normalizers_beside": others} if others else {}),
            **({"indices": forms} if (forms := self._indices.asked_json()) else {}),
            "sources": [_source_json(one) for one in self.opened],
            "streams": {
                stream.place.name: {
                    "bucket": str(stream.bucket),
                    "rows": stream.selection.num_rows,
                    "selection": stream.selection.digest,
                    "batch": member.batch_size,
                }
                for stream, member in zip(self.streams, self.mixture.members, strict=True)
            },
            "parts": [request.ranks.world_size, request.ranks.micro_batches],
        }


def _check_weights(weights: Mapping[str, Any], known: set[str]) -> None:
    for name in weights:
        if name not in known:
            raise ConfigError(
                f"text_weights must name annotations that are loaded, or whose embeddings are "
                f"({', '.join(sorted(known)) or 'none'}), got {name!r}; correct it"
            )


def _max_tars() -> int | None:
    """Return half of what the system lets a process map: there are other loaders and libraries."""
    most = max_maps()
    return None if most is None else most // 2


def _source_json(one: OpenSource) -> dict[str, Any]:
    source = one.source
    return {
        "name": source.name,
        "pin": str(one.snapshot.pin),
        "selection": source.selection_key(),
        "weight": source.weight,
        "repeats": source.repeats,
    }


def _check_dtype(dtype: str, view: ColumnView) -> None:
    """Refuse a dtype for latents that are given as stored, in another one."""
    stored = primary_field(view).dtype
    if dtype not in (LoaderOptions().dtype, stored):
        raise ConfigError(
            f"dtype must be left out where {view.name} is given as stored, in {stored}, got "
            f'{dtype!r}; convert them in the training: batch["{view.name}"].to(torch.{dtype})'
        )


def _kept_normalizer(state: Mapping[str, Any], ours: Normalizer) -> Normalizer:
    """Return the run's normalization, by value; refuse one that was found another way.

    Measured figures change as a store grows: the run's stay what they were.
    """
    theirs = Normalizer.from_json(state)
    is_measured = theirs.source == ours.source == "measured"
    if theirs.mode != ours.mode or (theirs.to_json() != ours.to_json() and not is_measured):
        raise ConfigError(
            f"normalize must be that of the run, got {ours.to_json()} where the run has "
            f"{theirs.to_json()}; pass the run's operations, or start a new run"
        )
    return theirs


def _kept_others(state: Mapping[str, Any], ours: Mapping[str, Normalizer]) -> dict[str, Normalizer]:
    """Return the normalizers of the run's further columns; refuse others than it had."""
    if set(state) != set(ours):
        raise ConfigError(
            f"normalize must name the columns of the run ({', '.join(sorted(state)) or 'none'} "
            f"besides the latents), got {', '.join(sorted(ours)) or 'none'}; pass the same"
        )
    return {name: _kept_normalizer(state[name], ours[name]) for name in ours}
