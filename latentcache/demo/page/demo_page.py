"""The demo's page: what any store's page shows, and what became of its kill test and models."""

from functools import partial

from latentcache.demo.page.animations import PAIRS_A_LINE, clip_grid
from latentcache.demo.page.demo_facts import DemoPage
from latentcache.demo.page.figures import loss_svg, race_svg, units_svg
from latentcache.demo.page.training_facts import TrainingFacts
from latentcache.report import (
    TIMES,
    Section,
    Tile,
    buckets_section,
    column_section,
    column_tiles,
    format_number,
    format_ratio,
    page,
    pair_grid,
    projection_section,
    reconstructions_section,
    section,
    statistics_sections,
    sum_section,
)

MIN_ACCURACY = 0.8
"""Of the demo's models; below it, something is broken."""
_section = partial(section, package="latentcache.demo.page")


def demo_page(facts: DemoPage) -> str:
    """Return the demo's page as HTML."""
    store = facts.store
    lead = (
        "A small corpus was drawn on the spot and encoded into a store; a build was killed and "
        "run again; a model was trained from latents and captions, and another from latents of "
        "short videos. "
        "This page shows what came of it; it is one file and needs no network."
    )
    sections = [
        reconstructions_section(store.reconstructions, encoder=store.column.encoder),
        sum_section(store.column, "sum", quarantine=store.quarantine),
        *_sections_of_the_run(facts),
        buckets_section(store.buckets),
        *statistics_sections(store.fields),
        projection_section(facts.projection),
        column_section(store.column, store=store.store, snapshot=store.snapshot),
        _section("What was done", "steps", steps=facts.steps),
    ]
    return page("latentcache demo", lead, _demo_tiles(facts), sections, footer=facts.machine)


def _sections_of_the_run(facts: DemoPage) -> list[Section]:
    test, training, motion, race = facts.kill_test, facts.training, facts.motion, facts.race
    stages = [
        (grid, pair_grid(grid.samples, grid.nearest, num_columns=PAIRS_A_LINE))
        for grid in training.grids
    ]
    last = motion.training.grids[-1]
    frames = clip_grid(last.samples, last.nearest, num_columns=PAIRS_A_LINE)
    channels = tuple(zip(motion.first.channels, motion.rest.channels, strict=True))
    return [
        _section(
            "Killed in the middle, same bytes in the end",
            "kill",
            test=test,
            squares=units_svg(test.units),
        ),
        _section("A model trained by caption", "training", facts=training, stages=stages),
        _loss_section("Loss", training),
        _section(
            "A video model trained from a store of clips", "motion", facts=motion, frames=frames
        ),
        _loss_section("Loss of the video model", motion.training),
        _section(
            "The first latent frame and the rest", "first_frame", facts=motion, channels=channels
        ),
        _section("Three latent spaces compared", "compared", facts=facts.compared),
        _section(
            "Batches from the store and from a folder", "race", race=race, bars=race_svg(race)
        ),
        _section("The same samples for any number of ranks", "order", test=facts.order),
    ]


def _loss_section(name: str, facts: TrainingFacts) -> Section:
    title = f"{name}, down to {format_number(facts.final_loss)}"
    return _section(title, "loss", facts=facts, curve=loss_svg(facts.losses, facts.grids))


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
            "samples show the shape and colour of their caption",
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
