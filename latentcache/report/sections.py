"""Sections: each answers one question about a store, with a figure or a table."""

from collections.abc import Sequence
from typing import Any

from latentcache.report.figures import bucket_svg, histogram_svg, sum_svg
from latentcache.report.rendering import Section, section
from latentcache.report.store_facts import (
    BucketFacts,
    ColumnFacts,
    FieldFacts,
    Projection,
    Reconstruction,
)

MAX_CHANNELS_DRAWN = 64
"""Histograms on a page; the table below them has every channel."""
_PARTS = {"all": "", "first": ", first latent frames", "rest": ", all later latent frames"}


def reconstructions_section(rows: Sequence[Reconstruction], *, encoder: str) -> Section:
    """Return originals beside what their latents decode to."""
    title = "Originals and reconstructions"
    return section(title, "reconstructions", rows=rows, encoder=encoder)


def sum_section(column: ColumnFacts, template: str, **values: Any) -> Section:
    """Return the sum of a column, and below it the quarantine as ``template`` shows it."""
    parts = (column.num_encoded, column.num_quarantined, column.num_missing)
    assert sum(parts) == column.num_planned, "encoded + quarantined + missing = planned"
    return section("The sum that adds up", template, column=column, bar=sum_svg(*parts), **values)


def buckets_section(buckets: Sequence[BucketFacts]) -> Section:
    """Return the buckets with their samples."""
    return section("Buckets", "buckets", buckets=buckets, plot=bucket_svg(buckets))


def statistics_sections(fields: Sequence[FieldFacts]) -> list[Section]:
    """Return histograms and a table for each stored field."""
    return [_field_section(field, _PARTS[field.frames]) for field in fields]


def _field_section(field: FieldFacts, part: str) -> Section:
    histograms = [histogram_svg(one) for one in field.channels[:MAX_CHANNELS_DRAWN]]
    title = f"Statistics of {field.name}{part}"
    return section(title, "statistics", field=field, part=part, histograms=histograms)


def projection_section(projection: Projection) -> Section:
    """Return what a million images would take, and what that assumes."""
    title = "What a million of your images would take"
    return section(title, "projection", projection=projection)


def column_section(column: ColumnFacts, *, store: str, snapshot: int) -> Section:
    """Return which encoding the page speaks of."""
    return section("The encoding", "column", column=column, store=store, snapshot=snapshot)
