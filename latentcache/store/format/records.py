"""The JSON records of format 1, as frozen dataclasses: what each file says, and no more.

A record is written as canonical JSON and never changes. Its digest is the SHA-256 of the
bytes as they lie in the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, cast

from latentcache.core.config import config_from_mapping
from latentcache.core.fields import Field
from latentcache.core.fingerprint import fingerprint
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun, UnitId, UnitRange
from latentcache.store.format.envelope import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """One immutable object: its name relative to the store's root, its size and SHA-256."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRef:
    """An immutable table file of ``num_rows`` rows."""

    name: str
    size_bytes: int
    sha256: str
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPart:
    """One Parquet file of a generation's rows: whole shards, consecutive."""

    name: str
    size_bytes: int
    sha256: str
    num_rows: int
    first_shard: int
    num_shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRecord(Record):
    """``latentcache.json``: that this is a store, and which."""

    kind: ClassVar[str] = "store"

    store_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation(Record):
    """``plan/<gen>.json``: the rows that one scan added, and those it retired.

    Attributes:
        number: 0 for the first.
        parent: Digest of the generation before, or None for the first.
        corpus_url: Root of the corpus, without credentials.
        corpus_kind: How the corpus was read, e.g. ``folder``.
        options: The plan's options, as plain values.
        options_digest: Fingerprint of the options.
        seed: Of the placement.
        runs: The shards, in order; numbering continues from the parent's last shard.
        parts: The rows, in (shard, row) order.
        rejects: Rows that were refused while planning, or None if there are none.
        retired: Rows of earlier generations that are live no more, or None.
        totals: ``listed``, ``rows``, ``rejects``, ``bytes``, ``ignored`` (by extension) ...
        num_placements: Of a sample; recorded where above 1, as older readers would not mirror.
    """

    kind: ClassVar[str] = "plan"

    number: int
    parent: str | None
    corpus_url: str
    corpus_kind: str
    options: dict[str, Any]
    options_digest: str
    seed: int
    runs: tuple[BucketRun, ...]
    parts: tuple[PlanPart, ...]
    rejects: TableRef | None
    retired: TableRef | None
    totals: dict[str, Any]
    num_placements: int = 1

    @property
    def beside(self) -> TableRef | None:
        """Captions, tables and tars that were read while planning.

        Named in ``totals``, which readers of the first plans pass over.
        """
        found = self.totals.get("beside")
        return config_from_mapping(TableRef, found, where="beside") if found else None

    @property
    def num_rows(self) -> int:
        """Planned rows, retired ones included."""
        return sum(run.num_rows for run in self.runs)

    @property
    def num_rejects(self) -> int:
        """Rows refused while planning; they are quarantined for every column."""
        return self.rejects.num_rows if self.rejects else 0

    @property
    def only_retires(self) -> bool:
        """Whether it was made without a listing, to take samples of earlier ones out."""
        return not self.parts and self.rejects is None and "listed" not in self.totals

    @property
    def num_shards(self) -> int:
        """Shards of this generation."""
        return sum(run.num_shards for run in self.runs)

    def units(self, *, rows_per_unit: int) -> list[UnitRange]:
        """Return the generation's units in (shard, part) order."""
        return [
            unit
            for run in self.runs
            for unit in run.units(generation=self.number, rows_per_unit=rows_per_unit)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the record's own keys, as plain values."""
        values = Record.to_json(self)
        values["generation"] = values.pop("number")
        if (num_placements := values.pop("num_placements")) > 1:
            values["placements"] = num_placements
        values["corpus"] = {"url": values.pop("corpus_url"), "kind": values.pop("corpus_kind")}
        names = ("first_shard", "num_rows", "rows_per_shard")
        values["runs"] = [
            {"bucket": str(run.bucket), **{name: getattr(run, name) for name in names}}
            for run in self.runs
        ]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any], *, where: str) -> Self:
        """Return the generation that ``values`` spell."""
        flat = dict(values)
        flat["number"] = flat.pop("generation")
        flat["num_placements"] = flat.pop("placements", 1)
        corpus = flat.pop("corpus")
        flat["corpus_url"], flat["corpus_kind"] = corpus["url"], corpus["kind"]
        runs = [{**run, "bucket": _bucket_values(run["bucket"])} for run in flat["runs"]]
        return config_from_mapping(cls, {**flat, "runs": runs}, where=where)


