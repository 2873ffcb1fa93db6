"""Pages: one self-contained HTML file each, from plain data."""

import re
from collections.abc import Sequence

from latentcache.report.markup import Content, Markup
from latentcache.report.rendering import render
from latentcache.report.sections import (
    buckets_section,
    column_section,
    reconstructions_section,
    statistics_sections,
    sum_section,
    tiles,
)
from latentcache.report.store_facts import StorePage
from latentcache.report.style import STYLE
from latentcache.report.wording import format_bytes, format_count

Tile = tuple[str, str, bool]

_SECTION = re.compile(r'<section id="([^"]*)"><h2>(.*?)</h2>')


def stats_page(facts: StorePage) -> str:
    """Return a page about one column of a store as HTML."""
    column = facts.column
    lead = f"Column {column.column} of {facts.store}, snapshot {facts.snapshot}."
    sections = [
        statistics_sections(facts.fields),
        sum_section(column, facts.quarantine),
        buckets_section(facts.buckets),
        column_section(column, store=facts.store, snapshot=facts.snapshot),
    ]
    if facts.reconstructions:
        sections.insert(0, reconstructions_section(facts.reconstructions, encoder=column.encoder))
    title = f"Statistics of {column.column}"
    return page(title, lead, tiles(column_tiles(facts)), sections, footer="")


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


def page(title: str, lead: str, top: Markup, sections: Sequence[Markup], *, footer: Content) -> str:
    """Return a whole HTML document; it holds its style and needs no network.

    Args:
        title: Of the page.
        lead: A sentence below it.
        top: Tiles.
        sections: Each as ``section`` makes it: with an id and a heading, which are the contents.
        footer: Or an empty text.
    """
    contents = [found for one in sections for found in _SECTION.findall(one)]
    return render(
        "base",
        title=title,
        lead=lead,
        style=Markup(STYLE),
        top=top,
        contents=[(name, Markup(heading)) for name, heading in contents],
        sections=sections,
        footer=footer,
    )
