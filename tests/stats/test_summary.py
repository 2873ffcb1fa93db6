from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from latentcache.core.fingerprint import canonical_json
from latentcache.stats import (
    CODES_HEADER,
    TABLE_HEADER,
    ColumnStatistics,
    as_json,
    codes_rows,
    summary_rows,
    table_rows,
)

RNG = np.random.default_rng(9)
Accumulate = Callable[..., dict[str, NDArray[np.generic]]]
OPS = [{"op": "multiply", "values": [0.5]}]


@pytest.fixture
def statistics(accumulate: Accumulate) -> ColumnStatistics:
    clips = RNG.standard_normal((3, 4, 5, 8, 8)).astype(np.float32)
    arrays = accumulate(
        [clips], "CTHW", name="mean", logvars=[clips - 3], pixels_per_sample=17 * 64 * 64
    )
    return ColumnStatistics.from_arrays(arrays)


def test_json_has_the_promised_keys(statistics: ColumnStatistics) -> None:
    summary = as_json({"latents": statistics}, {"latents": OPS})["latents"]
    assert {"count", "mean", "std", "min", "max", "non_finite", "classes", "histogram"} <= set(
        summary
    )
    assert {"covariance_eigenvalues", "posterior_variance", "noise_fraction"} <= set(summary)
    assert {"kl_nats_per_latent_frame", "kl_nats_per_pixel", "published_z"} <= set(summary)
    assert summary["field"] == "mean"
    assert summary["count"] == 3 * 5 * 64
    assert summary["classes"]["first"]["count"] == 3 * 64
    assert summary["classes"]["rest"]["latent_frames"] == 12
    assert [sum(channel["count"]) for channel in summary["histogram"]] == [3 * 5 * 64] * 4
    assert_allclose(summary["published_z"]["std_ratio"], 0.5 * np.array(summary["std"]))
    eigenvalues = summary["covariance_eigenvalues"]
    assert eigenvalues == sorted(eigenvalues, reverse=True)
    assert sum(eigenvalues) == pytest.approx(np.square(summary["std"]).sum())
    canonical_json(summary)


def test_channels_without_values_are_null(accumulate: Accumulate) -> None:
    values = RNG.standard_normal((2, 2, 4, 4)).astype(np.float32)
    values[:, 1] = np.nan
    column = ColumnStatistics.from_arrays(accumulate([values]))
    summary = as_json({"latents": column})["latents"]
    assert summary["mean"][1] is None
    assert summary["min"][1] is None
    assert summary["non_finite"] == [0, 32]
    assert summary["covariance_eigenvalues"] == [None, None]
    canonical_json(summary)


def test_codes_are_summed_up_by_codebook(accumulate: Accumulate) -> None:
    codes = np.arange(32).reshape(2, 4, 4)
    column = ColumnStatistics.from_arrays(accumulate([codes], "HW", name="indices", kind="indices"))
    summary = as_json({"tokens": column})["tokens"]
    assert summary["codebooks"][0]["used"] == 32
    assert summary["codebooks"][0]["perplexity"] == pytest.approx(32)
    canonical_json(summary)
    assert [len(row) for row in codes_rows(column)] == [len(CODES_HEADER)]
    assert summary["codebooks"][0]["dead"] is None
    sized = as_json({"tokens": column}, codebook_sizes={"tokens": 512})["tokens"]
    assert sized["codebooks"][0]["dead"] == 480
    assert codes_rows(column, 512)[0][CODES_HEADER.index("dead")] == "480"
    assert codes_rows(column)[0][CODES_HEADER.index("dead")] == "-"
    assert table_rows(column) == []
    assert summary_rows(column) == []


def test_a_column_without_samples_says_so() -> None:
    assert as_json({"latents": ColumnStatistics.from_arrays({})}) == {
        "latents": {"count": 0, "samples": 0}
    }


def test_the_table_has_a_row_per_view_and_channel(statistics: ColumnStatistics) -> None:
    rows = table_rows(statistics, OPS)
    assert {len(row) for row in rows} == {len(TABLE_HEADER)}
    assert [row[0] for row in rows] == ["all"] * 4 + ["first"] * 4 + ["rest"] * 4
    names = dict(summary_rows(statistics, OPS))
    assert names["samples"] == "3"
    assert "KL per latent frame, nats (rest)" in names
