"""Sections of the demo's page that show loading and training."""

from collections.abc import Sequence

from latentcache.demo.page.training_facts import (
    LoaderRace,
    OrderRun,
    OrderTest,
    SampleGrid,
    TrainingFacts,
)
from latentcache.demo.page.training_figures import loss_svg, race_svg
from latentcache.report import (
    Content,
    Markup,
    TableColumn,
    element,
    figure,
    format_count,
    format_number,
    format_ratio,
    format_seconds,
    format_share,
    join,
    pair_grid,
    picture,
    section,
    table,
)

_PAIRS_A_LINE = 4


def samples_section(facts: TrainingFacts) -> Markup:
    """Return the samples of each stage beside their nearest training pictures."""
    last = facts.grids[-1]
    lead = (
        f"A small diffusion transformer learned {facts.num_classes} classes from "
        f"{format_count(facts.num_images)} latents of the store. At the end "
        f"{last.num_right} of {last.num_scored} samples are nearest to the mean of the class "
        "they were asked for."
    )
    cards = element("div", {"class": "stages"}, *(_stage(grid) for grid in facts.grids))
    note = (
        "Pairs: a sample, and to its right the training picture it is nearest to, both decoded "
        "from latents. All stages start from the same noise. Nearest is measured as squared "
        "distance over the pixels; a class's mean is that of its training pictures. By the same "
        f"measure {format_share(facts.own_accuracy, 1)} of the training pictures are nearest to "
        "their own class, each left out of its mean. A pair that looks alike shows what a model "
        "of this size has learned by heart and what it has not."
    )
    return section("A model trained from the store", lead, figure(cards, note))


def _stage(grid: SampleGrid) -> Markup:
    pixels = pair_grid(grid.samples, grid.nearest, num_columns=_PAIRS_A_LINE)
    what = f"samples after {grid.step} steps, each beside its nearest training picture: "
    image = picture(pixels, what + ", ".join(grid.titles), style="crisp")
    caption = element(
        "figcaption",
        None,
        element(
            "span",
            None,
            f"{grid.share * 100:.0f} % of the training, step {format_count(grid.step)}",
        ),
        element("b", None, f"{grid.num_right} of {grid.num_scored} right"),
    )
    return element("figure", {"class": "stage"}, image, caption)


def loss_section(facts: TrainingFacts, *, name: str = "Loss") -> Markup:
    """Return the loss curve and what the run was."""
    wait = format_share(facts.loader_wait_share, 1).replace(" ", "\N{NO-BREAK SPACE}")
    threads = f"{facts.num_threads} thread{'s' if facts.num_threads > 1 else ''}"
    lead = (
        f"{format_count(len(facts.losses))} steps of {facts.batch_size} samples in "
        f"{format_seconds(facts.elapsed_s)} on the CPU with {threads}: "
        f"{facts.samples_per_s:,.0f} samples a second, "
        f"{wait} of the time spent waiting for the loader."
    )
    caption = (
        "Mean squared error of the velocity. Faint: each step. Strong: the mean of the last "
        "steps. Dashed: where samples were drawn."
    )
    plot = element("div", {"class": "plot"}, loss_svg(facts.losses, facts.grids))
    words = element("p", {"class": "aside"}, f"{facts.model}. {facts.recipe}.")
    title = f"{name}, down to {format_number(facts.final_loss)}"
    return section(title, lead, figure(plot, caption), words)


def race_section(race: LoaderRace) -> Markup:
    """Return the loader's speed beside that of a folder of files."""
    lead = (
        f"The same {format_count(race.num_samples)} latents, once more as a folder with one "
        f"safetensors file each, read by a torch DataLoader: the store's loader was "
        f"{format_ratio(race.ratio)} times as fast as the better of the two."
    )
    caption = (
        f"Measured while this page was made: shuffled batches of {race.batch_size}, tensors and "
        f"labels, {race.what}, files in the page cache. The loader normalizes on top; the "
        "folder's latents are as stored. One torch thread a process, and workers were started "
        "before the clock."
    )
    plot = element("div", {"class": "plot"}, race_svg(race))
    return section("Batches from the store and from a folder", lead, figure(plot, caption))


def order_section(test: OrderTest) -> Markup:
    """Return the ids of the same steps under several numbers of ranks, side by side."""
    lead = (
        f"The ids of {test.num_steps} steps with a global batch of {test.batch_size}. At "
        f"{test.num_equal} of {test.num_steps} steps every run saw the same ids in the same "
        "order, however many ranks shared them."
    )
    columns = [TableColumn(heading="step", kind="number")]
    columns += [TableColumn(heading=_heading(run), kind="ids") for run in test.runs]
    is_good = test.num_equal == test.num_steps
    columns.append(TableColumn(heading="ids", kind="good" if is_good else "bad"))
    rows = [_order_row(test, step) for step in range(test.num_steps)]
    caption = (
        "An id is the sample's row in the plan; shades tell ranks apart. The order is "
        "arithmetic: no rank asks another, and nothing is replayed on the way back."
    )
    dense = element("div", {"class": "dense"}, table(columns, rows))
    return section("The same samples for any number of ranks", lead, figure(dense, caption))


def _order_row(test: OrderTest, step: int) -> Sequence[Content]:
    verdict = "equal" if test.is_equal(step) else "DIFFERENT"
    return (step, *(_ids(run, step) for run in test.runs), verdict)


def _heading(run: OrderRun) -> str:
    return run.name if run.resumed_at is None else f"{run.name} at step {run.resumed_at}"


def _ids(run: OrderRun, step: int) -> Markup:
    ranks = []
    for number, ids in enumerate(run.steps[step]):
        style = {"class": "rank" if number % 2 == 0 else "rank other"}
        ranks.append(element("span", style, " ".join(f"{one:3d}" for one in ids)))
    return join(ranks)
