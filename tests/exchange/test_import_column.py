"""A cache of pictures that are planned becomes a column of the plan, row for row."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.exchange import ImportRequest, import_cache
from latentcache.loader import LatentLoader, Source
from latentcache.runner import retire_samples
from latentcache.store import Store, verify_snapshot
from tests.exchange import foreign_caches as foreign
from tests.exchange.foreign_caches import Latents
from tests.runner.test_update import built, picture

NUM = 24
REQUEST = ImportRequest(
    layout="simpletuner", encoder="sdxl", kind="sample", values="scaled", column="theirs"
)


def quiet(done: int, total: int) -> None:
    assert done <= total


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("column")
    for number in range(NUM):
        picture(root / "corpus" / "cats" / f"{number}.png", number)
    built(root / "corpus", root / "store")
    return root


@pytest.fixture
def store(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine / "store", tmp_path / "store")
    return tmp_path / "store"


def latents(store: Path, *, but: int = -1) -> Latents:
    """Return latents of the shapes that the plan gives, by stem."""
    opened = Store.open(store)
    found = {}
    for unit in opened.generations()[0].units(rows_per_unit=64):
        shape = (4, unit.bucket.height_px // 8, unit.bucket.width_px // 8)
        for row in opened.read_rows(unit, ["path"]).to_pylist():
            stem = row["path"].removesuffix(".png")
            number = int(stem.rpartition("/")[2])
            draw = torch.Generator().manual_seed(number)
            if number != but:
                found[stem] = torch.randn(shape, generator=draw).half()
    return found


def stored(store: Path) -> dict[str, bytes]:
    opened = Store.open(store)
    paths = {
        row["key"]: row["path"].removesuffix(".png")
        for unit in opened.generations()[0].units(rows_per_unit=64)
        for row in opened.read_rows(unit, ["key", "path"]).to_pylist()
    }
    samples = opened.snapshot().column("theirs").iter_samples()
    return {
        paths[key]: np.asarray(value).tobytes()
        for key, _, _, fields in samples
        for value in fields.values()
    }


def test_rows_get_the_latents_of_their_own_pictures(store: Path, tmp_path: Path) -> None:
    cache = latents(store)
    foreign.simpletuner(tmp_path / "cache", cache)
    done = import_cache(tmp_path / "cache", store, REQUEST, on_progress=quiet)
    assert done.num_samples == NUM
    assert f"{NUM} of {NUM} live samples have latents" in done.said
    assert stored(store) == {stem: each.numpy().tobytes() for stem, each in cache.items()}
    snapshot = Store.open(store).snapshot()
    assert set(snapshot.columns) == {"latents", "theirs"}
    assert verify_snapshot(snapshot).ok
    loader = LatentLoader(
        Source(store=str(store)), columns=["theirs", "latents"], global_batch_size=1, seed=0,
        one_pass=True,
    )  # fmt: skip
    assert len(list(loader)) == NUM
    again = import_cache(tmp_path / "cache", store, REQUEST, on_progress=quiet)
    assert again.snapshot == done.snapshot


def test_what_is_lacking_or_of_another_size_is_in_quarantine(store: Path, tmp_path: Path) -> None:
    retire_samples(Store.open(store), ["cats/5.png"])
    foreign.simpletuner(tmp_path / "cache", latents(store, but=7))
    done = import_cache(tmp_path / "cache", store, REQUEST, on_progress=quiet)
    entry = Store.open(store).snapshot().column("theirs").entry
    assert (entry.num_planned, entry.num_encoded, entry.num_quarantined) == (23, 22, 1)
    assert "1 are not in the cache" in done.said
    assert "cats/5" not in stored(store)


def test_a_cache_of_other_pictures_or_sizes_is_refused(store: Path, tmp_path: Path) -> None:
    foreign.simpletuner(tmp_path / "other", foreign.drawn())
    sizes = {stem: each[:, :4].contiguous() for stem, each in latents(store).items()}
    foreign.simpletuner(tmp_path / "sizes", sizes)
    before = sorted(store.rglob("*"))
    for name in ("other", "sizes"):
        with pytest.raises(ConfigError, match="must have latents of 95% of the planned samples"):
            import_cache(tmp_path / name, store, REQUEST, on_progress=quiet)
    assert sorted(store.rglob("*")) == before


def test_a_column_that_is_served_is_not_replaced(store: Path, tmp_path: Path) -> None:
    foreign.simpletuner(tmp_path / "cache", latents(store))
    request = ImportRequest(layout="simpletuner", encoder="sdxl", kind="sample", values="scaled")
    with pytest.raises(ConfigError, match="another name with --column"):
        import_cache(tmp_path / "cache", store, request, on_progress=quiet)
