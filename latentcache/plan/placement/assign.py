"""Assignment: scanned media become buckets, shards and rows, in an order that is a keyed hash.

The result is a pure function of the set of samples, the options and the seed: neither the
order of the listing nor how it came in chunks changes a byte of it. Memory is bounded by
one part in ``spill.NUM_PARTITIONS`` of the corpus.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from latentcache.core.findings import Findings
from latentcache.core.media import Bucket, Geometry
from latentcache.core.placements import Placement
from latentcache.core.rejects import Reject
from latentcache.core.units import BucketRun
from latentcache.plan.listing import Annotation
from latentcache.plan.placement.annotation_types import AnnotationTypes
from latentcache.plan.placement.buckets import merge_buckets
from latentcache.plan.placement.classes import LABEL, MAX_CLASSES, ClassCounts, Classes
from latentcache.plan.placement.placed import Placer, RowPlacer, cut_at
from latentcache.plan.placement.plan_base import PlanBase
from latentcache.plan.placement.scan_table import (
    SCAN_SCHEMA,
    fitted_or_reject,
    in_order,
    merged_rows,
    scan_row,
    without_misfits,
)
from latentcache.plan.placement.scanned import ScannedMedia
from latentcache.plan.placement.typed_annotations import TypedAnnotations
from latentcache.plan.plan_options import PlanOptions
from latentcache.plan.spill import FLUSH_ROWS, Partitioner, TableFile
from latentcache.store.rows import PLACED_PLAN_SCHEMA, PLAN_SCHEMA, REJECTS_SCHEMA

Annotations = Mapping[str, Annotation]

_MAX_LENGTH_PX = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a plan generation holds; its tables lie in the scratch folder and can be read again.

    Attributes:
        options: What decided.
        runs: Shards per bucket, consecutive, in the order of buckets.
        num_rows: Rows: placements of samples, one each unless the options ask for more.
        num_samples: With a place.
        num_rejects: Samples without one.
        num_bytes: Known source bytes of both.
        reject_codes: Rejects by code.
        annotation_schema: Columns of ``iter_annotations``; may be empty.
        classes: What the numbers of ``label`` stand for, if its texts were numbered.
        num_with: Samples that have a value, by annotation.
        findings: What was merged or could not be numbered.
    """

    options: PlanOptions
    runs: tuple[BucketRun, ...]
    num_rows: int
    num_samples: int
    num_rejects: int
    num_bytes: int
    reject_codes: Mapping[str, int]
    annotation_schema: pa.Schema
    classes: Classes | None
    num_with: Mapping[str, int]
    findings: Findings
    _placed: TableFile = field(repr=False)
    _typed: TypedAnnotations = field(repr=False)
    _rejected: TableFile = field(repr=False)

    def iter_rows(self) -> Iterator[pa.Table]:
        """Yield tables of ``PLAN_SCHEMA``, in (shard, row) order; of ``PLACED_PLAN_SCHEMA`` where
        a sample may have several rows."""
        places = _iter_places(self.runs)
        for table in self._placed:
            yield _plan_rows(table, list(islice(places, len(table))), self.options)

    def iter_annotations(self) -> Iterator[pa.Table]:
        """Yield tables of ``annotation_schema``, row for row with ``iter_rows``."""
        yield from self._typed

    def iter_values(self, name: str) -> Iterator[pa.Table]:
        """Yield the ``shard``, ``row`` and ``value`` of one annotation where there is a value."""
        places = _iter_places(self.runs)
        for table in self._typed:
            values = table[name]
            taken = list(islice(places, len(table)))
            columns: dict[str, Any] = {
                "shard": pa.array([shard for shard, _, _ in taken], pa.int32()),
                "row": pa.array([row for _, row, _ in taken], pa.int32()),
                "value": values,
            }
            yield pa.table(columns).filter(pc.is_valid(values))

    def iter_rejects(self) -> Iterator[pa.Table]:
        """Yield tables of ``REJECTS_SCHEMA``."""
        for table in self._rejected:
            yield table.select(REJECTS_SCHEMA.names).cast(REJECTS_SCHEMA)


def assign(
    media: Iterable[Sequence[ScannedMedia]],
    options: PlanOptions,
    scratch: Path,
    *,
    base: PlanBase | None = None,
    flush_rows: int = FLUSH_ROWS,
) -> Assignment:
    """Return every sample's place, or why it has none.

    Args:
        media: What was scanned, in any order and any chunks.
        options: What decides.
        scratch: An empty local folder that lives as long as the result.
        base: What the plan has already; None for its first generation.
        flush_rows: Rows held in memory before the scratch folder is used.
    """
    assigner = _Assigner(options, scratch, flush_rows, base or PlanBase())
    for chunk in media:
        assigner.add(chunk)
    return assigner.finish()


