"""Pages: one self-contained HTML file each, from plain data."""

from collections.abc import Sequence

from latentcache.report.demo_facts import DemoPage
from latentcache.report.facts import StorePage
from latentcache.report.markup import Content, Markup, element, join
from latentcache.report.motion_sections import first_frame_section, motion_section
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
from latentcache.report.training_sections import (
    loss_section,
    order_section,
    race_section,
    samples_section,
)
from latentcache.report.units import TIMES, format_bytes, format_count, format_ratio

Tile = tuple[str, str, bool]

MIN_ACCURACY = 0.8
"""Of the demo's models; below it, something is broken."""


def demo_page(facts: DemoPage) -> str:
    """Return the demo's page as HTML."""
    store, test = facts.store, facts.kill_test
    lead = (
        "A small corpus was drawn on the spot and encoded into a store; a build was killed and "
        "run again; a model was trained from the latents, and another from those of short videos. "
        "This page shows what came of it; it is one file and needs no network."
    )
    sections = [
        reconstructions_section(store.reconstructions, encoder=store.column.encoder),
        sum_section(store.column, store.quarantine),
        kill_section(test),
        samples_section(facts.training),
        loss_section(facts.training),
        motion_section(facts.motion),
        loss_section(facts.motion.training, name="Loss of the video model"),
        first_frame_section(facts.motion),
        race_section(facts.race),
        order_section(facts.order),
        buckets_section(store.buckets),
        statistics_sections(store.fields),
        projection_section(facts.projection),
        column_section(store.column, store=store.store, snapshot=store.snapshot),
        steps_section(facts.steps),
    ]
    return _page(
        "latentcache demo", lead, tiles(_demo_tiles(facts)), sections, footer=facts.machine
    )


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


def _demo_tiles(facts: DemoPage) -> list[Tile]:
    test, last = facts.kill_test, facts.training.grids[-1]
    moving = facts.motion.training.grids[-1]
    return [
        *_column_tiles(facts.store),
        (f"{facts.mean_psnr_db:.1f} dB", "mean PSNR, decoded from the store", False),
        (
            f"{test.num_equal} of {len(test.units)}",
            "units equal after SIGKILL and resume",
            test.num_equal != len(test.units),
        ),
        (
            f"{last.num_right} of {last.num_scored}",
            "samples of a trained model nearest to their class",
            last.accuracy < MIN_ACCURACY,
        ),
        (
            f"{moving.num_right} of {moving.num_scored}",
            "clips of a video model nearest to theirs",
            moving.accuracy < MIN_ACCURACY,
        ),
        (
            f"{format_ratio(facts.race.ratio)} {TIMES}",
            "as many samples a second as from a folder of files",
            facts.race.ratio < 1,
        ),
    ]


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
