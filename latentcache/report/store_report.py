"""The page about a user's store: samples, the sum, buckets, statistics, scale, spaces."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from latentcache.core.media import Bucket
from latentcache.encoders import EncoderFacts
from latentcache.report.gallery import Gallery, small_clip
from latentcache.report.pages import column_tiles, page
from latentcache.report.read_facts import read_store_page
from latentcache.report.rendering import Section, section
from latentcache.report.sections import (
    buckets_section,
    column_section,
    statistics_sections,
    sum_section,
)
from latentcache.report.store_facts import QuarantinedSample, StorePage
from latentcache.report.wording import format_bytes, format_count, format_number
from latentcache.stats import (
    ColumnStatistics,
    fits_published,
    published_z_scores,
    typical_std,
)
from latentcache.store import ColumnView, Snapshot

_ROWS_OF_A_REASON = 50


def store_report(
    snapshot: Snapshot,
    column: str,
    *,
    gallery: Gallery,
    notes: Sequence[str] = (),
    encoders: Sequence[EncoderFacts] = (),
) -> str:
    """Return the page as HTML: one file, without scripts, that fetches nothing.

    Args:
        snapshot: Of the store.
        column: Served by it, the page's main one.
        gallery: Samples of it.
        notes: Said below them.
        encoders: Others that the plan is reckoned for.
    """
    facts, view = read_store_page(snapshot, column), snapshot.column(column)
    sections = [
        _gallery_section(facts, gallery, notes),
        sum_section(
            facts.column,
            "quarantine",
            groups=_by_reason(facts.quarantine),
            shown=_ROWS_OF_A_REASON,
        ),
        buckets_section(facts.buckets),
        _fit_section(view),
        _spaces_section(snapshot, facts, encoders),
        *statistics_sections(facts.fields),
        column_section(facts.column, store=facts.store, snapshot=facts.snapshot),
    ]
    name = facts.store.rstrip("/").rpartition("/")[2]
    lead = (
        f"Column {facts.column.column} of {facts.store}, snapshot {facts.snapshot}. This page is "
        "one file and needs no network."
    )
    return page(name, lead, column_tiles(facts), sections)


def _gallery_section(facts: StorePage, gallery: Gallery, notes: Sequence[str]) -> Section:
    return section(
        "Samples",
        "gallery",
        items=gallery.items,
        column=facts.column,
        small_clip=small_clip,
        notes=[*notes, *gallery.told],
    )


def _by_reason(
    rows: Sequence[QuarantinedSample],
) -> list[tuple[tuple[str, str], list[QuarantinedSample]]]:
    """Return the quarantine folded by stage and code, the largest group first."""
    groups: dict[tuple[str, str], list[QuarantinedSample]] = defaultdict(list)
    for row in rows:
        groups[row.stage, row.code].append(row)
    return sorted(groups.items(), key=lambda each: -len(each[1]))


def _fit_section(view: ColumnView) -> Section:
    normalizer = view.record.normalizer
    ops = list(normalizer["ops"]) if normalizer else []
    scores = published_z_scores(ColumnStatistics.from_arrays(view.statistics()), ops)
    title = "Does the published scale fit?"
    if scores is None:
        return section(title, "fit", rows=(), ops=ops)
    spread = scores.std_ratio if scores.sampled_std_ratio is None else scores.sampled_std_ratio
    average = typical_std(scores)
    rows = [
        ("mean of a channel", scores.mean, "0"),
        ("standard deviation of a channel", spread, "1"),
    ]
    return section(title, "fit", rows=rows, average=average, fits=fits_published(average))


def _spaces_section(
    snapshot: Snapshot, facts: StorePage, encoders: Sequence[EncoderFacts]
) -> Section:
    columns = [_space(snapshot.column(name)) for name in sorted(snapshot.columns)]
    buckets = {
        Bucket(one.num_frames, one.height_px, one.width_px): one.num_samples
        for one in facts.buckets
    }
    others = [row for each in encoders if (row := _other_space(each, buckets)) is not None]
    return section("Spaces side by side", "spaces", columns=columns, encoders=others)


def _space(view: ColumnView) -> dict[str, Any]:
    statistics = ColumnStatistics.from_arrays(view.statistics())
    primary = statistics.primary
    moments = None if primary is None else primary.pooled.moments
    fields = ", ".join(f"{one.name} {one.axes} {one.dtype}" for one in view.record.fields)
    channels = next((one.channels for one in view.record.fields if one.channels), None)
    factor = view.record.spec.get("spatial_factor")
    density = None
    if channels and factor:
        density = channels / (factor[0] * factor[1])
    return {
        "column": view.name,
        "encoder": str(view.record.spec.get("source") or view.record.spec.get("name") or "?"),
        "fingerprint": view.record.fingerprint[:12],
        "stored": fields,
        "density": "" if density is None else format_number(density),
        "bytes_each": format_bytes(view.num_bytes / max(1, view.num_encoded)),
        "mean": "" if moments is None else format_number(float(moments.mean.mean())),
        "std": "" if moments is None else format_number(float(np.sqrt(np.mean(moments.std**2)))),
        "encoded": format_count(view.num_encoded),
    }


def _other_space(facts: EncoderFacts, buckets: dict[Bucket, int]) -> dict[str, Any] | None:
    """Return a row about one encoder, or None if none of the plan's buckets fits it."""
    kinds: tuple[Literal["moments", "mode"], ...] = ("moments", "mode")
    totals, refused = dict.fromkeys(kinds, 0), []
    for bucket, count in buckets.items():
        sizes = {kind: facts.bytes_in_tar(bucket, "float16", kind) for kind in kinds}
        if None in sizes.values():
            refused.append(bucket.label)
            continue
        for kind, size in sizes.items():
            totals[kind] += count * (size or 0)
    if len(refused) == len(buckets):
        return None
    return {
        "name": facts.name,
        "title": facts.title,
        "num_bytes": format_bytes(totals["moments"]),
        "mode_bytes": format_bytes(totals["mode"]),
        "refused": ", ".join(refused[:3]) + (" ..." if len(refused) > 3 else ""),
    }
