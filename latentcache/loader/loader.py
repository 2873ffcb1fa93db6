"""The loader: what a training script iterates over, and what it saves and resumes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from time import perf_counter
from typing import Any, Never, NoReturn, Self

import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.batch_maker import BatchMaker, Position, state_at
from latentcache.loader.batch_reader import find_device
from latentcache.loader.cache.shard_cache import CacheProgress
from latentcache.loader.coverage import StreamCoverage, coverage_of
from latentcache.loader.distributed import (
    check_agreement,
    check_group_is_there,
    find_ranks,
    is_grouped,
    share_pins,
)
from latentcache.loader.find_snapshot import pins_of_run
from latentcache.loader.latent_batch import Batch
from latentcache.loader.loader_options import LoaderOptions, column_names, refuse_unknown
from latentcache.loader.loader_text import as_text
from latentcache.loader.order.batch_sizes import BatchSizes, Ranks
from latentcache.loader.order.mixture import Cursor
from latentcache.loader.pass_maker import PassMaker
from latentcache.loader.prefetch import Prefetcher
from latentcache.loader.run_config import Request, RunConfig
from latentcache.loader.run_state import (
    check_same,
    check_streams,
    check_within_step,
    sealed,
    stores_of,
    unsealed,
)
from latentcache.loader.select.source import Sources, Split, as_sources, held_out_as
from latentcache.loader.select.source_classes import find_classes
from latentcache.loader.streams.open_sources import OpenSource, open_sources
from latentcache.loader.text.text_columns import TextFields
from latentcache.loader.transform.column_modes import Mode, modes_of
from latentcache.loader.transform.normalizer import Normalizer
from latentcache.store import ColumnView, Pin


class LatentLoader:
    """Endless batches from one or more stores, the same for any number of ranks.

    Attributes:
        wait_s: Seconds that whoever iterates has spent in ``next`` so far. Divided by the
            time that passed, it is the share of training that waited for data.
    """

    _run: RunConfig
    _maker: BatchMaker | PassMaker
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
        normalize: bool | Mode | Mapping[str, bool | Mode] = True,
        split: Split | None = None,
        one_pass: bool = False,
        options: LoaderOptions | None = None,
        **unknown: Never,
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
                fields; or a mode or operations, see ``resolve_normalizer``; or one by column.
            split: ``train`` or ``val``, of all sources; see ``Source``.
            one_pass: Every selected row once, the same batches in each pass, for validation.
            options: The rest.
            unknown: Nothing; peers' words are answered with ours.

        Raises:
            ConfigError: Something asked for does not fit; says what does.
            StoreError: A store or snapshot cannot be opened.
        """
        refuse_unknown(unknown)
        self._sources = as_sources(sources, split=split, is_one_pass=one_pass)
        chosen = LoaderOptions.of(options)
        self._given_ranks = (rank, world_size, micro_batches)
        self._ranks = find_ranks(*self._given_ranks)
        place = find_device(device)
        self._depth = chosen.num_ahead(place)
        self._request = Request(
            columns=column_names(columns),
            sizes=BatchSizes(
                global_batch_size=global_batch_size,
                tokens_per_rank=tokens_per_rank,
                patch=chosen.patch,
            ),
            ranks=self._ranks,
            rule=chosen.order_rule(seed, is_one_pass=one_pass),
            normalize=modes_of(normalize),
            device=place,
            num_ahead=self._depth,
            is_one_pass=one_pass,
            options=chosen,
        )
        self._verify, self._num_iterators, self.wait_s = chosen.verify, 0, 0.0
        self._cache = chosen.open_cache([one.store for one in self._sources])
        self._is_collective, self._process = chosen.is_collective, os.getpid()
        self._told: set[str] = set()
        self._ahead: Prefetcher[Batch, Position] | None = None
        self._resumed: Mapping[str, Any] | None = None
        self._begun: Ranks | None = None
        self._pass_number, self._pass_start, self._drawing = 0, Position(), Lock()
        self._resolve(self._open([None] * len(self._sources)))
        self._go_to(Position())
        self._agree()

    @classmethod
    def from_mesh(cls, sources: Sources, mesh: Any, *, dp: str = "dp", **options: Any) -> Self:
        """Return the loader of a process in a device mesh.

        Context- and tensor-parallel processes, which share a place along ``dp``, get the same.

        Args:
            sources: As for the constructor, like ``options``.
            mesh: A ``torch.distributed.DeviceMesh``.
            dp: Name of its data-parallel dimension.
            options: Keywords of the constructor.
        """
        line = mesh[dp]
        return cls(sources, rank=line.get_local_rank(), world_size=line.size(), **options)

    @property
    def normalizer(self) -> Normalizer:
        """What is done to the latents: keep it beside the model's weights."""
        return self._run.recipe.normalizer

    @property
    def normalizers(self) -> Mapping[str, Normalizer]:
        """What is done to each column that is normalized, the latents first."""
        return self._run.recipe.normalizers

    @property
    def micro_batches(self) -> int:
        """Batches of each rank in an optimizer step."""
        return self._ranks.micro_batches

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._position.cursor.step

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes that ``label`` numbers; None where labels came as numbers."""
        return find_classes([one.snapshot for one in self._run.opened])

    def kind_of(self, column: str) -> str:
        """Return ``encoded``, ``number``, ``text`` or ``other``: what a column holds."""
        return "encoded" if column in self._run.encoded else self._run.side.kind(column)

    def view_of(self, column: str) -> ColumnView:
        """Return an encoded column as it is read: of a run that goes on, its own snapshot's."""
        return self._run.encoded[column]

    def __str__(self) -> str:
        """Return what is read, how much, by whom and how normalized, in some lines."""
        return as_text(self._run, self._ranks, self.step)

    def __iter__(self) -> Iterator[Batch]:
        """Yield micro-batches: for ever, from where the loader stands, or those of one pass.

        Raises:
            ConfigError: Ranks are not those with which the loader began.
        """
        if torch.utils.data.get_worker_info() is not None:
            raise ConfigError(
                "loader must be iterated in the training process, got a DataLoader worker; "
                "iterate over the loader itself, it needs no workers"
            )
        self._take_ranks()
        self._run.say_warnings(self._told)
        self._num_iterators += 1
        try:
            yield from self._pass() if self._request.is_one_pass else iter(self._timed, None)
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
            "it is used, with state_dict()"
        )

    def __len__(self) -> int:
        """Return this rank's batches: of a pass, or while the average sample is seen once."""
        self._settle_ranks()
        return self._maker.num_batches

    @property
    def state(self) -> dict[str, Any]:
        """The state after the last batch that was handed out, as plain values."""
        self._settle_ranks()
        return state_at(self._position, self._run.static)

    def state_dict(self) -> dict[str, Any]:
        """Return ``state`` as one text, for frameworks that load into what a loader has now."""
        return sealed(self.state)

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
        state = unsealed(state)
        self._settle_ranks()
        before = self._run, self._request, self._sources
        try:
            self._sources = held_out_as(self._sources, state["sources"])
            if self._sources != before[2]:
                self._resolve(self._open(self._run.pins))
            self._request = self._request.as_of(state)
            ours = {**self._run.static, "order": self._request.order_json()}
            if not newest and stores_of(state) == stores_of(ours):
                ours["columns"] = state["columns"]  # a snapshot that serves them is looked for
            check_same(state, ours)
            self._resolve(list(self._run.opened)) if newest else self._reopen(state)
            check_same(state, self._run.static)
            check_streams(state["streams"], self._run.static["streams"], may_grow=newest)
            self._resolve(list(self._run.opened), state)
            check_within_step(state, self._run.static)
        except BaseException:
            self._run, self._request, self._sources = before
            raise
        self._resumed, self._begun = state, None
        self._agree()
        cursor = Cursor(step=state["step"], positions=dict(state["positions"]))
        self._pass_start = Position(cursor, state["micro"])
        self._go_to(self._pass_start)

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return, by bucket, the shape in a batch of every encoded column that has one."""
        self._settle_ranks()
        return self._run.shapes(self._ranks)

    def empty_text(self, name: str) -> TextFields | None:
        """Return the empty text's fields of a column of texts, None of another column."""
        return self._run.texts.empty(name) if name in self._run.texts else None

    def cache_progress(self) -> CacheProgress | None:
        """Return what this process has fetched so far, None without a cache."""
        return None if self._cache is None else self._cache.progress()

    def coverage(self) -> list[StreamCoverage]:
        """Return how far each stream has come."""
        return coverage_of(self._run.streams, self._position.cursor.positions)

    def _pass(self) -> Iterator[Batch]:
        """Yield the batches of one pass; what was loaded in mid-pass goes on there."""
        self._pass_number += 1
        number, start = self._pass_number, self._pass_start
        self._pass_start = Position()
        if self._position != start:
            self._go_to(start)
        for _ in range(start.cursor.step, len(self)):
            if number != self._pass_number:
                raise ConfigError(
                    "pass must be the loader's last, got an older one after another was begun; "
                    "make a loader for each"
                )
            yield self._timed()

    def _timed(self) -> Batch:
        began = perf_counter()
        batch = self._next()
        self.wait_s += perf_counter() - began
        return batch

    def _next(self) -> Batch:
        if os.getpid() != self._process:
            raise ConfigError(
                "loader must be iterated in the process that made it, got a fork of it; make "
                "a loader in each process, with its rank and world_size"
            )
        if not self._drawing.acquire(blocking=False):
            raise ConfigError(
                "loader must be iterated by one training at a time, got two threads; make a loader "
                "for each"
            )
        try:
            if self._ahead is None:
                batch, after = self._maker.make(self._position)
            else:
                batch, after = self._ahead.take()
            batch.arrive()
            # Only a batch that is handed out counts, and only one that was read whole is.
            self._position = after
        finally:
            self._drawing.release()
        return batch

    def _go_to(self, position: Position) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._position = position
        kind = PassMaker if self._request.is_one_pass else BatchMaker
        self._maker = kind(self._run, self._ranks)
        if self._depth:
            self._ahead = Prefetcher(self._maker.make, position, depth=self._depth)

    def _settle_ranks(self) -> None:
        """Take the ranks that there are now: a loader may be made before the process group."""
        ranks = find_ranks(*self._given_ranks)
        if ranks == self._ranks:
            return
        if self._begun is not None:
            raise ConfigError(
                f"ranks must stay those with which the loader began, got rank {ranks.rank} of "
                f"{ranks.world_size} where it began as {self._begun.rank} of "
                f"{self._begun.world_size}; make a loader in the new process group and load the "
                f"state into it"
            )
        self._ranks, self._request = ranks, replace(self._request, ranks=ranks)
        self._resolve(list(self._run.opened), self._resumed)
        self._go_to(self._position)

    def _take_ranks(self) -> None:
        """Settle the ranks when iteration begins, and agree with the others if that is new."""
        self._settle_ranks()
        if self._is_collective and self._given_ranks[0] is None:
            check_group_is_there()
        if self._is_agreed != is_grouped():
            self._agree()
        self._begun = self._ranks

    def _agree(self) -> None:
        """Read the snapshots that rank 0 reads, and compare what all are about to do."""
        self._is_agreed = is_grouped()
        if not self._is_collective:
            return
        if (shared := share_pins(self._run.pins)) != self._run.pins:
            self._resolve(self._open(shared), self._resumed)
            self._go_to(self._position)
        check_agreement(self._run.static, self._ranks)

    def _open(self, pins: Sequence[Pin | None]) -> list[OpenSource]:
        return open_sources(
            self._sources,
            pins,
            self._request.columns,
            self._cache,
            is_verified=self._verify,
            rule=self._request.stream_rule,
        )

    def _reopen(self, state: Mapping[str, Any]) -> None:
        """Go to the snapshots of a run, or to the nearest that serve its encodings."""
        pins = pins_of_run(self._sources, state, self._run.pins)
        self._resolve(list(self._run.opened) if pins == self._run.pins else self._open(pins))

    def _resolve(self, opened: list[OpenSource], state: Mapping[str, Any] | None = None) -> None:
        self._run = RunConfig(self._request, opened, state)
