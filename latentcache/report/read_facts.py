"""From an open snapshot to the plain data that a page is drawn from; reads no latents."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from latentcache.core.media import Bucket
from latentcache.report.store_facts import (
    BucketFacts,
    ChannelFacts,
    ColumnFacts,
    FieldFacts,
    QuarantinedSample,
    Reconstruction,
    StorePage,
)
from latentcache.stats import ColumnStatistics, LatentStatistics
from latentcache.store import ColumnView, EncodingRecord, Generation, Snapshot


def read_store_page(
    snapshot: Snapshot, column: str, *, reconstructions: Sequence[Reconstruction] = ()
) -> StorePage:
    """Return what a page shows of one column.

    Raises:
        StoreError: The snapshot has no such column.
    """
    view = snapshot.column(column)
    return StorePage(
        store=snapshot.folder.label,
        snapshot=snapshot.number,
        column=column_facts(view),
        fields=field_facts(ColumnStatistics.from_arrays(view.statistics())),
        buckets=bucket_facts(snapshot.generations),
        quarantine=quarantine_facts(view),
        reconstructions=tuple(reconstructions),
    )


def column_facts(view: ColumnView) -> ColumnFacts:
    """Return the column's sum and which encoding serves it."""
    record = view.record
    threads = f"{record.threads} thread{'s' if record.threads > 1 else ''} an encoder"
    return ColumnFacts(
        column=view.name,
        encoder=str(record.spec.get("name", record.column)),
        fingerprint=record.fingerprint,
        stored=_stored_in_words(record),
        made_on=f"{record.device_type}, {threads}" if record.device_type == "cpu" else "gpu",
        num_planned=view.entry.num_planned,
        num_encoded=view.num_encoded,
        num_quarantined=view.num_quarantined,
        num_missing=view.num_missing,
        num_bytes=view.num_bytes,
        num_units=len(view.units()),
    )


def _stored_in_words(record: EncodingRecord) -> str:
    fields = [
        f"{field.name} ({field.axes}, {field.dtype}"
        + (f", {field.channels} channels)" if field.channels else ")")
        for field in record.fields
    ]
    has_posterior = str(record.spec.get("posterior", "")).startswith("gaussian")
    policy = f"; posterior policy {record.policy}" if has_posterior else ""
    return ", ".join(fields) + policy


def field_facts(statistics: ColumnStatistics) -> tuple[FieldFacts, ...]:
    """Return every float field; first latent frame and rest apart where both occur."""
    facts = []
    for name, field in statistics.latents.items():
        if len(field.classes) == 1:
            facts.append(_field_facts(name, "all", field.pooled))
            continue
        facts += [_field_facts(name, frames, part) for frames, part in field.classes.items()]
    return tuple(facts)


def _field_facts(name: str, frames: str, part: LatentStatistics) -> FieldFacts:
    channels = []
    for index in range(part.moments.mean.size):
        low, high, count = part.histogram.channel(index)
        channels.append(
            ChannelFacts(
                index=index,
                mean=float(part.moments.mean[index]),
                std=float(part.moments.std[index]),
                minimum=float(part.moments.minimum[index]),
                maximum=float(part.moments.maximum[index]),
                num_nonfinite=int(part.moments.num_nonfinite[index]),
                low=low,
                high=high,
                count=count,
            )
        )
    return FieldFacts(
        name=name, frames=frames, num_samples=part.num_samples, channels=tuple(channels)
    )


def bucket_facts(generations: Sequence[Generation]) -> tuple[BucketFacts, ...]:
    """Return the buckets of a plan over all its generations, fullest first."""
    samples: dict[Bucket, int] = defaultdict(int)
    shards: dict[Bucket, int] = defaultdict(int)
    for generation in generations:
        for run in generation.runs:
            samples[run.bucket] += run.num_rows
            shards[run.bucket] += run.num_shards
    fullest_first = sorted(samples, key=lambda bucket: (-samples[bucket], bucket))
    return tuple(
        BucketFacts(
            height_px=bucket.height_px,
            width_px=bucket.width_px,
            num_frames=bucket.num_frames,
            num_samples=samples[bucket],
            num_shards=shards[bucket],
        )
        for bucket in fullest_first
    )


def quarantine_facts(view: ColumnView) -> tuple[QuarantinedSample, ...]:
    """Return the column's quarantine in the store's order."""
    names = ["path", "member", "stage", "code", "reason", "is_transient"]
    rows: list[dict[str, Any]] = view.quarantine().select(names).to_pylist()
    return tuple(
        QuarantinedSample(
            source=f"{row['path']}!{row['member']}" if row["member"] else row["path"],
            stage=row["stage"],
            code=row["code"],
            reason=row["reason"],
            is_transient=row["is_transient"],
        )
        for row in rows
    )
