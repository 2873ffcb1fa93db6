"""Sections of the demo's page about videos."""

from latentcache.demo.page.animations import clip_grid
from latentcache.demo.page.motion_facts import MotionFacts
from latentcache.report import (
    ChannelFacts,
    Content,
    Markup,
    TableColumn,
    animation,
    element,
    figure,
    format_count,
    format_number,
    format_share,
    long_table,
    number_columns,
    section,
)

PAIRS_A_LINE = 4
"""A line is one shape in one colour, moving in each of the four directions."""
_CHANNELS_SHOWN = 12


def motion_section(facts: MotionFacts) -> Markup:
    """Return a video model's samples, moving, beside the training clips they are nearest to."""
    training, last = facts.training, facts.training.grids[-1]
    parts = ", ".join(f"the {name} in {count}" for name, count in facts.right)
    lead = (
        f"A second model learned {training.num_classes} classes of clips, a shape in a colour "
        f"that moves right, down, left or up, from {format_count(training.num_images)} latents of "
        f"five frames each. At the end {last.num_right} of {last.num_scored} samples are nearest "
        f"to the mean clip of the class they were asked for. Right are {parts}."
    )
    frames = clip_grid(last.samples, last.nearest, num_columns=PAIRS_A_LINE)
    alt = "clips drawn by the model, each beside its nearest training clip: "
    moving = animation(
        frames, alt + ", ".join(last.titles), frame_rate_fps=facts.frame_rate_fps, style="crisp"
    )
    caption = element(
        "figcaption",
        None,
        element("span", None, "a line: moving right, down, left, up"),
        element("b", None, f"{last.num_right} of {last.num_scored} right"),
    )
    card = element("figure", {"class": "stage moving"}, moving, caption)
    note = (
        "Pairs: a sample, and to its right the training clip it is nearest to over all pixels of "
        "all frames, both decoded from latents. A class's mean is that of its training clips, so "
        "a clip that moves the wrong way counts as wrong. By the same measure "
        f"{format_share(training.own_accuracy, 1)} of the training clips are nearest to their own "
        "class, each left out of its mean. What leaves on one side comes back on the other, and "
        "the clips are loops."
    )
    return section("A video model trained from a store of clips", lead, figure(card, note))


def first_frame_section(facts: MotionFacts) -> Markup:
    """Return how the first latent frame differs from the rest."""
    lead = (
        "A causal video encoder keeps the first frame as a picture of its own and joins four "
        "frames in each later latent frame. So its statistics are kept apart, exactly, and so is "
        f"fidelity: over {facts.num_compared} clips decoded from the store the first frame has "
        f"{facts.first_frame_db:.1f} dB, the others {facts.rest_db:.1f} dB."
    )
    columns = [
        TableColumn(heading="channel", kind="number"),
        *number_columns("mean, first", "std, first", "mean, rest", "std, rest"),
    ]
    rows = [
        _channel_row(first, rest)
        for first, rest in zip(facts.first.channels, facts.rest.channels, strict=True)
    ]
    caption = (
        f"Of {facts.encoder}, over every stored value. The differences between frames of a group "
        "are the later channels: of a first frame they are zero, and a figure over all frames "
        "would be wrong for both."
    )
    table = long_table(columns, rows, num_shown=_CHANNELS_SHOWN)
    return section("The first latent frame and the rest", lead, figure(table, caption))


def _channel_row(first: ChannelFacts, rest: ChannelFacts) -> tuple[Content, ...]:
    values = (first.mean, first.std, rest.mean, rest.std)
    return (first.index, *(format_number(value) for value in values))
