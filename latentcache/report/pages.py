"""Pages: one self-contained HTML file each, from plain data."""

from collections.abc import Sequence

from latentcache.report.rendering import Section, render
from latentcache.report.sections import (
    buckets_section,
    column_section,
    reconstructions_section,
    statistics_sections,
    sum_section,
)
from latentcache.report.store_facts import StorePage
from latentcache.report.wording import format_bytes, format_count

Tile = tuple[str, str, bool]
"""A number, what it counts, and whether to warn."""
_MOST_ACROSS = 5


def stats_page(facts: StorePage) -> str:
    """Return a page about one column of a store as HTML."""
    column = facts.column
    lead = f"Column {column.column} of {facts.store}, snapshot {facts.snapshot}."
    sections = [
        *statistics_sections(facts.fields),
        sum_section(column, "sum", quarantine=facts.quarantine),
        buckets_section(facts.buckets),
        column_section(column, store=facts.store, snapshot=facts.snapshot),
    ]
    if facts.reconstructions:
        sections.insert(0, reconstructions_section(facts.reconstructions, encoder=column.encoder))
    title = f"Statistics of {column.column}"
    return page(title, lead, column_tiles(facts), sections)


def column_tiles(facts: StorePage) -> list[Tile]:
    """Return what a page shows of its column at first sight."""
    column = facts.column
    values: list[Tile] = [
        (
            format_count(column.num_encoded),
            f"{_counted(column.num_encoded, 'sample')} encoded",
            False,
        ),
        (format_count(column.num_quarantined), "quarantined", column.num_quarantined > 0),
        (format_count(len(facts.buckets)), _counted(len(facts.buckets), "bucket"), False),
        (format_bytes(column.num_bytes), f"of latents by {column.encoder}", False),
    ]
    if column.num_missing:
        values.insert(2, (format_count(column.num_missing), "missing", True))
    return values


def _counted(number: int, what: str) -> str:
    return what if number == 1 else f"{what}s"


def page(
    title: str, lead: str, tiles: Sequence[Tile], sections: Sequence[Section], *, footer: str = ""
) -> str:
    """Return a whole HTML document; it holds its style and needs no network.

    Args:
        title: Of the page.
        lead: A sentence below it.
        tiles: The large numbers at the top.
        sections: In order; their headings are the contents.
        footer: Or an empty text.
    """
    return render(
        "base",
        title=title,
        lead=lead,
        tiles=tiles,
        across=tiles_across(len(tiles)),
        sections=sections,
        footer=footer,
    )


def tiles_across(count: int) -> int:
    """Return how many of ``count`` tiles stand in a line, so that no last line has one alone."""
    if count <= _MOST_ACROSS:
        return max(1, count)
    return max(range(3, _MOST_ACROSS + 1), key=lambda across: ((count - 1) % across, across))
