"""Pages: one self-contained HTML file each, from plain data."""

from collections.abc import Sequence

from latentcache.report.facts import DemoPage, StorePage
from latentcache.report.markup import Content, Markup, element, join
from latentcache.report.sections import (
    buckets_section,
    column_section,
    kill_section,
    projection_section,
    reconstructions_section,
    statistics_sections,
    steps_section,
    sum_section,
    tiles,
)
from latentcache.report.style import STYLE
from latentcache.report.units import format_bytes, format_count

Tile = tuple[str, str, bool]


def demo_page(facts: DemoPage) -> str:
    """Return the demo's page as HTML."""
    store, test = facts.store, facts.kill_test
    lead = (
        "A small corpus was drawn on the spot, encoded into a store, and the build was killed "
        "and run again. This page shows what came of it; it is one file and needs no network."
    )
    top = [
        *_column_tiles(store),
        (f"{facts.mean_psnr_db:.1f} dB", "mean PSNR, decoded from the store", False),
        (
            f"{test.num_equal} of {len(test.units)}",
            "units equal after SIGKILL and resume",
            test.num_equal != len(test.units),
        ),
    ]
    sections = [
        reconstructions_section(store.reconstructions, encoder=store.column.encoder),
        sum_section(store.column, store.quarantine),
        kill_section(test),
        buckets_section(store.buckets),
        statistics_sections(store.fields),
        projection_section(facts.projection),
        column_section(store.column, store=store.store, snapshot=store.snapshot),
        steps_section(facts.steps),
    ]
    return _page("latentcache demo", lead, tiles(top), sections, footer=facts.machine)


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
    return _page(title, lead, tiles(_column_tiles(facts)), sections, footer="")


def _column_tiles(facts: StorePage) -> list[Tile]:
    column = facts.column
    values: list[Tile] = [
        (format_count(column.num_encoded), "samples encoded", False),
        (format_count(column.num_quarantined), "quarantined", column.num_quarantined > 0),
        (format_count(len(facts.buckets)), "buckets", False),
        (format_bytes(column.num_bytes), f"of latents by {column.encoder}", False),
    ]
    if column.num_missing:
        values.insert(2, (format_count(column.num_missing), "missing", True))
    return values


def _page(
    title: str, lead: str, top: Markup, sections: Sequence[Markup], *, footer: Content
) -> str:
    head = element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("title", None, title),
        element("style", None, Markup(STYLE)),
    )
    header = element("header", None, element("h1", None, title), element("p", None, lead))
    end = element("footer", None, footer) if footer else Markup("")
    main = element("main", None, header, top, join(sections), end)
    body = element("body", None, main)
    return "<!doctype html>\n" + element("html", {"lang": "en"}, head, body) + "\n"
