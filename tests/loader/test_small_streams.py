"""What is said where a batch shows samples more than once: of what, how often, and what helps."""

import itertools
import json
import logging
import re
from pathlib import Path

import pytest

from latentcache.core.media import Bucket
from latentcache.exchange import copy_subset
from latentcache.loader import LatentLoader
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation

WIDE = Bucket(1, 64, 96)


@pytest.fixture
def grown(tmp_path: Path) -> Store:
    """A store of 20 pictures to which an update added 2."""
    store = Store.create(tmp_path / "store")
    for num_rows in (20, 2):
        add_generation(store, [(WIDE, num_rows, 32)])
    add_column(store, SyntheticColumn())
    return store


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one for one in caplog.messages if "fewer samples" in one]


def test_a_small_generation_is_told_from_a_small_bucket(
    grown: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        next(iter(LatentLoader(grown, global_batch_size=4)))
        next(iter(LatentLoader(grown, global_batch_size=32)))
    of_generation, of_bucket = said(caplog)
    assert "generation 1 has 2 of the 22 of 96x64 for batches of 4" in of_generation
    assert "--min-bucket" not in of_generation
    assert "96x64 has 22 for batches of 32" in of_bucket
    assert of_bucket.startswith("1 bucket has")


@pytest.mark.parametrize("remedy", ["smaller batch", "copy"])
def test_what_is_said_to_help_against_a_small_generation_does(
    remedy: str, grown: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        next(iter(LatentLoader(grown, global_batch_size=4)))
        (told,) = said(caplog)
        caplog.clear()
        if remedy == "copy":
            found = re.search(r"copy \S+ NEW --filter '([^']+)'", told)
            assert found is not None
            copy_subset(
                grown.snapshot(),
                tmp_path / "copy",
                filter_text=found[1],
                on_progress=lambda *_: None,
            )
            loader = LatentLoader(tmp_path / "copy", global_batch_size=4)
        else:
            found = re.search(r"global_batch_size (\{[^}]+\})", told)
            assert found is not None
            loader = LatentLoader(grown, global_batch_size=json.loads(found[1]))
        for batch in itertools.islice(loader, 12):
            assert len(set(batch["key"])) == len(batch["key"])
    assert said(caplog) == []


def test_warnings_are_said_once_a_run_and_by_the_first_rank_alone(
    grown: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for rank in range(2):
            loader = LatentLoader(grown, global_batch_size=4, rank=rank, world_size=2)
            next(iter(loader))
            loader.load_state_dict(loader.state)
            next(iter(loader))
    assert len(said(caplog)) == 1


def test_of_a_run_that_goes_on_only_its_own_snapshot_is_spoken_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(WIDE, 20, 32)])
    add_column(store, SyntheticColumn())
    state = LatentLoader(store, global_batch_size=4).state
    add_generation(store, [(WIDE, 2, 32)])
    add_column(store, SyntheticColumn())
    with caplog.at_level(logging.WARNING):
        loader = LatentLoader(store, global_batch_size=4)
        loader.load_state_dict(state)
        next(iter(loader))
    assert said(caplog) == []
