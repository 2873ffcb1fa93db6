"""Features normalized place by place: by what was measured, or by a published file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader
from latentcache.stats import ColumnStatistics
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.written_columns import write_column

CHANNELS, GRID, NUM = 6, (2, 4), 24
WIDE, SQUARE = Bucket(1, 32, 64), Bucket(1, 32, 32)


def feature_of(number: int, grid: tuple[int, ...] = GRID) -> np.ndarray:
    places = np.arange(np.prod(grid), dtype=np.float64).reshape(grid)
    draw = np.random.default_rng(number).normal(size=(CHANNELS, *grid))
    return (draw * (0.5 + places) + 7 * places).astype(np.float32)


def add_features(store: Store, name: str, layout: str = "CHW") -> None:
    field = Field(name="z", kind="point", axes=layout, channels=CHANNELS, dtype="float32")

    def outcome(shard: int, row: int) -> dict[str, np.ndarray]:
        found = feature_of(16 * shard + row)
        return {"z": found if layout == "CHW" else found.reshape(CHANNELS, -1).T.copy()}

    write_column(store, name, (field,), outcome, spec={"knobs": {"layout": layout, "cell": 16}})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("positions") / "store")
    add_generation(store, [(WIDE, NUM, 16)])
    add_column(store, SyntheticColumn(rows_per_unit=16))
    add_features(store, "grid")
    add_features(store, "tokens", "NC")
    return store


def normalized(store: Store, name: str, mode: Any) -> np.ndarray:
    """Return a column as one pass gives it, in plan order."""
    loader = LatentLoader(
        store,
        columns=["latents", name],
        global_batch_size=8,
        normalize={"latents": False, name: mode},
        one_pass=True,
    )
    found = {
        row: value
        for batch in loader
        for row, value in zip(batch["row"].tolist(), batch[name], strict=True)
    }
    return np.stack([found[row].numpy() for row in range(NUM)])


@pytest.mark.parametrize("name", ["grid", "tokens"])
def test_every_place_has_mean_0_and_deviation_1_by_what_was_measured(
    name: str, store: Store
) -> None:
    values = normalized(store, name, "measured-position")
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(0), 1, atol=1e-4)
    assert abs(normalized(store, name, "measured").mean(0)).max() > 0.5


@pytest.mark.parametrize("name", ["grid", "tokens"])
def test_a_published_file_does_what_its_own_code_does(
    name: str, store: Store, tmp_path: Path
) -> None:
    whole = np.stack([feature_of(number) for number in range(NUM)])
    mean, var = torch.from_numpy(whole.mean(0)), torch.from_numpy(whole.var(0))
    torch.save({"mean": mean, "var": var}, tmp_path / "stat.pt")
    # As RAE's encode does it.
    expected = ((torch.from_numpy(whole) - mean) / torch.sqrt(var + 1e-5)).numpy()
    if name == "tokens":
        expected = expected.reshape(NUM, CHANNELS, -1).swapaxes(1, 2)
    found = normalized(store, name, str(tmp_path / "stat.pt"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_figures_of_channels_alone_are_read_too(store: Store, tmp_path: Path) -> None:
    """As SVG's file, (1, 1, C)."""
    stats = {
        "dinov3_sp_mean": torch.arange(CHANNELS).float().view(1, 1, -1),
        "dinov3_sp_std": torch.full((1, 1, CHANNELS), 4.0),
    }
    torch.save(stats, tmp_path / "stats.pt")
    found = normalized(store, "grid", str(tmp_path / "stats.pt"))
    raw = np.stack([feature_of(number) for number in range(NUM)])
    expected = (raw - np.arange(CHANNELS)[:, None, None]) / 4
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("it was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({"mean": torch.zeros(5), "var": torch.ones(5)}, "of 6 channels", id="shape"),
        pytest.param({"mu": torch.zeros(6)}, "must hold mean and var", id="keys"),
        pytest.param({"mean": torch.zeros(6), "std": torch.zeros(6)}, "above 0", id="zero"),
        pytest.param(torch.zeros(6), "must hold mean and var", id="tensor"),
        pytest.param(_Code(), "readable file", id="code"),
        pytest.param(None, "readable file", id="gone"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(
    content: Any, message: str, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        torch.save(content, tmp_path / "stat.pt")
    with pytest.raises(ConfigError, match=message):
        normalized(store, "grid", str(tmp_path / "stat.pt"))
    assert "it was run" not in capfd.readouterr().out


def test_grids_of_two_sizes_and_what_was_not_measured_are_refused(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="nothing was measured"):
        normalized(store, "latents", "measured-position")
    other = Store.create(tmp_path / "other")
    add_generation(other, [(WIDE, 16, 16), (SQUARE, 8, 16)])
    add_column(other, SyntheticColumn(rows_per_unit=16))
    field = Field(name="z", kind="point", axes="CHW", channels=CHANNELS, dtype="float32")

    def outcome(shard: int, row: int) -> dict[str, np.ndarray]:
        return {"z": feature_of(row, GRID if shard == 0 else (2, 2))}

    write_column(other, "grid", (field,), outcome, spec={"knobs": {"layout": "CHW", "cell": 16}})
    with pytest.raises(ConfigError, match=r"grids of 2x2, 2x4|grids of 2x4, 2x2"):
        normalized(other, "grid", "measured-position")
    found = ColumnStatistics.from_arrays(other.snapshot().columns["grid"].statistics())
    assert set(found.latents["z"].pooled.positions) == {(2, 4), (2, 2)}
