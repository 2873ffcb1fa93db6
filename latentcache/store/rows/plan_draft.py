"""Writing a generation's tables: rows come as a stream, and memory stays flat in their number."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from latentcache.core.errors import StoreError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.seeds import new_write_id
from latentcache.core.units import BucketRun
from latentcache.storage import Folder
from latentcache.store.format.object_names import (
    PlanTable,
    plan_name,
    plan_part_name,
    plan_table_name,
)
from latentcache.store.format.records import Generation, PlanPart, TableRef
from latentcache.store.format.write_check import STALE_AFTER_S, land_file
from latentcache.store.rows.annotations import write_annotations
from latentcache.store.rows.plan_tables import (
    BESIDE_SCHEMA,
    PLACED_PLAN_SCHEMA,
    PLAN_SCHEMA,
    REJECTS_SCHEMA,
    RETIRED_SCHEMA,
)

ROWS_PER_GROUP = 65_536
"""A row group closes at the first shard end past this: a unit costs one group to read."""
GROUPS_PER_PART = 16
"""About a million rows, 50 to 100 MB."""


@dataclass(frozen=True, kw_only=True)
class GenerationDraft:
    """A generation about to be written; its iterators are read once.

    Attributes:
        corpus_url: Root of the corpus, without credentials.
        corpus_kind: How it was read.
        options: The plan's options, as plain values.
        seed: Of the placement.
        runs: The shards, consecutive, continuing after the parent's last.
        rows: Tables of ``PLAN_SCHEMA``, of any lengths, in (shard, row) order; of
            ``PLACED_PLAN_SCHEMA`` where samples may have several.
        rejects: Tables of ``REJECTS_SCHEMA``.
        retired: Tables of ``RETIRED_SCHEMA``.
        beside: Tables of ``BESIDE_SCHEMA``.
        annotations: By name, tables as ``Store.write_annotations`` takes them; written before
            the record, so that a generation never exists without its captions.
        given: By annotation, the values that somebody gave, bool by place in the plan; see
            ``write_annotations``.
        totals: What the scan counted: ``listed``, ``bytes``, ``ignored`` ...
        num_placements: Rows that a sample may have.
    """

    corpus_url: str
    corpus_kind: str
    options: Mapping[str, Any]
    seed: int
    runs: tuple[BucketRun, ...]
    rows: Iterable[pa.Table]
    rejects: Iterable[pa.Table] = ()
    retired: Iterable[pa.Table] = ()
    beside: Iterable[pa.Table] = ()
    annotations: Mapping[str, Iterable[pa.Table]] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    totals: Mapping[str, Any]
    num_placements: int = 1

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""
        return PLACED_PLAN_SCHEMA if self.num_placements > 1 else PLAN_SCHEMA

    def __post_init__(self) -> None:
        for before, after in zip(self.runs, self.runs[1:], strict=False):
            expected = before.first_shard + before.num_shards
            if after.first_shard != expected:
                raise ValueError(
                    f"runs must be consecutive, got shard {after.first_shard} after "
                    f"{expected - 1} ({after.bucket}); number the shards without gaps"
                )


def write_draft(
    folder: Folder, draft: GenerationDraft, *, number: int, parent: str | None
) -> tuple[Generation, bool]:
    """Write a draft's tables and annotations, then the record that makes it exist.

    Args:
        folder: The store.
        draft: Its iterators are used up.
        number: Of the generation.
        parent: Digest of the one before.

    Returns:
        The record, and whether it is the store's; False if another run's has the number.

    Raises:
        StoreError: It took so long that gc may have collected the tables.
    """
    clock = folder.policy.clock
    began_s = clock()
    ours = write_tables(folder, draft, number=number, parent=parent)
    for of, tables in draft.annotations.items():
        write_annotations(folder, ours, of, tables, given=draft.given.get(of))
    name = plan_name(number)
    _check_fresh(clock() - began_s, name, folder)
    is_there = folder.create_if_absent(name, ours.to_bytes(), write_id=ours.write_id)
    if is_there and clock() - began_s > STALE_AFTER_S:  # it slept between the look and the put
        folder.delete([name])
        _check_fresh(clock() - began_s, name, folder)
    return ours, is_there


def _check_fresh(took_s: float, name: str, folder: Folder) -> None:
    if took_s > STALE_AFTER_S:
        raise StoreError(
            f"tables of a plan must be named within {STALE_AFTER_S / 3600:.0f} h, got "
            f"{took_s / 3600:.0f} h ({name} in {folder.label}); gc may have collected them: run it "
            "again"
        )


def write_tables(
    folder: Folder, draft: GenerationDraft, *, number: int, parent: str | None
) -> Generation:
    """Write a draft's tables and return its record, which the caller then makes exist.

    Args:
        folder: The store.
        draft: Its iterators are used up.
        number: Of the generation.
        parent: Digest of the one before.

    Raises:
        ValueError: The rows are not those that ``draft.runs`` promise.
    """
    write_id = new_write_id()
    with tempfile.TemporaryDirectory(prefix="latentcache-plan-") as scratch:
        path = Path(scratch) / "table.parquet"
        parts = tuple(_write_parts(folder, draft, number=number, write_id=write_id, path=path))
        small: dict[str, TableRef | None] = {}
        kinds: tuple[tuple[PlanTable, pa.Schema, Iterable[pa.Table]], ...] = (
            ("rejects", REJECTS_SCHEMA, draft.rejects),
            ("retired", RETIRED_SCHEMA, draft.retired),
            ("beside", BESIDE_SCHEMA, draft.beside),
        )
        for kind, schema, tables in kinds:
            name = plan_table_name(number, kind, write_id)
            small[kind] = _write_small(folder, name, schema, tables, path=path)
    rejects = small["rejects"]
    num_rows = sum(part.num_rows for part in parts)
    counts: dict[str, Any] = {"rows": num_rows, "rejects": rejects.num_rows if rejects else 0}
    if beside := small["beside"]:
        counts["beside"] = asdict(beside)
    return Generation(
        write_id=write_id,
        number=number,
        parent=parent,
        corpus_url=draft.corpus_url,
        corpus_kind=draft.corpus_kind,
        options=dict(draft.options),
        options_digest=fingerprint(dict(draft.options)),
        seed=draft.seed,
        runs=draft.runs,
        parts=parts,
        rejects=rejects,
        retired=small["retired"],
        totals={**draft.totals, **counts},
        num_placements=draft.num_placements,
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Consecutive shards that share a row group."""

    shards: tuple[int, ...]
    sizes: tuple[int, ...]
    buckets: tuple[str, ...]


