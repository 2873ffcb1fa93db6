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


def test_a_served_encoding_named_by_drop_is_refused_with_a_word(
    cli: Cli, swapped_store: Store
) -> None:
    served = swapped_store.snapshot().column("latents").record.fingerprint
    for flag in ("--drop", "--free"):
        done = cli("gc", swapped_store.folder.url, flag, served[:10], "--delete")
        assert done.code == 1
        assert "must not be served" in done.err
    assert cli("verify", swapped_store.folder.url).code == 0


def test_an_old_encoding_is_freed_by_the_name_of_its_encoder(
    cli: Cli, swapped_store: Store
) -> None:
    url = swapped_store.folder.url
    told = cli("gc", url, "--free", "dct").out
    assert "would retire snapshot 1" in told
    assert "nothing was touched" in told
    shown = cli("gc", url, "--free", "dct", "--delete", "--json").json
    assert (shown["retired"], shown["waiting"]) == ([1], 0)
    assert [r.spec["source"] for r in swapped_store.encodings("latents")] == ["dct:block=4"]
    assert cli("verify", url).code == 0
    assert "names 0" in cli("gc", url, "--free", "dct").err
    assert cli("gc", url, "--free", "dct", "--retire", 1).code == 2


def test_what_the_grace_spares_is_said_with_a_time(cli: Cli, swapped_store: Store) -> None:
    url = swapped_store.folder.url
    loose = Path(url) / ".tmp.0123456789abcdef.0.tar"
    loose.write_bytes(b"unfinished")
    told = cli("gc", url)
    until = time.strftime("%Y-%m-%d", time.gmtime(loose.stat().st_mtime + 86400))
    assert (
        "spared 1 object, 10 B: named by nothing, and younger than the grace of 24.0 h" in told.out
    )
    assert f"until {until}" in told.out
    shown = cli("gc", url, "--json").json
    assert (shown["waiting"], shown["waiting_bytes"]) == (1, 10)
    assert shown["waiting_until"].startswith(until)


def test_the_newest_snapshot_is_not_retired(cli: Cli, swapped_store: Store) -> None:
    done = cli("gc", swapped_store.folder.url, "--retire", 2, "--delete")
    assert done.code == 1
    assert "must not be the newest" in done.err


def test_a_fingerprint_must_name_one_encoding(cli: Cli, swapped_store: Store) -> None:
    done = cli("gc", swapped_store.folder.url, "--drop", "xyz")
    assert done.code == 2
    assert "names 0" in done.err
    assert "names 2" in cli("gc", swapped_store.folder.url, "--drop", "").err


def test_a_takedown_with_a_name_that_no_sample_has_does_not_read_as_done(
    cli: Cli, own_store: Store
) -> None:
    url = own_store.folder.url
    key = next(key for key, *_ in own_store.snapshot().column("latents").iter_samples())
    first = cli("retire", url, key, "nothere.jpg")
    assert (first.code, "retired 1 sample" in first.out) == (3, True)
    assert "unknown: 1 name (e.g. nothere.jpg)" in first.err
    assert cli("retire", url, key, "nothere.jpg", "--json").code == 3
    alone = cli("retire", url, "nothere.jpg")
    assert (alone.code, "got 1 name that no live sample has" in alone.err) == (2, True)
    assert cli("retire", url, key).code == 0


def test_compact_says_what_is_left_and_until_nothing_is(cli: Cli, own_store: Store) -> None:
    url = own_store.folder.url
    key = next(key for key, *_ in own_store.snapshot().column("latents").iter_samples())
    assert cli("retire", url, key).code == 0
    said = cli("gc", url, "--compact")
    assert "would copy 1 unit" in said.out
    assert "nothing was touched" in said.out
    said = cli("gc", url, "--compact", "--delete")
    assert "copied 1 unit" in said.out
    assert "still hold some of it" in said.out
    assert cli("verify", url).code == 0
    said = cli("gc", url, "--compact", "--delete", "--grace", "0")
    assert "still hold" not in said.out
    assert "no object holds what was retired" in cli("gc", url, "--compact").out
    assert cli("gc", url, "--free", "x", "--compact").code == 2
