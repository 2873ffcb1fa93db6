"""The loader: what a training script iterates over, and what it saves and resumes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn, Self

import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.batch_maker import BatchMaker, Position, state_at
from latentcache.loader.batch_reader import Posterior, find_device
from latentcache.loader.cache.shard_cache import CacheProgress, ShardCache
from latentcache.loader.distributed import check_agreement, find_ranks, share_pins
from latentcache.loader.latent_batch import Batch
from latentcache.loader.order.batch_sizes import BatchSizes
from latentcache.loader.order.epoch_order import OrderRule
from latentcache.loader.order.mixture import Cursor
from latentcache.loader.order.whole_numbers import whole
from latentcache.loader.prefetch import Prefetcher
from latentcache.loader.run_config import Request, ResolvedRun
from latentcache.loader.run_state import check_same, check_streams, check_within_step
from latentcache.loader.select.source import Sources, as_sources
from latentcache.loader.streams.open_sources import OpenSource, open_sources
from latentcache.loader.transform.normalizer import Normalise, NormalizeMode
from latentcache.store import Pin


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """What is rarely changed.

    Attributes:
        posterior: ``sample`` draws latents where a log-variance is stored, ``mode`` takes
            the mean.
        patch: Latent cells (T, H, W) per token, for ``tokens_per_rank``.
        partitions: Lanes that every global batch takes equally much from; a multiple of
            the number of nodes keeps each node on its own shards.
        window_shards: Read whole shards in a shuffled order and shuffle rows among this
            many; 0 shuffles everything, which is right for data that fits in memory or
            on a fast local disk.
        cache: Folder on a local disk for the tars of remote stores; processes share it.
        cache_bytes: Most it may hold.
        verify: Compare each local tar with its checksum when it is first needed, which reads
            it whole (half a gigabyte to two a second); those of remote stores always are.
        is_collective: In a process group, all its processes make this loader, and agree on
            what it reads; False for one that only some of them make, as rank 0 does for an
            evaluation.
        window_frames: Latent frames to take of each clip that has as many, at a place drawn anew
            each time: clips of one height and width make batches together, whatever their
            length. 0 takes clips whole.
        prefetch: Batches that a thread makes ahead; None is 2 for a CUDA device and 0 for the
            CPU, where the thread would take the training's cores.
    """

    posterior: Posterior = "sample"
    patch: tuple[int, int, int] = (1, 2, 2)
    partitions: int = 1
    window_shards: int = 0
    cache: str | Path | None = None
    cache_bytes: int = 64 * 2**30
    verify: bool = False
    is_collective: bool = True
    window_frames: int = 0
    prefetch: int | None = None

    def __post_init__(self) -> None:
        if self.posterior not in ("sample", "mode"):
            raise ConfigError(f"posterior must be sample or mode, got {self.posterior!r}")
        whole(self.prefetch or 0, name="prefetch", least=0)
        whole(self.window_frames, name="window_frames", least=0)

    def num_ahead(self, device: torch.device | None) -> int:
        """Return how many batches are made ahead for a device."""
        if self.prefetch is not None:
            return self.prefetch
        return 2 if device is not None and device.type == "cuda" else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCoverage:
    """How far a run has come in one stream.

    Attributes:
        stream: Source, generation and bucket.
        num_rows: Selected rows.
        num_missing: Selected rows that a column lacks; substitutes stand in for them.
        num_drawn: Samples drawn so far, by all ranks.
        epochs: ``num_drawn / num_rows``.
    """

    stream: str
    num_rows: int
    num_missing: int
    num_drawn: int
    epochs: float


class LatentLoader:
    """Endless batches from one or more stores, the same for any number of ranks.

    Attributes:
        wait_s: Seconds that whoever iterates has spent in ``next`` so far. Divided by the
            time that passed, it is the share of training that waited for data.
    """

    _run: ResolvedRun
    _maker: BatchMaker
    _position: Position

    def __init__(  # noqa: PLR0913  a training script names what it wants, in one place
        self,
        sources: Sources,
        *,
        columns: Sequence[str] = ("latents",),
        global_batch_size: int | Mapping[str, int] | None = None,
        tokens_per_rank: int | None = None,
        micro_batches: int = 1,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        device: str | torch.device | None = None,
        normalize: bool | NormalizeMode | Sequence[Mapping[str, Any]] = True,
        options: LoaderOptions | None = None,
    ) -> None:
        """Open the sources and resolve everything that a run pins.

        Args:
            sources: A store or its URL, a ``Source``, or several.
            columns: Encoded columns, annotations and plan values (``crop`` ...).
            global_batch_size: Samples of an optimizer step over all ranks, or by bucket.
            tokens_per_rank: Instead: tokens of one micro-batch of one rank.
            micro_batches: Batches per rank and optimizer step.
            seed: Of the order and of all draws.
            rank: Data-parallel rank; None asks ``torch.distributed``.
            world_size: Data-parallel ranks.
            device: Where tensors go.
            normalize: True takes published figures, else measured ones; False gives raw
                fields; or a mode or operations, see ``resolve_normalise``.
            options: The rest.

        Raises:
            ConfigError: Something asked for does not fit; says what does.
            StoreError: A store or snapshot cannot be opened.
        """
        self._sources = as_sources(sources)
        chosen = LoaderOptions() if options is None else options
        if not isinstance(chosen, LoaderOptions):
            raise ConfigError(
                f"options must be LoaderOptions, got {options!r}; write LoaderOptions(name=value)"
            )
        mode: Any = (
            {True: "auto", False: "none"}[normalize] if normalize in (True, False) else normalize
        )
        self._ranks = find_ranks(rank, world_size, micro_batches)
        place = find_device(device)
        self._depth = chosen.num_ahead(place)
        self._request = Request(
            columns=_column_names(columns),
            sizes=BatchSizes(
                global_batch_size=global_batch_size,
                tokens_per_rank=tokens_per_rank,
                patch=chosen.patch,
            ),
            ranks=self._ranks,
            rule=OrderRule(
                seed=seed, partitions=chosen.partitions, window_blocks=chosen.window_shards
            ),
            posterior=chosen.posterior,
            normalize=mode,
            device=place,
            num_ahead=self._depth,
            window_frames=chosen.window_frames,
        )
        self._verify = chosen.verify
        self._cache = (
            ShardCache(Path(chosen.cache), chosen.cache_bytes) if chosen.cache is not None else None
        )
        self._num_iterators = 0
        self._is_collective, self._process = chosen.is_collective, os.getpid()
        self.wait_s = 0.0
        newest = self._open([None] * len(self._sources))
        pins = [one.snapshot.pin for one in newest]
        shared = share_pins(pins) if self._is_collective else pins
        self._resolve(newest if shared == pins else self._open(shared))
        self._ahead: Prefetcher[Batch, Position] | None = None
        self._go_to(Position())

    @classmethod
    def from_mesh(cls, sources: Sources, mesh: Any, *, dp: str = "dp", **options: Any) -> Self:
        """Return the loader of a process in a device mesh.

        Processes that share a place along ``dp`` (context- and tensor-parallel ones) get
        the same batches.

        Args:
            sources: As for the constructor, like ``options``.
            mesh: A ``torch.distributed.DeviceMesh``.
            dp: Name of its data-parallel dimension.
            options: Keywords of the constructor.
        """
        line = mesh[dp]
        return cls(sources, rank=line.get_local_rank(), world_size=line.size(), **options)

    @property
    def normalise(self) -> Normalise:
        """What is done to the latents: keep it beside the model's weights."""
        return self._run.recipe.normalise

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._position.cursor.step

    def __iter__(self) -> Iterator[Batch]:
        """Yield micro-batches for ever, from where the loader stands."""
        if torch.utils.data.get_worker_info() is not None:
            raise ConfigError(
                "loader must be iterated in the training process, got a DataLoader worker; "
                "iterate over the loader itself, it needs no workers"
            )
        self._num_iterators += 1
        try:
            while True:
                began = perf_counter()
                batch = self._next()
                self.wait_s += perf_counter() - began
                yield batch
        finally:
            self._num_iterators -= 1
            if self._ahead is not None and not self._num_iterators:
                self._ahead.pause()

    def __getitem__(self, index: Any) -> NoReturn:
        """Refuse a ``DataLoader`` or sampler around the loader."""
        raise ConfigError(
            f"loader must be iterated, got an index ({index!r}); it makes whole batches, and needs "
            f"neither a DataLoader nor a sampler around it"
        )

    def __reduce__(self) -> NoReturn:
        """Refuse a copy, which would give every batch twice."""
        raise ConfigError(
            "loader must stay in the process that made it, got a pickle or copy; make one where "
            "it is used, and carry state_dict() there"
        )

    def __len__(self) -> int:
        """Return how many batches this rank gets while the average sample is seen once."""
        members, shares = self._run.mixture.members, self._run.mixture.shares
        drawn = sum(
            member.batch_size * share for member, share in zip(members, shares, strict=True)
        )
        per_step = drawn / sum(shares)
        num_samples = sum(
            one.source.repeats * stream.selection.num_rows
            for one in self._run.opened
            for stream in one.streams
        )
        return max(1, round(num_samples / float(per_step))) * self._ranks.micro_batches

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that was handed out, as plain values."""
        return state_at(self._position, self._run.static)

    def load_state_dict(self, state: Mapping[str, Any], *, newest: bool = False) -> None:
        """Go on where a run stood, whatever its ranks were.

        Args:
            state: A batch's or a loader's.
            newest: Stay on the snapshot opened now instead of going back to the run's;
                what the store gained is new to the run, what it had goes on.

        Raises:
            ConfigError: It is another run's: encoding, order, sources or rows differ. The
                loader goes on as if nothing had been asked.
        """
        check_same(state, self._run.static)
        before = self._run
        try:
            if not newest:
                self._reopen([Pin.parse(one["pin"]) for one in state["sources"]])
            check_streams(state["streams"], self._run.static["streams"], may_grow=newest)
            self._resolve(list(self._run.opened), state)
            check_within_step(state, self._run.static)
        except BaseException:
            self._run = before
            raise
        cursor = Cursor(step=state["step"], positions=dict(state["positions"]))
        self._go_to(Position(cursor, state["micro"]))

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return, by bucket, the shape of every encoded column in a batch: what to compile for.

        Columns whose samples vary in size within a bucket are left out.
        """
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for member, stream in zip(self._run.mixture.members, self._run.streams, strict=True):
            each = member.batch_size // self._ranks.num_parts
            found[str(stream.bucket)] = {
                name: self._run.reader.shape(stream, name, each)
                for name, column in stream.columns.items()
                if not column.is_varying
            }
        return found

    def cache_progress(self) -> CacheProgress | None:
        """Return what this process has fetched so far, None without a cache."""
        return None if self._cache is None else self._cache.progress()

    def coverage(self) -> list[StreamCoverage]:
        """Return how far each stream has come."""
        positions = self._position.cursor.positions
        return [
            StreamCoverage(
                stream=stream.place.name,
                num_rows=stream.selection.num_rows,
                num_missing=stream.selection.num_rows - stream.num_present,
                num_drawn=positions.get(stream.place.name, 0),
                epochs=positions.get(stream.place.name, 0) / stream.selection.num_rows,
            )
            for stream in self._run.streams
        ]

    def _next(self) -> Batch:
        if os.getpid() != self._process:
            raise ConfigError(
                "loader must be iterated in the process that made it, got a fork of it; make "
                "a loader in each process, with its rank and world_size"
            )
        if self._ahead is None:
            batch, after = self._maker.make(self._position)
        else:
            batch, after = self._ahead.take()
        batch.arrive()
        # Only a batch that is handed out counts, and only one that was read whole is.
        self._position = after
        return batch

    def _go_to(self, position: Position) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._position = position
        self._maker = BatchMaker(self._run, self._ranks, seed=self._request.rule.seed)
        if self._depth:
            self._ahead = Prefetcher(self._maker.make, position, depth=self._depth)

    def _open(self, pins: Sequence[Pin | None]) -> list[OpenSource]:
        return open_sources(
            self._sources,
            pins,
            self._request.columns,
            self._cache,
            is_verified=self._verify,
            window_frames=self._request.window_frames,
        )

    def _reopen(self, pins: Sequence[Pin]) -> None:
        now = [one.snapshot.pin for one in self._run.opened]
        if list(pins) == now:
            return
        for source, theirs, ours in zip(self._sources, pins, now, strict=True):
            if source.snapshot is not None and theirs != ours:
                raise ConfigError(
                    f"snapshot of source {source.name} must be {theirs}, got {ours}; leave the "
                    f"snapshot out to resume on the run's, or pass newest=True to move on"
                )
        self._resolve(self._open(pins))

    def _resolve(self, opened: list[OpenSource], state: Mapping[str, Any] | None = None) -> None:
        self._run = ResolvedRun(self._request, opened, state)
        if self._is_collective:
            check_agreement(self._run.static, self._ranks)


def _column_names(columns: Sequence[str]) -> tuple[str, ...]:
    is_list = isinstance(columns, Sequence) and not isinstance(columns, str)
    if not is_list or not columns or not all(isinstance(name, str) for name in columns):
        raise ConfigError(
            f'columns must be a list of names, got {columns!r}; write for example ["latents"]'
        )
    return tuple(dict.fromkeys(columns))
