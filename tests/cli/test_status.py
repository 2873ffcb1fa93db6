import shutil
from collections import Counter
from pathlib import Path

import pytest

from latentcache.cli.standing import Standing, mixed_pixels
from latentcache.decode.options import TRANSFORM_VERSION
from latentcache.store import Store
from tests.cli.conftest import Cli
from tests.evaluate.drawn_store import (
    NUM_BROKEN,
    NUM_GOOD,
    encode_unit,
    pin_encoding,
    publish,
)

PLANNED = NUM_GOOD + NUM_BROKEN


def test_the_sum_adds_up(cli: Cli, drawn_store: Store) -> None:
    shown = cli("status", drawn_store.folder.url, "--json").json
    column = shown["columns"]["latents"]
    assert (shown["planned"], shown["snapshot"], list(shown["columns"])) == (
        PLANNED,
        1,
        ["latents"],
    )
    assert set(column) == {"encoding", "encoded", "quarantined", "missing", "bytes", "pixels"}
    assert column["pixels"]["version"] == str(TRANSFORM_VERSION)
    assert (column["encoded"], column["quarantined"], column["missing"]) == (NUM_GOOD, 3, 0)
    tars = Path(drawn_store.folder.url).rglob("*.tar")
    assert column["bytes"] == sum(path.stat().st_size for path in tars)


def test_the_table_says_the_same(cli: Cli, drawn_store: Store) -> None:
    done = cli("status", drawn_store.folder.url)
    assert done.code == 0
    assert f"planned: {PLANNED} samples" in done.out
    row = next(line.split() for line in done.out.splitlines() if line.startswith("latents"))
    assert row[1] == "dct"
    assert row[3:6] == [str(NUM_GOOD), str(NUM_BROKEN), "0"]
    assert row[-1] == "yes"


def test_the_quarantine_names_source_stage_and_reason(cli: Cli, drawn_store: Store) -> None:
    rows = cli("status", drawn_store.folder.url, "--quarantined", "--json").json
    assert all(set(row) == {"key", "source", "stage", "reason", "transient"} for row in rows)
    assert {row["source"]: row["stage"] for row in rows} == {
        "broken_000_cut_short.jpg": "decode",
        "broken_001_web_page.png": "scan",
        "broken_002_empty.jpg": "scan",
    }
    assert all(len(row["key"]) == 20 and row["reason"] for row in rows)
    table = cli("status", drawn_store.folder.url, "--quarantined").out
    assert all(row["reason"] in table for row in rows)


def test_the_urls_are_the_tars(cli: Cli, drawn_store: Store) -> None:
    lines = cli("status", drawn_store.folder.url, "--urls").out.splitlines()
    assert sorted(lines) == sorted(str(p) for p in Path(drawn_store.folder.url).rglob("*.tar"))
    assert cli("status", drawn_store.folder.url, "--urls", "--json").json == lines


