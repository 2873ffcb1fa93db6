import os
import time
from pathlib import Path

import pytest

from latentcache.store import Store
from tests.cli.conftest import Cli
from tests.evaluate.drawn_store import encode_unit, pin_encoding, publish


@pytest.fixture
def swapped_store(own_store: Store) -> Store:
    """A store whose column was swapped, all of it two days old."""
    other = pin_encoding(own_store, "dct:block=4")
    for unit in own_store.units(other):
        encode_unit(own_store, other, unit)
    publish(own_store, other)
    then_s = time.time() - 2 * 86400
    for path in Path(own_store.folder.url).rglob("*"):
        os.utime(path, (then_s, then_s))
    return own_store


def names(store: Store) -> set[str]:
    root = Path(store.folder.url)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_nothing_is_touched_unless_told(cli: Cli, swapped_store: Store) -> None:
    before = names(swapped_store)
    done = cli("gc", swapped_store.folder.url, "--retire", 1)
    assert done.code == 0
    assert "would delete" in done.out
    assert names(swapped_store) == before


def test_a_retired_snapshot_goes_and_the_newest_stays(cli: Cli, swapped_store: Store) -> None:
    shown = cli("gc", swapped_store.folder.url, "--retire", 1, "--delete", "--json").json
    assert shown["dry_run"] is False
    assert shown["retired"] == [1]
    assert swapped_store.snapshots() == [2]
    assert cli("verify", swapped_store.folder.url).code == 0


def test_a_served_encoding_loses_nothing_when_it_is_dropped(cli: Cli, swapped_store: Store) -> None:
    served = swapped_store.snapshot().column("latents").record.fingerprint
    assert cli("gc", swapped_store.folder.url, "--drop", served[:10], "--delete").code == 0
    assert cli("verify", swapped_store.folder.url).code == 0


def test_the_newest_snapshot_is_not_retired(cli: Cli, swapped_store: Store) -> None:
    done = cli("gc", swapped_store.folder.url, "--retire", 2, "--delete")
    assert done.code == 1
    assert "must not be the newest" in done.err


def test_a_fingerprint_must_name_one_encoding(cli: Cli, swapped_store: Store) -> None:
    done = cli("gc", swapped_store.folder.url, "--drop", "xyz")
    assert done.code == 2
    assert "names 0" in done.err
    assert "names 2" in cli("gc", swapped_store.folder.url, "--drop", "").err
