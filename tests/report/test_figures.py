"""Figures: what is drawn is what was counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latentcache.report.figures import bucket_svg, display_range, histogram_svg, rebin, sum_svg
from latentcache.report.pictures import latent_picture, sheet
from latentcache.report.store_facts import BucketFacts
from tests.report.pages import channels, store_page

VALUES = arrays(
    np.float16,
    st.tuples(st.integers(1, 3), st.just(1), st.integers(1, 50)),
    elements=st.floats(-60000, 60000, width=16),
)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_rebinned_histogram_keeps_every_value(values_NCP: np.ndarray) -> None:
    (channel,) = channels(values_NCP.astype(np.float32))
    low, high = float(channel.low[0]), float(channel.high[-1])
    bars = rebin(channel, np.linspace(low, high, 33))
    assert bars.min() >= -1e-6
    assert bars.sum() == pytest.approx(values_NCP.size)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_every_channel_can_be_drawn(values_NCP: np.ndarray) -> None:
    (channel,) = channels(values_NCP.astype(np.float32))
    low, high = display_range(channel)
    assert low < high
    assert "nan" not in histogram_svg(channel)


def test_histogram_of_a_bell_is_a_bell() -> None:
    values = np.random.default_rng(0).normal(size=(1, 1, 200_000)).astype(np.float32)
    (channel,) = channels(values)
    edges = np.linspace(-3, 3, 25)
    counted = np.histogram(values, edges)[0]
    assert rebin(channel, edges) == pytest.approx(counted, rel=0.15, abs=200)


def test_one_lost_sample_in_a_million_is_seen() -> None:
    svg = sum_svg(1_000_000, 1, 0)
    assert 'class="warn"' in svg
    assert 'width="3.0"' in svg
    assert 'class="warn"' not in sum_svg(10, 0, 0)


def test_empty_plan_draws_an_empty_figure() -> None:
    assert "<svg" in bucket_svg([])


def test_bucket_shapes_are_to_scale() -> None:
    wide = BucketFacts(height_px=128, width_px=256, num_frames=1, num_samples=1, num_shards=1)
    assert 'width="24.0" height="12.0"' in bucket_svg([wide])


@pytest.mark.parametrize("num_channels", [1, 3, 16])
def test_latent_becomes_a_picture_of_its_own_size(num_channels: int) -> None:
    values = np.random.default_rng(1).normal(size=(num_channels, 6, 9)).astype(np.float32)
    assert latent_picture(values).shape == (6, 9, 3)
    flat = latent_picture(np.zeros((num_channels, 2, 2), dtype=np.float32))
    assert flat.shape == (2, 2, 3)


def test_sheet_has_a_line_for_each_view() -> None:
    pixels = sheet(store_page().reconstructions * 4)
    assert pixels.shape == (568, 844, 3)
