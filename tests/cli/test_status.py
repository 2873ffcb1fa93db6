import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from latentcache.cli.look.progress_lines import mixed_pixels
from latentcache.cli.look.watching import watch
from latentcache.decode.pixel_options import TRANSFORM_VERSION
from latentcache.store import EncodingProgress, Store
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
    assert set(column) == {
        "encoding", "encoded", "quarantined", "missing", "bytes", "damaged", "pixels",
    }  # fmt: skip
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
    shown = cli("status", drawn_store.folder.url, "--urls", "--json").json
    assert (shown["tars"], shown["member"]) == (lines, "latents.safetensors")
    assert all(Path(url).is_file() for url in shown["plan"])


def test_the_urls_are_of_one_column_and_what_to_join_is_shown(cli: Cli, own_store: Store) -> None:
    other = pin_encoding(own_store, "dct:block=4", column="small")
    for unit in own_store.units(other):
        encode_unit(own_store, other, unit)
    publish(own_store, other)
    done = cli("status", own_store.folder.url, "--urls")
    assert done.out
    assert all("/encodings/latents/" in line for line in done.out.splitlines())
    assert "column latents of snapshot 2" in done.err
    assert "also served: small" in done.err
    small = cli("status", own_store.folder.url, "--urls", "--column", "small", "--json").json
    assert (small["member"], small["other_columns"]) == ("small.safetensors", ["latents"])
    assert all("/encodings/small/" in url for url in small["tars"])


def test_the_quickstart_s_reader_finds_every_sample_with_its_caption(
    cli: Cli, own_store: Store, tmp_path: Path
) -> None:
    page = Path(__file__).parents[2] / "docs" / "quickstart.md"
    block = next(
        text
        for text in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        if "webdataset" in text
    )
    (generation,) = own_store.generations()
    rows = pa.concat_tables(
        own_store.read_rows(unit, ["key", "shard", "row", "path"])
        for unit in generation.units(rows_per_unit=4)
    )
    captions = pa.table({"shard": rows["shard"], "row": rows["row"], "value": rows["path"]})
    own_store.write_annotations(generation, "caption", [captions])
    record = own_store.snapshot().column("latents").record
    publish(own_store, record)
    urls = cli("status", own_store.folder.url, "--urls", "--json").out
    (tmp_path / "urls.json").write_text(urls)
    ran = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    keys = set(rows["key"].to_pylist())
    names = dict(zip(rows["key"].to_pylist(), rows["path"].to_pylist(), strict=True))
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert len(lines) == NUM_GOOD
    assert {key for key, *_ in lines} < keys
    assert all(line[1] == names[line[0]] for line in lines)


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


def test_a_try_that_was_given_up_says_how_to_free_it(cli: Cli, own_store: Store) -> None:
    tried = pin_encoding(own_store, "dct:block=4")
    told = cli("status", own_store.folder.url).out
    assert "run the same build" not in told
    assert f"gc --free latents/{tried.fingerprint[:12]} --delete" in told
    assert (
        cli("gc", own_store.folder.url, "--free", "dct:block=4", "--grace", "0", "--delete").code
        == 0
    )
    assert tried.fingerprint[:12] not in cli("status", own_store.folder.url).out


def test_a_tar_that_is_gone_or_cut_short_is_told_without_reading(
    cli: Cli, own_store: Store
) -> None:
    assert "verify reads every byte" in cli("status", own_store.folder.url).out
    short, gone = sorted(Path(own_store.folder.url).rglob("*.tar"))[:2]
    short.chmod(0o644)
    short.write_bytes(short.read_bytes()[:-512])
    gone.unlink()
    done = cli("status", own_store.folder.url)
    assert done.code == 3
    assert "2 objects; run latentcache verify --repair" in done.out
    assert f"{gone.name} is missing" in done.out
    assert (
        len(cli("status", own_store.folder.url, "--json").json["columns"]["latents"]["damaged"])
        == 2
    )


def test_a_run_is_not_shown_as_going_on_when_its_next_commit_is_overdue() -> None:
    each = EncodingProgress(column="latents", encoder="dct", fingerprint="ab", is_served=False,
                    planned=9, encoded=4, quarantined=0, num_bytes=1, num_units_missing=5,
                    recent=[(1000.0, 2), (1002.0, 2)])  # fmt: skip
    assert each.rate(1004.0) == 1.0
    assert each.rate(1030.0) is None
    assert each.last_commit_s == 1002.0