def test_a_run_under_way_is_counted_from_its_commits(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    store = _planned_only(drawn_store, tmp_path)
    record = pin_encoding(store)
    units = store.units(record)
    seen = []
    for done in range(len(units) + 1):
        shown = cli("status", store.folder.url, "--json").json
        column = shown["columns"]["latents"]
        total = column["encoded"] + column["quarantined"] + column["missing"]
        assert (shown["snapshot"], total) == (None, PLANNED)
        seen.append(column["missing"])
        if done < len(units):
            encode_unit(store, record, units[done])
    assert seen[0] == NUM_GOOD + 1
    assert seen[-1] == 0
    assert seen == sorted(seen, reverse=True)
    text = cli("status", store.folder.url).out
    assert "snapshot: none yet" in text


def test_a_half_done_run_says_what_is_missing(cli: Cli, drawn_store: Store, tmp_path: Path) -> None:
    store = _planned_only(drawn_store, tmp_path)
    record = pin_encoding(store)
    encode_unit(store, record, store.units(record)[0])
    assert "missing" in cli("status", store.folder.url).out.splitlines()[-1]


def test_the_quarantine_is_known_before_the_first_snapshot(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    store = _planned_only(drawn_store, tmp_path)
    record = pin_encoding(store)
    for unit in store.units(record):
        encode_unit(store, record, unit)
    rows = cli("status", store.folder.url, "--quarantined", "--json").json
    published = cli("status", drawn_store.folder.url, "--quarantined", "--json").json
    assert sorted(rows, key=lambda row: row["key"]) == sorted(published, key=lambda r: r["key"])


def test_after_a_swap_both_encodings_are_shown(cli: Cli, own_store: Store) -> None:
    other = pin_encoding(own_store, "dct:block=4")
    for unit in own_store.units(other):
        encode_unit(own_store, other, unit)
    publish(own_store, other)
    shown = cli("status", own_store.folder.url, "--json").json
    assert shown["snapshots"] == [1, 2]
    assert shown["columns"]["latents"]["encoding"] == other.fingerprint
    served = {each["encoder"]: each["served"] for each in shown["encodings"]}
    assert served == {"dct": False, "dct:block=4": True}
    assert Counter(each["encoded"] for each in shown["encodings"]) == {NUM_GOOD: 2}
    before = cli("status", own_store.folder.url, "--snapshot", "1", "--json").json
    assert before["columns"]["latents"]["encoding"] != other.fingerprint
    assert "dct:block=4" in cli("status", own_store.folder.url).out


def test_columns_of_different_pixels_are_said() -> None:
    def standing(column: str, is_served: bool = True, **pixels: str) -> Standing:
        return Standing(column=column, encoder="dct", fingerprint="ab", is_served=is_served,
                        planned=1, encoded=1, quarantined=0, num_bytes=1, num_units_missing=0,
                        pixels=pixels)  # fmt: skip

    old, new = standing("latents", version="1"), standing("dino", version="2", resize="aa")
    assert "latents and dino were made of pixels by different rules (version 1 and 2)" in (
        mixed_pixels([old, new])
    )
    assert mixed_pixels([new, standing("latents", is_served=False, version="1")]) == ""
    assert mixed_pixels([new, standing("clip", version="2", resize="aa")]) == ""


def test_an_empty_store_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    Store.create(tmp_path / "store")
    done = cli("status", tmp_path / "store")
    assert done.code == 0
    assert "nothing is planned yet" in done.out
    assert cli("status", tmp_path / "store", "--json").json["columns"] == {}


@pytest.mark.parametrize("command", ["status", "stats", "verify", "gc"])
def test_what_is_no_store_is_one_sentence(cli: Cli, tmp_path: Path, command: str) -> None:
    done = cli(command, tmp_path)
    assert done.code == 1
    assert done.err.startswith("error: store must be a folder with a latentcache.json")
    assert len(done.err.splitlines()) == 1


def test_a_store_of_another_format_shows_both_versions(cli: Cli, own_store: Store) -> None:
    path = Path(own_store.folder.url) / "latentcache.json"
    path.write_text(path.read_text().replace('"format":1', '"format":2'))
    done = cli("status", own_store.folder.url)
    assert done.code == 1
    assert "store format must be 1, got 2" in done.err


def test_an_unknown_column_or_snapshot_shows_the_known_ones(cli: Cli, drawn_store: Store) -> None:
    url = drawn_store.folder.url
    for command in ("stats", "status", "verify"):
        done = cli(command, url, "--column", "x")
        assert done.code == 1
        assert "column must be one of latents" in done.err
    assert "snapshot must be one of the store's (1)" in cli("status", url, "--snapshot", "7").err


def _planned_only(drawn_store: Store, tmp_path: Path) -> Store:
    """Return a copy of a store's plan, without encodings and snapshots."""
    shutil.copytree(drawn_store.folder.url, tmp_path / "planned")
    for name in ("encodings", "snapshots"):
        shutil.rmtree(tmp_path / "planned" / name)
    return Store.open(tmp_path / "planned")
