"""Figures of a training run: the curve is the losses, the bars are to scale."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latentcache.demo.page.animations import training_strip
from latentcache.demo.page.figures import axis_ticks, loss_svg, race_svg, smoothed
from latentcache.report.pictures import on_paper, pair_grid
from tests.report.pages import loader_race, order_test, training_facts


def test_smoothed_value_is_the_mean_of_the_last_ones() -> None:
    values = np.array([4.0, 2.0, 0.0, 6.0])
    assert smoothed(values, 1).tolist() == values.tolist()
    assert smoothed(values, 3).tolist() == [4.0, 3.0, 2.0, pytest.approx(8 / 3)]


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-6, 1e6))
@example(1e-05)
def test_axis_ends_just_above_the_highest_value(highest: float) -> None:
    ticks = axis_ticks(highest)
    assert ticks[0] == 0
    assert ticks[-2] < highest
    assert highest <= ticks[-1] * (1 + 1e-8)
    assert 3 <= len(ticks) <= 7


def test_axis_of_nothing_is_drawn() -> None:
    assert axis_ticks(0.0) == [0, 1]


def test_curve_has_a_point_a_step_and_stays_in_its_frame() -> None:
    losses = (50.0, *training_facts().losses)
    drawn = loss_svg(losses, training_facts().grids)
    for style in ("faint", "curve"):
        (path,) = re.findall(rf'class="{style}" d="M([^"]*)"', drawn)
        points = [tuple(map(float, point.split())) for point in path.split("L")]
        assert len(points) == len(losses)
        assert min(y for _, y in points) >= 14
    assert drawn.count('class="zero"') == 4


def test_bars_of_the_race_are_to_scale() -> None:
    widths = [float(one) for one in re.findall(r'width="([\d.]+)"', race_svg(loader_race()))]
    assert widths[0] / widths[2] == pytest.approx(4 / 60, abs=1e-3)
    assert loader_race().ratio == 12.0


def test_pairs_lie_side_by_side_with_clear_gaps() -> None:
    sample, near = (np.full((10, 10, 3), value, dtype=np.uint8) for value in (50, 200))
    grid = pair_grid([sample] * 3, [near] * 3, num_columns=2, scale=2)
    assert grid.shape == (42, 82, 4)
    assert grid[0, 0].tolist() == [50, 50, 50, 255]
    assert grid[0, 20].tolist() == [200, 200, 200, 255]
    assert grid[0, 40, 3] == 0
    assert grid[30, 60, 3] == 0  # no fourth pair
    paper = on_paper(grid, margin_px=3)
    assert paper.shape == (48, 88, 3)
    named = on_paper(grid, margin_px=3, names=["one", "two"])
    added_px = named.shape[1] - paper.shape[1]
    assert added_px > 10
    assert (named[:, added_px:] == paper).all()
    assert (named[:, :added_px] != named[0, 0]).any()


def test_strip_has_a_line_a_stage_and_one_of_nearest_pictures() -> None:
    grids = training_facts().grids
    strip = training_strip(grids)
    assert strip.shape == (5 * 9 - 1, 3 * 9 - 1, 4)
    shown = [grids[-1].nearest[index] for index in (0, 2, 4)]
    assert (strip[36:, 9:17, :3] == shown[1]).all()


def test_steps_are_equal_only_in_the_same_order() -> None:
    assert order_test().num_equal == 2
    assert order_test(is_equal=False).num_equal == 1