def test_watching_ends_when_nothing_is_missing() -> None:
    def progress(missing: int) -> EncodingProgress:
        return EncodingProgress(column="latents", encoder="dct", fingerprint="ab", is_served=True,
                        planned=4, encoded=4 - missing, quarantined=0, num_bytes=1,
                        num_units_missing=missing)  # fmt: skip

    left, pauses = [2, 1, 0], []
    watch(lambda: [progress(left.pop(0))], pause=pauses.append)
    assert (left, len(pauses)) == ([], 2)


def test_a_watcher_outlives_a_look_that_storage_fails_but_not_a_store_that_is_gone_for_good(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = EncodingProgress(column="latents", encoder="dct", fingerprint="ab", is_served=True,
                    planned=4, encoded=4, quarantined=0, num_bytes=1,
                    num_units_missing=0)  # fmt: skip
    looks: list[object] = [[], OSError("no network"), OSError("no network"), [done]]

    def say() -> list[EncodingProgress]:
        found = looks.pop(0)
        if isinstance(found, OSError):
            raise found
        return found  # type: ignore[return-value]  # what is left are lists

    pauses: list[float] = []
    assert watch(say, pause=pauses.append) == [done]
    assert capsys.readouterr().err.count("trying again: no network") == 2
    looks[:] = [OSError("never there")]
    with pytest.raises(OSError, match="never there"):
        watch(say, pause=pauses.append)
    looks[:] = [[], *[OSError("gone")] * 100]
    with pytest.raises(OSError, match="gone"):
        watch(say, pause=pauses.append)


def test_a_long_look_is_not_begun_anew_at_once() -> None:
    now, pauses, left = [0.0], [], [None, None]

    def say() -> list[EncodingProgress]:
        now[0] += 30.0
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return []

    with pytest.raises(KeyboardInterrupt):
        watch(say, pause=pauses.append, clock=lambda: now[0])
    assert pauses == [pytest.approx(120.0)] * 2


def test_a_watcher_reads_each_commit_once_and_prints_one_line_of_json_a_look(
    cli: Cli, drawn_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _planned_only(drawn_store, tmp_path)
    record, read = pin_encoding(store), []
    left = list(store.units(record))
    encode_unit(store, record, left.pop())

    def pause(_seconds: float) -> None:  # another machine goes on meanwhile
        encode_unit(store, record, left.pop())

    real = Store.read_commit
    monkeypatch.setattr(Store, "read_commit", lambda *a: read.append(a[1].name) or real(*a))
    monkeypatch.setitem(watch.__kwdefaults__, "pause", pause)
    done = cli("status", store.folder.url, "--watch", "--json")
    assert done.code == 0, done.err
    encoded = [json.loads(line)["columns"]["latents"]["missing"] for line in done.out.splitlines()]
    assert encoded == sorted(encoded, reverse=True)
    assert len(encoded) > 1
    assert encoded[-1] == 0
    assert len(read) == len(set(read)) == len(store.units(record))


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
    def progress(
        column: str, is_served: bool = True, asked: str = "pixels", **pixels: str
    ) -> EncodingProgress:
        return EncodingProgress(column=column, encoder="dct", fingerprint="ab", is_served=is_served,
                        planned=1, encoded=1, quarantined=0, num_bytes=1, num_units_missing=0,
                        transform={"version": pixels.pop("version"), "input": asked,
                                   "libraries": pixels})  # fmt: skip

    old, new = progress("latents", version="1"), progress("dino", version="2", resize="aa")
    assert "latents and dino were made of pixels by different rules (version 1 and 2)" in (
        mixed_pixels([old, new])
    )
    assert mixed_pixels([new, progress("latents", is_served=False, version="1")]) == ""
    assert mixed_pixels([new, progress("clip", version="2", resize="aa")]) == ""
    assert mixed_pixels([new, progress("text", version="1", asked="text:caption")]) == ""


def test_an_empty_store_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    Store.create(tmp_path / "store")
    done = cli("status", tmp_path / "store")
    assert done.code == 0
    assert "nothing is planned yet" in done.out
    assert cli("status", tmp_path / "store", "--json").json["columns"] == {}


@pytest.mark.parametrize("command", ["status", "stats", "verify", "gc"])
def test_what_is_no_store_is_one_sentence(cli: Cli, tmp_path: Path, command: str) -> None:
    done = cli(command, tmp_path)
    assert done.code == 2
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
