import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from latentcache.stats import (
    ColumnStatistics,
    patch_size,
    published_misfit,
    published_z_scores,
)

RNG = np.random.default_rng(2)
Accumulate = Callable[..., dict[str, NDArray[np.generic]]]
Ops = list[dict[str, Any]]

MEAN = np.linspace(-2, 2, 4)
STD = np.linspace(0.5, 3, 4)


def latents() -> NDArray[np.float32]:
    values = RNG.standard_normal((16, 4, 16, 16)) * STD[:, None, None] + MEAN[:, None, None]
    return values.astype(np.float32)


def op(name: str, *values: float, **more: Any) -> dict[str, Any]:
    return {"op": name, "values": list(values), "axis": "C", "size": 0, "axes": "", **more}


@pytest.mark.parametrize(
    "ops",
    [
        pytest.param([op("subtract", *MEAN), op("divide", *STD)], id="wan"),
        pytest.param([op("subtract", 0.1), op("multiply", 0.4)], id="flux"),
        pytest.param([op("multiply", 0.13025)], id="sdxl"),
        pytest.param([op("add", 1.0), op("multiply", -2.0), op("pack")], id="pack-last"),
        pytest.param([op("permute", axes="THWC"), op("divide", *STD)], id="permute"),
    ],
)
def test_scores_are_the_moments_of_normalized_latents(ops: Ops, accumulate: Accumulate) -> None:
    values = latents()
    scores = published_z_scores(ColumnStatistics.from_arrays(accumulate([values])), ops)
    normalized = values.astype(np.float64)
    for step in ops:
        if step["values"]:
            figures = np.array(step["values"])[:, None, None]
            function = getattr(np, step["op"])
            normalized = function(normalized, figures)
    assert scores is not None
    assert_allclose(scores.mean, normalized.mean(axis=(0, 2, 3)), rtol=1e-10, atol=1e-12)
    assert_allclose(scores.std_ratio, normalized.std(axis=(0, 2, 3)), rtol=1e-10)
    assert not scores.is_patchified


def test_packed_figures_are_held_against_packed_channels(accumulate: Accumulate) -> None:
    torch = pytest.importorskip("torch")
    values = latents() * np.arange(1, 257, dtype=np.float32).reshape(16, 16)
    packed = torch.pixel_unshuffle(torch.from_numpy(values).double(), 2)
    mean, std = packed.mean((0, 2, 3)), packed.std((0, 2, 3), correction=0)
    ops = [op("patchify", size=2), op("subtract", *mean.tolist()), op("divide", *std.tolist())]
    assert patch_size(ops) == 2
    measured = ColumnStatistics.from_arrays(accumulate([values], patch_size=2))
    scores = published_z_scores(measured, ops)
    assert scores is not None
    assert scores.is_patchified
    assert_allclose(scores.mean, 0.0, atol=1e-10)
    assert_allclose(scores.std_ratio, 1.0, rtol=1e-10)
    unmeasured = ColumnStatistics.from_arrays(accumulate([values]))
    assert published_z_scores(unmeasured, ops) is None


def test_scalars_after_patchify_speak_of_stored_channels(accumulate: Accumulate) -> None:
    ops = [op("patchify", size=2), op("multiply", 0.5)]
    assert patch_size(ops) == 1
    scores = published_z_scores(ColumnStatistics.from_arrays(accumulate([latents()])), ops)
    assert scores is not None
    assert scores.mean.shape == (4,)


@pytest.mark.parametrize(
    "ops",
    [
        pytest.param([], id="none"),
        pytest.param([op("subtract", *range(64), axis="CT")], id="per-latent-frame"),
        pytest.param([op("pack"), op("subtract", *range(16))], id="after-pack"),
        pytest.param([op("divide", *range(1, 9))], id="other-width"),
        pytest.param(
            [op("divide", *STD), op("patchify", size=2), op("subtract", *range(16))], id="both"
        ),
    ],
)
def test_figures_that_are_not_per_channel_give_no_scores(ops: Ops, accumulate: Accumulate) -> None:
    statistics = ColumnStatistics.from_arrays(accumulate([latents()], patch_size=2))
    assert published_z_scores(statistics, ops) is None


def test_a_wrong_input_range_is_plain_to_see(accumulate: Accumulate) -> None:
    ops = [op("subtract", *MEAN), op("divide", *STD)]
    halved = ColumnStatistics.from_arrays(accumulate([latents() / 2 + 4]))
    scores = published_z_scores(halved, ops)
    assert scores is not None
    assert np.abs(scores.mean).min() > 0.5
    assert_allclose(scores.std_ratio, 0.5, rtol=0.1)


def test_noise_of_the_posterior_is_in_the_sampled_ratio(accumulate: Accumulate) -> None:
    values = latents()
    logvar = np.full_like(values, np.log(3.0))
    arrays = accumulate([values], name="mean", logvars=[logvar])
    scores = published_z_scores(ColumnStatistics.from_arrays(arrays), [op("divide", *STD)])
    assert scores is not None
    assert scores.sampled_std_ratio is not None
    assert_allclose(scores.sampled_std_ratio**2, scores.std_ratio**2 + 3.0 / STD**2, rtol=1e-6)


@pytest.mark.parametrize(("scale", "is_told"), [(1.0, False), (0.025, True), (40.0, True)])
def test_a_scale_that_does_not_fit_is_told_with_both_figures(
    scale: float, is_told: bool, accumulate: Accumulate
) -> None:
    ops = [op("subtract", *MEAN), op("divide", *(STD / scale))]
    statistics = ColumnStatistics.from_arrays(accumulate([latents()]))
    said = published_misfit(statistics, ops, column="latents")
    assert bool(said) == is_told
    if is_told:
        found = re.search(r"standard deviation is (\S+) where about 1 is expected", said)
        assert found is not None
        assert float(found[1]) == pytest.approx(scale, rel=0.02)
    assert published_misfit(statistics, [], column="latents") == ""
