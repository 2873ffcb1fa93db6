"""The page about a user's store: samples, the sum, buckets, statistics, scale, spaces."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from latentcache.core.media import Bucket
from latentcache.encoders import EncoderFacts
from latentcache.report.figures import sum_svg
from latentcache.report.gallery import Gallery, GalleryItem, small_clip
from latentcache.report.markup import Markup
from latentcache.report.moving import animation
from latentcache.report.pages import column_tiles, page
from latentcache.report.pictures import picture
from latentcache.report.read_facts import read_store_page
from latentcache.report.rendering import render
from latentcache.report.sections import (
    buckets_section,
    column_section,
    slug,
    statistics_sections,
    tiles,
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
        _sum_section(facts),
        buckets_section(facts.buckets),
        _fit_section(view),
        _spaces_section(snapshot, facts, encoders),
        statistics_sections(facts.fields),
        column_section(facts.column, store=facts.store, snapshot=facts.snapshot),
    ]
    name = facts.store.rstrip("/").rpartition("/")[2]
    lead = (
        f"Column {facts.column.column} of {facts.store}, snapshot {facts.snapshot}. This page is "
        "one file and needs no network."
    )
    return page(name, lead, tiles(column_tiles(facts)), sections, footer="")


def _gallery_section(facts: StorePage, gallery: Gallery, notes: Sequence[str]) -> Markup:
    told = [*notes, *gallery.skipped[:3]]
    if len(gallery.skipped) > 3:
        told.append(f"{len(gallery.skipped) - 3:,} more sources could not be had")
    return render(
        "gallery",
        id="samples",
        items=[_shown(item) for item in gallery.items],
        num_encoded=format_count(facts.column.num_encoded),
        encoder=facts.column.encoder,
        has_clips=any(item.is_clip for item in gallery.items),
        notes=told,
    )


def _shown(item: GalleryItem) -> dict[str, Any]:
    latent = item.latent
    return {
        "title": item.title,
        "key": item.key,
        "source": item.source,
        "size": item.size,
        "psnr": f"{item.psnr_db:.1f} dB",
        "original": _view(item, "original"),
        "decoded": _view(item, "decoded"),
        "latent": None
        if latent is None
        else picture(latent, f"latent: {item.title}", style="latent"),
    }


def _view(item: GalleryItem, what: str) -> Markup:
    pixels, alt = getattr(item, what), f"{what}: {item.title}"
    if not item.is_clip:
        return picture(pixels, alt)
    rate = item.frame_rate_fps or 8.0
    return animation(small_clip(pixels), alt, frame_rate_fps=rate)


def _sum_section(facts: StorePage) -> Markup:
    column = facts.column
    terms = [(format_count(column.num_encoded), "encoded")]
    terms.append((format_count(column.num_quarantined), "quarantined"))
    if column.num_missing:
        terms.append((format_count(column.num_missing), "missing"))
    return render(
        "quarantine",
        id=slug("The sum that adds up"),
        terms=terms,
        planned=format_count(column.num_planned),
        missing=column.num_missing,
        bar=sum_svg(column.num_encoded, column.num_quarantined, column.num_missing),
        groups=list(_by_reason(facts.quarantine)),
    )


def _by_reason(rows: Sequence[QuarantinedSample]) -> Iterator[dict[str, Any]]:
    """Yield the quarantine folded by stage and code, the largest group first."""
    groups: dict[tuple[str, str], list[QuarantinedSample]] = defaultdict(list)
    for row in rows:
        groups[row.stage, row.code].append(row)
    for (stage, code), found in sorted(groups.items(), key=lambda each: -len(each[1])):
        yield {
            "stage": stage,
            "code": code.replace("_", " "),
            "count": format_count(len(found)),
            "example": found[0].source,
            "rows": found[:_ROWS_OF_A_REASON],
            "left_out": max(0, len(found) - _ROWS_OF_A_REASON),
        }


@dataclass(frozen=True, slots=True)
class _Range:
    name: str
    low: str
    mean: str
    high: str
    expected: str

    @classmethod
    def of(cls, name: str, values: "np.ndarray[Any, Any]", expected: str) -> "_Range":
        low, mean, high = (format_number(float(f(values))) for f in (np.min, np.mean, np.max))
        return cls(name, low, mean, high, expected)


def _fit_section(view: ColumnView) -> Markup:
    normalizer = view.record.normalizer
    ops = list(normalizer["ops"]) if normalizer else []
    statistics = ColumnStatistics.from_arrays(view.statistics())
    scores = published_z_scores(statistics, ops)
    if scores is None:
        why = (
            "The encoder publishes no normalization: a training run measures its own, from the "
            "statistics below."
            if not ops
            else "The published normalization speaks of channels that were not measured apart."
        )
        return render("fit", id=slug("Does the published scale fit?"), rows=(), why=why)
    spread = scores.std_ratio if scores.sampled_std_ratio is None else scores.sampled_std_ratio
    average = typical_std(scores)
    fits = fits_published(average)
    verdict = (
        f"Normalized as published, the latents' standard deviation is {format_number(average)} "
        "where about 1 is expected: "
        + (
            "it fits."
            if fits
            else "it does not fit. Are these the weights that the figures are of?"
        )
    )
    rows = [
        _Range.of("mean of a channel", scores.mean, "0"),
        _Range.of("standard deviation of a channel", spread, "1"),
    ]
    return render(
        "fit", id=slug("Does the published scale fit?"), rows=rows, verdict=verdict, why=""
    )


def _spaces_section(
    snapshot: Snapshot, facts: StorePage, encoders: Sequence[EncoderFacts]
) -> Markup:
    columns = [_space(snapshot.column(name)) for name in sorted(snapshot.columns)]
    buckets = {
        Bucket(one.num_frames, one.height_px, one.width_px): one.num_samples
        for one in facts.buckets
    }
    others = [row for each in encoders if (row := _other_space(each, buckets)) is not None]
    return render("spaces", id=slug("Spaces side by side"), columns=columns, encoders=others)


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