def _bucket_values(text: str) -> dict[str, int]:
    bucket = Bucket.parse(text)
    return {name: getattr(bucket, name) for name in ("num_frames", "height_px", "width_px")}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRule:
    """Samples per encoder call: as many as ``pixels`` allow, a power of two, at most ``max``."""

    pixels: int
    max: int

    def size(self, bucket: Bucket) -> int:
        """Return the batch size for ``bucket``, at least 1."""
        fitting = self.pixels // bucket.num_pixels
        power_of_two = 1 << max(0, fitting.bit_length() - 1)
        return max(1, min(power_of_two, self.max))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingRecord(Record):
    """``encoding.json``: one column as one encoder computes it, pinned before its first unit.

    Attributes:
        column: E.g. ``latents``.
        fingerprint: Hash of ``identity``; names the folder.
        identity: Everything asked for that can change a stored value.
        spec: What the encoder declared, as plain values.
        fields: The stored fields, after the posterior policy.
        normalizer: Published normalization, recorded and not hashed, or None.
        policy: ``moments``, ``mode`` or ``sample``.
        transform: How pixels were made, with its version.
        rows_per_unit: R, a power of two.
        batch: Samples per encoder call.
        threads: Of the encoder, on a CPU.
        device_type: ``cpu``, ``cuda`` ...
        probe: The output on a fixed input; a later run that differs is refused.
    """

    kind: ClassVar[str] = "encoding"

    column: str
    fingerprint: str
    identity: dict[str, Any]
    spec: dict[str, Any]
    fields: tuple[Field, ...]
    normalizer: dict[str, Any] | None
    policy: str
    transform: dict[str, Any]
    rows_per_unit: int
    batch: BatchRule
    threads: int
    device_type: str
    probe: dict[str, Any]

    def with_write_id_of_content(self) -> Self:
        """Return the record with a write id that follows from all else in it.

        Two jobs that pin the same at once then write the same bytes: on a storage that cannot
        refuse the second, what either commits and publishes names what is there.
        """
        content = {name: value for name, value in self.to_json().items() if name != "write_id"}
        return replace(self, write_id=fingerprint(content)[:16], digest="")

    def batch_size(self, bucket: Bucket) -> int:
        """Return how many samples of ``bucket`` go into each encoder call."""
        return self.batch.size(bucket)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(Record):
    """``commits/<unit>.<rev>.<write-id>.json``: these objects are a whole, verified unit.

    Attributes:
        unit: ``SSSSSSSS-PPPP``.
        rev: 0 first; a repair or retry of quarantined rows writes one more.
        encoding_digest: Of the encoding record it was made under.
        generation: Whose rows these are.
        generation_digest: Of that generation's record.
        num_rows: Planned rows; ``num_present + num_rejected``.
        tar: The latents, or None if no row is present.
        meta: Which rows are present, why the others are not, and statistics.
        software: Versions, device and threads that did it.
        created: ISO 8601, UTC; for people, nothing reads it.
    """

    kind: ClassVar[str] = "commit"

    unit: str
    rev: int
    column: str
    fingerprint: str
    encoding_digest: str
    generation: int
    generation_digest: str
    num_rows: int
    num_present: int
    num_rejected: int
    tar: ObjectRef | None
    meta: ObjectRef
    software: dict[str, Any]
    created: str

    @property
    def unit_id(self) -> UnitId:
        """The unit, parsed."""
        return UnitId.parse(self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEntry:
    """One unit of a column as a snapshot serves it."""

    unit: UnitRange
    rev: int
    write_id: str
    num_present: int
    tar: ObjectRef | None
    meta: ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRef:
    """A numbered record (a generation, a snapshot) with the digest it must have."""

    number: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Published normalization that a snapshot names instead of the encoding's own.

    Attributes:
        normalizer: Operations as in ``EncodingRecord``; None where nothing is published.
        encoder: What was asked for, e.g. ``sd:WEIGHTS``.
    """

    normalizer: dict[str, Any] | None
    encoder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedText:
    """A text that is encoded once for a whole column, and stored apart from its rows.

    Attributes:
        name: ``empty`` for the text that a dropped caption stands for; others as they were asked.
        text: The text.
        fields: A tensor file of its stored fields.
    """

    name: str
    text: str
    fields: ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEntry:
    """One column of a snapshot: which encoding serves it, its tables, and the sum that adds up.

    ``num_encoded + num_quarantined + num_missing = num_planned``, the live rows and the
    rows refused while planning, of the first ``num_generations`` generations. ``num_bytes``
    counts tars. ``published`` is written only where figures were corrected after encoding,
    ``texts`` only of a column of texts.
    """

    fingerprint: str
    encoding_digest: str
    units: TableRef
    quarantine: TableRef
    statistics: TableRef
    num_generations: int
    num_planned: int
    num_encoded: int
    num_quarantined: int
    num_missing: int
    num_bytes: int
    published: Published | None = None
    texts: tuple[NamedText, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationEntry:
    """One file of an annotation as a snapshot serves it: one revision over one generation."""

    name: str
    size_bytes: int
    sha256: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord(Record):
    """``snapshots/<N>.json``: a version of the store.

    Attributes:
        number: 1 for the first.
        parent: The snapshot it was derived from, or None.
        generations: The plan when it was made.
        columns: Column name to what serves it.
        annotations: Annotation name to its files, at most one a generation, ascending.
    """

    kind: ClassVar[str] = "snapshot"

    number: int
    store_id: str
    parent: RecordRef | None
    generations: tuple[RecordRef, ...]
    columns: dict[str, ColumnEntry]
    annotations: dict[str, tuple[AnnotationEntry, ...]]
    created: str

    def to_json(self) -> dict[str, Any]:
        """Return the record's own keys; ``published`` and ``texts`` only where there are any."""
        values = Record.to_json(self)
        values["columns"] = {
            name: {
                item.name: getattr(entry, item.name)
                for item in fields(entry)
                if item.name not in ("published", "texts") or getattr(entry, item.name)
            }
            for name, entry in self.columns.items()
        }
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any], *, where: str) -> Self:
        """Return the snapshot that ``values`` spell."""
        columns = {
            name: config_from_mapping(ColumnEntry, entry, where=f"{where}: {name}")
            for name, entry in cast(Mapping[str, Any], values["columns"]).items()
        }
        annotations = {
            name: tuple(
                config_from_mapping(AnnotationEntry, entry, where=f"{where}: {name}")
                for entry in entries
            )
            for name, entries in cast(Mapping[str, Any], values["annotations"]).items()
        }
        converted = {"columns": columns, "annotations": annotations}
        return config_from_mapping(cls, {**values, **converted}, where=where)
