"""The demo's page: what any store's page shows, and what became of its kill test and models."""

from latentcache.demo.page.demo_facts import DemoPage
from latentcache.demo.page.kill_sections import kill_section, steps_section
from latentcache.demo.page.motion_sections import first_frame_section, motion_section
from latentcache.demo.page.training_sections import (
    loss_section,
    order_section,
    race_section,
    samples_section,
)
from latentcache.report import (
    TIMES,
    Tile,
    buckets_section,
    column_section,
    column_tiles,
    format_ratio,
    page,
    projection_section,
    reconstructions_section,
    statistics_sections,
    sum_section,
    tiles,
)

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
    return page("latentcache demo", lead, tiles(_demo_tiles(facts)), sections, footer=facts.machine)


def _demo_tiles(facts: DemoPage) -> list[Tile]:
    test, last = facts.kill_test, facts.training.grids[-1]
    moving = facts.motion.training.grids[-1]
    return [
        *column_tiles(facts.store),
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