class _Assigner:
    """Three passes: take everything in, sort and count, place."""

    def __init__(
        self, options: PlanOptions, scratch: Path, flush_rows: int, base: PlanBase
    ) -> None:
        self._options, self._scratch, self._base = options, scratch, base
        self._buckets: list[Bucket] = []  # as they come: whole clips may have any length
        self._index: dict[Bucket, int] = {}
        self._types = AnnotationTypes(base)
        self._incoming = Partitioner(scratch, SCAN_SCHEMA, flush_rows=flush_rows)
        self._sorted = TableFile(scratch / "sorted.arrow", SCAN_SCHEMA)
        self._placed = TableFile(scratch / "placed.arrow", SCAN_SCHEMA)
        self._rejected = TableFile(scratch / "rejected.arrow", SCAN_SCHEMA)
        self._batches: defaultdict[Bucket, list[tuple[int, int]]]  # (partition, batch)
        self._batches = defaultdict(list)
        self._counts: Counter[Bucket] = Counter()
        self._codes: Counter[str] = Counter()
        self._num_bytes = 0
        self._num_with: Counter[str] = Counter()
        self._classes = ClassCounts(base)
        self._findings = Findings()
        self._placer = Placer(options, only=base.only)
        self._rows = RowPlacer(self._placer, options, self._number, self._findings.add, base.is_out)

    def add(self, chunk: Sequence[ScannedMedia]) -> None:
        """Take some samples in."""
        rows = []
        for media in chunk:
            bucket = media.reject or self._choose(media)
            if bucket is None:
                continue
            first_px = self._options.resolutions_px[0]
            rows.append(scan_row(media, bucket, self._options.seed, resolution_px=first_px))
            self._num_bytes += max(0, media.listed.source.size_bytes)
            if not isinstance(bucket, Reject):
                self._note(media.listed.annotations)
        self._incoming.add(pa.Table.from_pylist(rows, SCAN_SCHEMA))

    def _note(self, fields: Annotations) -> None:
        self._types.add(fields)
        self._num_with.update(fields.keys())
        self._classes.add(fields.get(LABEL))

    def _merge(self, rows: Sequence[Annotations], merged: Annotations) -> None:
        """Count the annotations of rows that became one sample once."""
        self._num_with.subtract(name for fields in rows for name in fields)
        self._note(merged)

    def _choose(self, media: ScannedMedia) -> int | Reject | None:
        """Return the number of a sample's first bucket, why it has none, or None to pass it by."""
        width_px, height_px = media.width_px, media.height_px
        if not (0 < width_px <= _MAX_LENGTH_PX and 0 < height_px <= _MAX_LENGTH_PX):
            return Reject(code="corrupt", stage="scan", reason="the header gives no usable size")
        num_frames = 1 if media.clip is None else media.clip.num_frames
        found = self._placer.of_size(width_px, height_px, num_frames)
        if found.places:
            return self._number(found.places[0].bucket)
        if self._base.only:
            for placement, _ in found.misfits:
                label = f"{media.listed.source.label} at {placement.label}"
                self._findings.add("placement_misfit", label)
            self._findings.add("crop_alike", media.listed.source.label, found.num_alike)
            return None
        return min(found.misfits, key=lambda each: each[0].resolution_px)[1]

    def _number(self, bucket: Bucket) -> int:
        if bucket not in self._index:
            self._index[bucket] = len(self._buckets)
            self._buckets.append(bucket)
        return self._index[bucket]

    def finish(self) -> Assignment:
        """Return the places of all that was taken in."""
        for number, partition in enumerate(self._incoming.partitions()):
            self._sort(partition, number)
        self._sorted.close()
        counts = Counter(self._base.num_rows) + self._counts
        merged = merge_buckets(
            counts, self._options.min_bucket, resolution_of=self._placer.resolution_of
        )
        targets = {bucket: merged[bucket] for bucket in self._counts}
        runs = tuple(self._iter_placed_runs(targets, self._base.first_shard))
        self._placed.close()
        self._rejected.close()
        schema = self._types.schema()
        classes = self._classes.classes(schema)
        self._count_classes(schema, classes)
        typed = TypedAnnotations(self._placed, schema, classes, self._scratch)
        return Assignment(
            options=self._options,
            runs=runs,
            num_rows=self._placed.num_rows,
            num_samples=self._rows.num_samples,
            num_rejects=self._rejected.num_rows,
            num_bytes=self._num_bytes,
            reject_codes=self._codes,
            annotation_schema=typed.schema,
            classes=classes,
            num_with=+self._num_with,
            findings=self._findings,
            _placed=self._placed,
            _typed=typed,
            _rejected=self._rejected,
        )

    def _count_classes(self, schema: pa.Schema, classes: Classes | None) -> None:
        if self._classes.are_too_many(schema):
            self._findings.add("too_many_classes", f"more than {MAX_CLASSES:,}", MAX_CLASSES + 1)
        if classes:
            for name, count in sorted(self._classes.numbers().items()):
                self._findings.add("number_among_names", name, count)
        single = self._classes.single() if classes else []
        if classes and len(single) * 2 > len(classes.names) > 2:
            for name in sorted(single):
                self._findings.add("class_of_one", name)

    def _sort(self, partition: pa.Table, number: int) -> None:
        """Order one partition, refuse its duplicates, and keep it by bucket."""
        table = self._admitted(merged_rows(in_order(partition), self._findings, self._merge))
        if self._options.has_placements:
            numbers: list[Any] = table["bucket"].to_pylist()
            frames = [self._buckets[each].num_frames for each in numbers]
            table = self._rows.rows(table, frames)
        else:
            self._rows.num_samples += len(table)
        indices = table["bucket"].to_numpy()
        order = np.argsort(indices, kind="stable")
        found, starts = np.unique(indices[order], return_index=True)
        bounds = pairwise([*starts.tolist(), len(table)])
        for index, (start, end) in zip(found.tolist(), bounds, strict=True):
            bucket = self._buckets[index]
            rows = table.take(order[start:end])
            self._counts[bucket] += len(rows)
            self._batches[bucket].append((number, self._sorted.append(rows)))

    def _admitted(self, table: pa.Table) -> pa.Table:
        """Return the rows that have a bucket; the others go to the rejects."""
        is_admitted = table["bucket"].to_numpy() >= 0
        refused = table.filter(pa.array(~is_admitted))
        if len(refused):
            self._rejected.append(refused)
            self._codes.update(str(code) for code in refused["code"].to_pylist())
        return table.filter(pa.array(is_admitted))

    def _iter_placed_runs(
        self, targets: Mapping[Bucket, Bucket], first_shard: int
    ) -> Iterator[BucketRun]:
        origins_of = defaultdict(set)
        for origin, target in targets.items():
            origins_of[target].add(origin)
        for bucket, origins in sorted(origins_of.items()):
            before = self._placed.num_rows
            for table in self._iter_rows_of(origins, bucket):
                index = pa.array([self._number(bucket)] * len(table), pa.int32())
                column = SCAN_SCHEMA.get_field_index("bucket")
                self._placed.append(table.set_column(column, SCAN_SCHEMA.field(column), index))
            num_rows = self._placed.num_rows - before
            if num_rows:
                run = BucketRun(
                    bucket=bucket,
                    first_shard=first_shard,
                    num_rows=num_rows,
                    rows_per_shard=self._options.shard_rows(bucket),
                )
                first_shard += run.num_shards
                yield run

    def _iter_rows_of(self, origins: set[Bucket], bucket: Bucket) -> Iterator[pa.Table]:
        """Yield the rows that go to ``bucket``, in hash order, a partition at a time."""
        batches = sorted(batch for origin in origins for batch in self._batches[origin])
        for _, group in groupby(batches, key=lambda batch: batch[0]):
            tables = [self._sorted.read(number) for _, number in group]
            if len(origins) == 1:
                yield tables[0]
                continue
            merged = without_misfits(pa.concat_tables(tables), bucket, self._options)
            admitted = self._admitted(in_order(merged))
            if len(admitted):
                yield admitted


