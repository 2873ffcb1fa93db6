"""Figures: inline SVG that takes its colours from the page, so it works light and dark."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from latentcache.report.store_facts import BucketFacts, ChannelFacts
from latentcache.report.svg import Mark, line, path, rect, svg, text
from latentcache.report.wording import SIGMA, TIMES, format_count, format_number

Floats = npt.NDArray[np.float64]

NUM_BARS = 72
"""Bars of a histogram: about two pixels each at the width they are drawn."""
_WIDTH, _PLOT_TOP, _PLOT_BOTTOM, _HEIGHT = 180, 22, 84, 100
_DECADES = 4
_TAIL_SHARE = 0.002
"""Share of the values left outside a histogram's axis, on both sides together."""


def histogram_svg(channel: ChannelFacts) -> Markup:
    """Return the histogram of one channel; the axis leaves out the outermost 0.2 %.

    Heights are logarithmic over four decades: latents are peaked, and their tails are what
    normalization and low-precision storage trip over.
    """
    low, high = display_range(channel)
    bars = rebin(channel, np.linspace(low, high, NUM_BARS + 1))
    label = (
        f"channel {channel.index}: mean {format_number(channel.mean)}, "
        f"standard deviation {format_number(channel.std)}"
    )
    marks = [
        line("axis", 0, _PLOT_BOTTOM, _WIDTH, _PLOT_BOTTOM),
        _area(bars),
        *_zero_line(low, high),
        text(4, 14, f"c{channel.index}", {"class": "name"}),
        text(_WIDTH - 4, 14, f"{SIGMA} {format_number(channel.std)}", {"text-anchor": "end"}),
        text(4, 96, format_number(low), {}),
        text(_WIDTH - 4, 96, format_number(high), {"text-anchor": "end"}),
    ]
    return svg(_WIDTH, _HEIGHT, label, marks)


def display_range(channel: ChannelFacts) -> tuple[float, float]:
    """Return the values between which nearly all of a channel lies, from its exact bins."""
    total = int(channel.count.sum())
    if total == 0:
        return 0.0, 1.0
    below = np.cumsum(channel.count)
    first = int(np.searchsorted(below, total * _TAIL_SHARE / 2, side="right"))
    last = int(np.searchsorted(below, total * (1 - _TAIL_SHARE / 2)))
    low = max(float(channel.low[first]), channel.minimum)
    high = min(float(channel.high[min(last, len(below) - 1)]), channel.maximum)
    if not low < high:
        return low - 0.5, low + 0.5
    return low, high


def rebin(channel: ChannelFacts, edges: Floats) -> Floats:
    """Return how many values lie between ``edges``, each exact bin spread evenly.

    The counts of whole bins are exact; a bin that an edge cuts is shared by overlap, which
    is what a picture 72 bars wide can show.
    """
    below = np.concatenate([[0.0], np.cumsum(channel.count, dtype=np.float64)])
    cumulative = np.empty(len(edges))
    for index, edge in enumerate(edges):
        whole = int(np.searchsorted(channel.high, edge, side="right"))
        inside = 0.0
        if whole < len(channel.low) and channel.low[whole] < edge:
            width = channel.high[whole] - channel.low[whole]
            inside = channel.count[whole] * (edge - channel.low[whole]) / width
        cumulative[index] = below[whole] + inside
    bars: Floats = np.diff(cumulative)
    return bars


def bucket_svg(buckets: Sequence[BucketFacts]) -> Markup:
    """Return one row per bucket: its shape to scale, and a bar for its samples."""
    has_clips = any(bucket.num_frames > 1 for bucket in buckets)
    row, left, right = 30, 190 if has_clips else 118, 760
    most = max((bucket.num_samples for bucket in buckets), default=1)
    longest = max((max(b.height_px, b.width_px) for b in buckets), default=1)
    marks = []
    for index, bucket in enumerate(buckets):
        middle = index * row + row / 2
        width, height = 24 * bucket.width_px / longest, 24 * bucket.height_px / longest
        bar = max(1.5, (right - left - 60) * bucket.num_samples / most)
        marks += [
            rect("pale", 14 - width / 2, middle - height / 2, width, height),
            text(34, middle + 4, _size(bucket), {"class": "name"}),
            rect("bar", left, middle - 8, bar, 16),
            text(left + bar + 6, middle + 4, format_count(bucket.num_samples), {}),
        ]
    label = f"samples in each of {len(buckets)} buckets"
    return svg(right, max(row, row * len(buckets)), label, marks)


def _size(bucket: BucketFacts) -> str:
    size = f"{bucket.width_px} {TIMES} {bucket.height_px}"
    return size if bucket.num_frames == 1 else f"{size}, {bucket.num_frames:,} frames"


def sum_svg(encoded: int, quarantined: int, missing: int) -> Markup:
    """Return one bar cut into encoded, quarantined and missing samples."""
    total = max(1, encoded + quarantined + missing)
    width, at = 560.0, 0.0
    marks = []
    for style, part in (("bar", encoded), ("warn", quarantined), ("pale", missing)):
        # A single lost sample among millions must still be seen.
        length = max(3.0, width * part / total) if part else 0.0
        if length:
            marks.append(rect(style, min(at, width - length), 0, length, 14))
        at += length
    label = f"{encoded} encoded, {quarantined} quarantined, {missing} missing"
    return svg(width, 14, label, marks)


def _area(bars: Floats) -> Mark:
    """Return the histogram as one closed path of steps."""
    share = np.maximum(bars, 0.0) / (float(bars.max()) or 1.0)
    heights = np.clip(1.0 + np.log10(np.maximum(share, 1e-12)) / _DECADES, 0.0, 1.0)
    step = _WIDTH / len(bars)
    steps = [f"M0 {_PLOT_BOTTOM}"]
    for index, height in enumerate(heights):
        y = _PLOT_BOTTOM - (_PLOT_BOTTOM - _PLOT_TOP) * float(height)
        steps.append(f"V{y:.1f}H{(index + 1) * step:.1f}")
    steps.append(f"V{_PLOT_BOTTOM}Z")
    return path("bar", "".join(steps))


def _zero_line(low: float, high: float) -> list[Mark]:
    if not low < 0 < high or not math.isfinite(high - low):
        return []
    x = round(_WIDTH * -low / (high - low), 1)
    return [line("zero", x, _PLOT_TOP, x, _PLOT_BOTTOM)]
