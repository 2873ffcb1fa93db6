"""Samples that are drawn or found to be looked at."""

import shutil
from pathlib import Path

import pytest

from latentcache.core.errors import StoreError
from latentcache.evaluate import choose_samples, find_sample
from latentcache.runner import retire_samples
from latentcache.store import Store


@pytest.fixture
def thinned(drawn_store: Store, tmp_path: Path) -> tuple[Store, set[str], set[str]]:
    """A copy in which every third sample was retired; keys that live, and those that do not."""
    shutil.copytree(Path(drawn_store.folder.url.removeprefix("file://")), tmp_path / "store")
    store = Store.open(tmp_path / "store")
    (name,) = store.snapshot().columns
    keys = [each.key for each in choose_samples(store.snapshot().column(name), 100)]
    retired = set(keys[::3])
    retire_samples(store, retired)
    return store, set(keys) - retired, retired


def test_only_live_samples_are_drawn(thinned: tuple[Store, set[str], set[str]]) -> None:
    store, live, _ = thinned
    (name,) = store.snapshot().columns
    column = store.snapshot().column(name)
    for wanted in (1, 3, len(live), 100):
        drawn = [each.key for each in choose_samples(column, wanted, seed=wanted)]
        assert len(drawn) == len(set(drawn)) == min(wanted, len(live))
        assert set(drawn) <= live


def test_a_retired_sample_is_called_so_and_an_older_snapshot_has_it(
    thinned: tuple[Store, set[str], set[str]],
) -> None:
    store, live, retired = thinned
    (name,) = store.snapshot().columns
    key = min(retired)
    with pytest.raises(StoreError, match="which was retired"):
        find_sample(store.snapshot().column(name), key)
    assert find_sample(store.snapshot(1).column(name), key).key == key
    assert find_sample(store.snapshot().column(name), min(live)).key == min(live)