def _iter_places(runs: Sequence[BucketRun]) -> Iterator[tuple[int, int, Bucket]]:
    """Yield (shard, row, bucket) of every planned sample, in order."""
    for run in runs:
        for index in range(run.num_rows):
            shard, row = divmod(index, run.rows_per_shard)
            yield run.first_shard + shard, row, run.bucket


def _plan_rows(
    table: pa.Table, places: Sequence[tuple[int, int, Bucket]], options: PlanOptions
) -> pa.Table:
    widths, heights = table["width_px"].to_pylist(), table["height_px"].to_pylist()
    schema = PLACED_PLAN_SCHEMA if options.has_placements else PLAN_SCHEMA
    names = ("resolution_px", "crop_index", "is_flipped")
    placements = zip(*(table[name].to_pylist() for name in names), strict=True)
    geometries: list[Geometry] = []
    for width, height, (_, _, bucket), (px, crop, is_flipped) in zip(
        widths, heights, places, placements, strict=True
    ):
        fitted = fitted_or_reject(width, height, bucket, options)
        assert isinstance(fitted, Geometry), "placed samples fit their bucket"
        placement = Placement(resolution_px=px, crop_index=crop, is_flipped=is_flipped)
        geometries.append(cut_at(fitted, bucket, placement))
    columns: dict[str, Any] = {
        name: [getattr(geometry, name) for geometry in geometries]
        for name in schema.names
        if name in Geometry.__dataclass_fields__
    }
    columns["shard"] = [shard for shard, _, _ in places]
    columns["row"] = [row for _, row, _ in places]
    columns["bucket"] = pa.array([str(bucket) for _, _, bucket in places]).dictionary_encode()
    kept = {name: table[name] for name in schema.names if name not in columns}
    all_columns = columns | kept
    return pa.table([all_columns[name] for name in schema.names], names=schema.names).cast(schema)
