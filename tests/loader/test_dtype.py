"""Latents in the dtype that a model takes: computed in float32, rounded once."""

from pathlib import Path

import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader import Batch, LatentLoader, LoaderOptions
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.loader.conftest import SQUARE

LARGE = Bucket(1, 2048, 2048)
"""Its latents are normalized a few channels at a time, by several threads."""

PACKED = {"ops": [{"op": "divide", "values": [2.0]}, {"op": "pack", "size": 2}], "source": "config"}


def of(folder: Path, column: SyntheticColumn, bucket: Bucket = SQUARE) -> Store:
    store = Store.create(folder / "store")
    add_generation(store, [(bucket, 8, 8)])
    add_column(store, SyntheticColumn(name="cond", channels=3, seed=1, normalizer=None))
    add_column(store, column)
    return store


def batch(store: Store, dtype: str, *, normalize: object = True, **options: object) -> Batch:
    loader = LatentLoader(
        store,
        columns=["latents", "cond"],
        global_batch_size=4,
        normalize=normalize,  # type: ignore[arg-type]  # by column in one test
        options=LoaderOptions(dtype=dtype, **options),  # type: ignore[arg-type]
    )
    return next(iter(loader))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("column", "bucket"),
    [
        pytest.param(SyntheticColumn(), SQUARE, id="small"),
        pytest.param(SyntheticColumn(channels=16), LARGE, id="large"),
        pytest.param(SyntheticColumn(has_logvar=True), SQUARE, id="drawn"),
        pytest.param(SyntheticColumn(normalizer=PACKED), SQUARE, id="packed"),
    ],
)
def test_latents_are_rounded_once_from_float32(
    column: SyntheticColumn, bucket: Bucket, dtype: str, tmp_path: Path
) -> None:
    store = of(tmp_path, column, bucket)
    exact = batch(store, "float32")["latents"]
    found = batch(store, dtype)["latents"]
    assert exact.dtype == torch.float32
    assert found.is_contiguous()
    assert torch.equal(found, exact.to(getattr(torch, dtype)))


def test_further_columns_that_are_normalized_are_rounded_too(tmp_path: Path) -> None:
    store = of(tmp_path, SyntheticColumn())
    modes = {"latents": True, "cond": "measured"}
    exact = batch(store, "float32", normalize=modes)["cond"]
    found = batch(store, "bfloat16", normalize=modes)["cond"]
    assert torch.equal(found, exact.bfloat16())
    assert batch(store, "bfloat16")["cond"].dtype == torch.float16, "given as stored"


def test_what_is_drawn_alone_is_rounded_too(tmp_path: Path) -> None:
    store = of(tmp_path, SyntheticColumn(has_logvar=True))
    exact = batch(store, "float32", normalize=False)["latents"]
    assert exact.dtype == torch.float32
    found = batch(store, "bfloat16", normalize=False)["latents"]
    assert torch.equal(found, exact.bfloat16())


def test_a_dtype_for_latents_as_stored_is_refused(tmp_path: Path) -> None:
    store = of(tmp_path, SyntheticColumn(dtype="float16"))
    with pytest.raises(ConfigError, match=r"latents is given as stored, in float16, got 'bfloat"):
        batch(store, "bfloat16", normalize=False)
    assert batch(store, "float16", normalize=False)["latents"].dtype == torch.float16


def test_a_dtype_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="dtype must be float32, bfloat16 or float16, got 'bf16'"):
        LoaderOptions(dtype="bf16")