def _iter_groups(runs: Sequence[BucketRun]) -> Iterator[_Group]:
    pending: list[tuple[int, int, str]] = []
    num_rows = 0
    for run in runs:
        bucket = str(run.bucket)
        for shard in range(run.first_shard, run.first_shard + run.num_shards):
            size = run.rows_in_shard(shard)
            pending.append((shard, size, bucket))
            num_rows += size
            if num_rows >= ROWS_PER_GROUP:
                yield _Group(*zip(*pending, strict=True))
                pending, num_rows = [], 0
    if pending:
        yield _Group(*zip(*pending, strict=True))


def _write_parts(
    folder: Folder, draft: GenerationDraft, *, number: int, write_id: str, path: Path
) -> Iterator[PlanPart]:
    source = _RowSource(draft.rows, draft.schema)
    groups = _iter_groups(draft.runs)
    for part, first in enumerate(groups):
        of_part = [first, *islice(groups, GROUPS_PER_PART - 1)]
        with pq.ParquetWriter(path, draft.schema, compression="zstd") as writer:
            for group in of_part:
                table = source.take(sum(group.sizes))
                _check_rows(table, group)
                writer.write_table(table, row_group_size=max(1, len(table)))
        name = plan_part_name(number, part, write_id)
        landed = land_file(folder, name, path)
        path.unlink()
        shards = [shard for group in of_part for shard in group.shards]
        yield PlanPart(
            name=name,
            size_bytes=landed.size_bytes,
            sha256=landed.sha256,
            num_rows=sum(sum(group.sizes) for group in of_part),
            first_shard=shards[0],
            num_shards=len(shards),
        )
    source.check_exhausted()


class _RowSource:
    """Cuts a stream of tables into lengths of our choosing."""

    def __init__(self, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        self._tables, self._schema = iter(tables), schema
        self._rest: pa.Table | None = None

    def take(self, num_rows: int) -> pa.Table:
        pieces: list[pa.Table] = []
        missing = num_rows
        while missing:
            table = self._next()
            if table is None:
                raise ValueError(
                    f"rows must be as many as the runs promise, got {missing} too few; "
                    f"count rows and runs in one pass"
                )
            pieces.append(table.slice(0, missing))
            self._rest = table.slice(missing) if len(table) > missing else None
            missing -= len(pieces[-1])
        return pa.concat_tables(pieces).unify_dictionaries().combine_chunks()

    def check_exhausted(self) -> None:
        if self._next() is not None:
            raise ValueError(
                "rows must be as many as the runs promise, got more; "
                "count rows and runs in one pass"
            )

    def _next(self) -> pa.Table | None:
        if self._rest is not None:
            return self._rest
        for table in self._tables:
            if len(table):
                return table.select(self._schema.names).cast(self._schema)
        return None


def _check_rows(table: pa.Table, group: _Group) -> None:
    sizes = np.array(group.sizes)
    starts = np.cumsum(sizes) - sizes
    rows = np.arange(len(table)) - np.repeat(starts, sizes)
    found = {
        "shard": np.array_equal(_integers(table, "shard"), np.repeat(group.shards, sizes)),
        "row": np.array_equal(_integers(table, "row"), rows),
        "bucket": table["bucket"]
        .cast(pa.string())
        .equals(
            pa.chunked_array([pa.array(np.repeat(group.buckets, sizes).tolist(), pa.string())])
        ),
        "key": pc.all(pc.equal(pc.utf8_length(table["key"]), pa.scalar(20))).as_py() is not False,
    }
    wrong = [name for name, is_right in found.items() if not is_right]
    if wrong:
        where = f"shards {group.shards[0]} to {group.shards[-1]}"
        raise ValueError(
            f"rows must be in (shard, row) order and agree with the runs, got another "
            f"{wrong[0]} ({where}); number rows as the runs do"
        )


def _integers(table: pa.Table, name: str) -> np.ndarray[Any, Any]:
    return table[name].to_numpy()


def _write_small(
    folder: Folder, name: str, schema: pa.Schema, tables: Iterable[pa.Table], *, path: Path
) -> TableRef | None:
    filled = (table for table in tables if len(table))
    first = next(filled, None)
    if first is None:
        return None
    num_rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in chain([first], filled):
            writer.write_table(table.select(schema.names).cast(schema))
            num_rows += len(table)
    landed = land_file(folder, name, path)
    path.unlink()
    return TableRef(
        name=name, size_bytes=landed.size_bytes, sha256=landed.sha256, num_rows=num_rows
    )
