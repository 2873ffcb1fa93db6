"""Several columns: each by its own figures where asked, indices such that they can index."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.loader import Batch, LatentLoader
from latentcache.store import Store
from latentcache.testing import synthetic
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.loader.conftest import SQUARE

PUBLISHED = {
    "ops": [
        {"op": "subtract", "values": [1.0, 2.0, 3.0], "axis": "C"},
        {"op": "divide", "values": [2.0], "axis": ""},
    ],
    "source": "config",
}
LATENTS = SyntheticColumn(has_logvar=True)
COND = SyntheticColumn(name="cond", channels=3, seed=1, normalizer=PUBLISHED, has_logvar=True)
NAMES = ["latents", "cond"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexColumn(SyntheticColumn):
    """A column of codes."""

    def fields(self) -> tuple[Field, ...]:
        return (Field(name="indices", kind="indices", axes="CHW", channels=4, dtype=self.dtype),)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("columns") / "store")
    add_generation(store, [(SQUARE, 48, 16)])
    for column in (LATENTS, COND):
        add_column(store, column)
    return store


def batches(store: Store, normalize: object, *, state: object = None) -> Iterator[Batch]:
    loader = LatentLoader(store, columns=NAMES, global_batch_size=16, normalize=normalize)  # type: ignore[arg-type]  # what is wrong is refused
    if state is not None:
        loader.load_state_dict(state)  # type: ignore[arg-type]  # of another loader
    return iter(loader)


def test_each_column_has_figures_of_its_own(several: Store) -> None:
    raw = next(batches(several, {"latents": False}))
    batch = next(batches(several, {"latents": "measured", "cond": "published"}))
    assert raw["cond"].dtype == torch.float16
    shift = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    assert torch.equal(batch["cond"], (raw["cond"].float() - shift) / 2.0)
    measured = next(batches(several, {"cond": "measured"}))["cond"]
    assert measured.dtype == torch.float32
    moments = torch.cat([each["cond"] for each in _epoch(several)]).transpose(0, 1).flatten(1)
    assert moments.mean(1).abs().max() < 1e-2
    assert (moments.std(1) - 1.0).abs().max() < 1e-2
    # The latents are what they are without a word about others.
    assert torch.equal(batch["latents"], next(batches(several, "measured"))["latents"])


def _epoch(store: Store) -> Iterator[Batch]:
    found = batches(store, {"cond": "measured"})
    return (next(found) for _ in range(3))


def test_a_run_keeps_the_figures_of_all_its_columns(several: Store) -> None:
    modes = {"latents": True, "cond": "published"}
    running = batches(several, modes)
    state = next(running).state
    assert torch.equal(next(running)["cond"], next(batches(several, modes, state=state))["cond"])
    with pytest.raises(ConfigError, match=r"must name the columns of the run \(cond besides"):
        batches(several, True, state=state)
    loader = LatentLoader(several, columns=NAMES, global_batch_size=16, normalize=modes)
    assert list(loader.normalizers) == NAMES
    cond = next(iter(loader))["cond"]
    back = loader.normalizers["cond"].invert(cond)
    assert torch.equal(loader.normalizers["cond"].apply(back), cond)


def test_a_column_that_is_not_there_is_refused(several: Store) -> None:
    with pytest.raises(ConfigError, match=r"encoded columns that are asked for \(latents, cond\)"):
        batches(several, {"latent": True})


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_indices_come_as_what_can_index(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.random.default_rng(0).integers(0, 200, (16, 4, 8, 8)).astype(dtype)
    monkeypatch.setattr(synthetic, "unit_values", lambda *_: {"indices": codes})
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 16, 16)])
    add_column(store, IndexColumn(name="codes", dtype=dtype))
    batch = next(iter(LatentLoader(store, columns=["codes"], global_batch_size=16)))
    assert batch["codes"].dtype == torch.int64
    table = torch.randn(200, 5)
    assert torch.equal(table[batch["codes"]], torch.nn.functional.embedding(batch["codes"], table))
    rows = batch["row"].tolist()
    assert torch.equal(batch["codes"], torch.from_numpy(codes[rows].astype(np.int64)))


def test_indices_are_not_normalized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: Store
) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 16, 16)])
    add_column(store, replace(LATENTS))
    codes = np.zeros((16, 4, 8, 8), np.uint16)
    monkeypatch.setattr(synthetic, "unit_values", lambda *_: {"indices": codes})
    add_column(store, IndexColumn(name="codes", dtype="uint16"))
    with pytest.raises(ConfigError, match="normalize must be False for codes, which holds uint16"):
        LatentLoader(
            store,
            columns=["latents", "codes"],
            global_batch_size=16,
            normalize={"latents": True, "codes": "measured"},
        )
