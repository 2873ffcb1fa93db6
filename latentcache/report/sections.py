"""Sections: each answers one question about a store, with a figure or a table."""

import re
from collections.abc import Sequence

from latentcache.report.figures import bucket_svg, histogram_svg, sum_svg
from latentcache.report.markup import Content, Markup, element, join
from latentcache.report.pictures import picture
from latentcache.report.store_facts import (
    BucketFacts,
    ColumnFacts,
    FieldFacts,
    Projection,
    QuarantinedSample,
    Reconstruction,
)
from latentcache.report.tables import (
    TableColumn,
    long_table,
    number_columns,
    table,
    text_columns,
)
from latentcache.report.wording import (
    DASH,
    SIGMA,
    TIMES,
    format_bytes,
    format_count,
    format_number,
    format_share,
)

MAX_CHANNELS_DRAWN = 64
"""Histograms on a page; the table below them has every channel."""
_ROWS_SHOWN = 12
_MOST_ACROSS = 5


def section(title: str, lead: Content, *content: Content) -> Markup:
    """Return a section: a heading that the contents name, a sentence, and what shows it."""
    heading = element("h2", None, title)
    attributes = {"id": slug(title)}
    return element("section", attributes, heading, element("p", None, lead), join(content))


def slug(title: str) -> str:
    """Return what an address calls a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def figure(content: Markup, caption: Content) -> Markup:
    """Return a figure with its caption."""
    return element("figure", None, content, element("figcaption", None, caption))


def tiles(values: Sequence[tuple[str, str, bool]]) -> Markup:
    """Return the large numbers at the top.

    Args:
        values: (number, what it counts, whether to warn) each.
    """
    items = [
        element(
            "li",
            {"class": "warn"} if is_warning else None,
            element("b", None, number),
            element("span", None, what),
        )
        for number, what, is_warning in values
    ]
    style = f"--across: {tiles_across(len(items))}"
    return element("ul", {"class": "tiles", "style": style}, *items)


def tiles_across(count: int) -> int:
    """Return how many of ``count`` tiles stand in a line, so that no last line has one alone."""
    if count <= _MOST_ACROSS:
        return max(1, count)
    return max(range(3, _MOST_ACROSS + 1), key=lambda across: ((count - 1) % across, across))


def reconstructions_section(rows: Sequence[Reconstruction], *, encoder: str) -> Markup:
    """Return originals beside what their latents decode to."""
    cards = element("div", {"class": "gallery"}, *(_card(row) for row in rows))
    note = (
        "Left: the planned crop of the source. Middle: three channels of the stored latent as "
        "colours, one square per latent cell. Right: decoded from the store. PSNR compares "
        "right with left, over 8-bit RGB; higher is better."
    )
    lead = f"What the store holds of these samples, decoded again by {encoder}."
    return section("Originals and reconstructions", lead, figure(cards, note))


def _card(row: Reconstruction) -> Markup:
    shown = [("original", row.original, ""), ("latent", row.latent, "latent")]
    shown.append(("decoded", row.decoded, ""))
    cells = [
        element("span", None, picture(pixels, f"{what}: {row.title}", style=style), _small(what))
        for what, pixels, style in shown
        if pixels is not None
    ]
    caption = element(
        "figcaption",
        None,
        element("span", None, row.title),
        element("b", None, f"{row.psnr_db:.1f} dB"),
    )
    style = None if len(cells) == 3 else {"class": "pair"}
    return element("figure", {"class": "trio"}, element("div", style, *cells), caption)


def _small(text: str) -> Markup:
    return element("small", None, text)


def sum_section(column: ColumnFacts, quarantine: Sequence[QuarantinedSample]) -> Markup:
    """Return the sum of a column, and every quarantined sample with its reason."""
    gap = column.num_planned - column.num_encoded - column.num_quarantined - column.num_missing
    assert gap == 0, "encoded + quarantined + missing = planned"
    parts = [(column.num_encoded, "encoded"), (column.num_quarantined, "quarantined")]
    if column.num_missing:
        parts.append((column.num_missing, "missing"))
    words = join(
        (_term(number, what) for number, what in parts),
        separator="<span>+</span>",
    )
    total = join([element("span", None, "="), _term(column.num_planned, "planned")])
    line = element("div", {"class": "sum"}, words, total)
    bar = sum_svg(column.num_encoded, column.num_quarantined, column.num_missing)
    lead = (
        "Every planned sample is encoded or in quarantine with its stage and a reason; a bad "
        "file costs its own sample and nothing else."
    )
    return section("The sum that adds up", lead, line, bar, _quarantine_table(quarantine))


def _term(number: int, what: str) -> Markup:
    return element("span", None, element("b", None, format_count(number)), " ", _small(what))


def _quarantine_table(quarantine: Sequence[QuarantinedSample]) -> Markup:
    if not quarantine:
        return element("p", None, "Nothing was quarantined.")
    columns = [
        TableColumn(heading="source", kind="code"),
        *text_columns("stage", "code"),
        TableColumn(heading="reason", kind="prose"),
        *text_columns("worth another try"),
    ]
    rows = [
        (row.source, row.stage, row.code, row.reason, "yes" if row.is_transient else "no")
        for row in quarantine
    ]
    caption = "The quarantine. Another try helps where time, input or a process failed."
    return figure(long_table(columns, rows, num_shown=_ROWS_SHOWN), caption)


def buckets_section(buckets: Sequence[BucketFacts]) -> Markup:
    """Return the buckets with their samples."""
    lead = (
        "Samples of like shape share a bucket, so that a batch has one size and little is "
        "cropped; shards never mix buckets."
    )
    caption = (
        f"{format_count(sum(b.num_samples for b in buckets))} planned samples in "
        f"{len(buckets)} buckets and {format_count(sum(b.num_shards for b in buckets))} shards; "
        f"width {TIMES} height in pixels, frames of clips; shapes to scale."
    )
    return section(
        "Buckets", lead, figure(element("div", {"class": "plot"}, bucket_svg(buckets)), caption)
    )


def statistics_sections(fields: Sequence[FieldFacts]) -> Markup:
    """Return histograms and a table for each stored field."""
    return join(_field_section(field) for field in fields)


def _field_section(field: FieldFacts) -> Markup:
    drawn = field.channels[:MAX_CHANNELS_DRAWN]
    histograms = element("div", {"class": "channels"}, *(histogram_svg(one) for one in drawn))
    left_out = len(field.channels) - len(drawn)
    part = {"all": "", "first": ", first latent frames", "rest": ", all later latent frames"}
    frames = part[field.frames]
    lead = (
        f"Exact over every stored value of {format_count(field.num_samples)} samples{frames}, "
        "before normalization: merging the statistics of units gives what one pass over all "
        "values gives."
    )
    caption = (
        "One histogram a channel, each on its own axis, from exact counts. Heights are "
        "logarithmic over four decades; the outermost 0.2 % of the values lie outside. "
        f"Dashed: zero. {SIGMA}: standard deviation."
    )
    if left_out:
        caption += f" {left_out} further channels are in the table only."
    columns = [
        TableColumn(heading="channel", kind="number"),
        *number_columns("mean", "std", "min", "max", "not finite"),
    ]
    rows: list[tuple[Content, ...]] = [
        (
            one.index,
            *(format_number(value) for value in (one.mean, one.std, one.minimum, one.maximum)),
            format_count(one.num_nonfinite),
        )
        for one in field.channels
    ]
    return section(
        f"Statistics of {field.name}{frames}",
        lead,
        figure(histograms, caption),
        figure(long_table(columns, rows, num_shown=16), "The same channels in numbers."),
    )


def projection_section(projection: Projection) -> Markup:
    """Return what a million images would take, and what that assumes."""
    sizes = [f"{size} px" for size in projection.sizes_px]
    columns = [
        *text_columns("encoder"),
        TableColumn(heading=f"latent at {sizes[-1]}"),
        *number_columns(*sizes, *(f"{size}, mean only" for size in sizes)),
    ]
    rows: list[tuple[Content, ...]] = [
        (
            join([element("b", None, one.name), " ", _small(one.title)]),
            one.latent,
            *(format_bytes(size) for size in (*one.num_bytes, *one.mode_bytes)),
        )
        for one in projection.encoders
    ]
    pixels = [format_bytes(size) for size in projection.rgb_bytes]
    rows.append((_small("the same as 8-bit RGB pixels"), "", *pixels, *([DASH] * len(pixels))))
    caption = (
        f"Computed from what the encoders declare, not measured. Assumed: "
        f"{format_count(projection.num_images)} square images of the size given, latents in "
        "float16, mean and log-variance where there is a posterior, tar headers included. A "
        "column “mean only” is what --posterior mode stores. An image is a clip of one "
        "frame to a video encoder. Your own photos: latentcache plan CORPUS STORE --estimate."
    )
    title = "What a million of your images would take"
    lead = "Swapping the encoder keeps the plan; the bytes are what changes."
    return section(title, lead, figure(table(columns, rows), caption))


def column_section(column: ColumnFacts, *, store: str, snapshot: int) -> Markup:
    """Return which encoding the page speaks of."""
    rows: list[tuple[Content, Content]] = [
        ("store", element("code", None, store)),
        ("snapshot", str(snapshot)),
        ("column", column.column),
        ("encoder", column.encoder),
        ("encoding", element("code", None, column.fingerprint)),
        ("stored", column.stored),
        ("made on", column.made_on),
        ("units", format_count(column.num_units)),
        ("tars", f"{format_bytes(column.num_bytes)}, {_bytes_each(column)} a sample"),
        ("quarantined", format_share(column.num_quarantined, column.num_planned)),
    ]
    lead = "The encoding is named by a hash of everything that can change a value."
    return section("The encoding", lead, table(text_columns("", ""), rows))


def _bytes_each(column: ColumnFacts) -> str:
    return format_bytes(column.num_bytes / max(1, column.num_encoded))
