"""Captions and labels are revised by a table, and nothing that it does not speak of changes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentcache.cli.entry import run
from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader
from latentcache.plan import PlanOptions, Revision, annotate
from latentcache.store import Store
from latentcache.testing.drawn import write_drawn_corpus
from tests.cli.conftest import Cli, cli

__all__ = ["cli"]

NUM_SAMPLES = 12


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store of drawn pictures with captions and labels, made by this machine alone."""
    folder = tmp_path_factory.mktemp("annotate")
    (folder / "corpus").mkdir()
    write_drawn_corpus(folder / "corpus", NUM_SAMPLES, seed=1, size_px=32)
    names = sorted(path.name for path in (folder / "corpus").glob("*.*") if path.suffix != ".txt")
    rows = [
        {"file_name": name, "label": ("cat", "dog")[index % 2], "score": index, "weight": 0.5}
        for index, name in enumerate(names)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "corpus" / "metadata.jsonl").write_text(lines)
    command = ["build", str(folder / "corpus"), str(folder / "store"), "--resolution", "32"]
    assert run([*command, "--actors", "1"]) == 0
    return folder / "store"


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Store:
    shutil.copytree(built, tmp_path / "store")
    return Store.open(tmp_path / "store")


Table = Callable[[str, str], str]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def values(store: Store, name: str) -> dict[str, object]:
    """Return an annotation by path, as the newest snapshot serves it."""
    snapshot = store.snapshot()
    annotation = snapshot.annotation(name)
    assert annotation is not None
    found: dict[str, object] = {}
    for unit in snapshot.columns["latents"].units():
        rows = store.read_rows(unit.unit, ["path", "shard", "row"]).to_pylist()
        found |= {row["path"]: annotation.value(row["shard"], row["row"]) for row in rows}
    return found


def keys(store: Store) -> dict[str, str]:
    """Return the key of every path."""
    units = store.snapshot().columns["latents"].units()
    tables = [store.read_rows(unit.unit, ["path", "key"]).to_pylist() for unit in units]
    return {row["path"]: row["key"] for rows in tables for row in rows}


def revise(store: Store, url: str, **options: str) -> Revision:
    return annotate(store, url, PlanOptions(**options))  # type: ignore[arg-type]  # texts alone


def test_what_the_table_names_changes_and_nothing_else(store: Store, table: Table) -> None:
    before = values(store, "caption")
    first, second, *_ = sorted(before)
    found = revise(store, table("new.csv", f"file_name,caption\n{first},a boat\n{second},two\n"))
    assert (found.num_rows, found.num_samples, found.revised) == (2, 2, {"caption": 2})
    assert found.snapshot == 2
    assert values(store, "caption") == {**before, first: "a boat", second: "two"}
    again = revise(store, table("again.jsonl", json.dumps({"path": first, "text": "a ship"})))
    assert again.snapshot == 3
    assert values(store, "caption") == {**before, first: "a ship", second: "two"}


@pytest.mark.parametrize("form", ["parquet", "tsv", "jsonl"])
def test_by_key_in_any_form(store: Store, tmp_path: Path, form: str) -> None:
    path, key = sorted(keys(store).items())[3]
    url = tmp_path / f"new.{form}"
    if form == "parquet":
        pq.write_table(pa.table({"key": [key], "caption": ["by key"], "score": [99]}), url)
    elif form == "tsv":
        url.write_text(f"key\tcaption\tscore\n{key}\tby key\t99\n")
    else:
        url.write_text(json.dumps({"key": key, "caption": "by key", "score": 99}))
    found = revise(store, str(url))
    assert found.revised == {"caption": 1, "score": 1}
    assert (values(store, "caption")[path], values(store, "score")[path]) == ("by key", 99)


def test_a_loader_sees_the_revision_and_a_run_under_way_does_not(
    store: Store, table: Table
) -> None:
    def loader() -> LatentLoader:
        columns = ("latents", "caption")
        return LatentLoader(store.folder.url, columns=columns, global_batch_size=NUM_SAMPLES)

    under_way = loader()
    lines = "".join(f"{path},new text\n" for path in keys(store))
    revise(store, table("new.csv", "path,caption\n" + lines))
    assert set(next(iter(loader()))["caption"]) == {"new text"}
    assert "new text" not in next(iter(under_way))["caption"]


def test_a_new_annotation_is_empty_where_nothing_is_said(store: Store, table: Table) -> None:
    path = min(keys(store))
    revise(store, table("new.csv", f"path,photographer\n{path},Ada\n"))
    found = values(store, "photographer")
    assert found.pop(path) == "Ada"
    assert set(found.values()) == {None}


def test_empty_values_keep_what_was_there_and_are_counted(store: Store, table: Table) -> None:
    before = values(store, "caption")
    path = min(before)
    found = revise(store, table("new.csv", f"path,caption,score\n{path},,7\n"))
    assert found.num_empty == 1
    assert values(store, "caption") == before
    assert values(store, "score")[path] == 7


def test_labels_that_are_names_get_their_numbers(store: Store, table: Table) -> None:
    label, name = values(store, "label"), values(store, "label_name")
    path = next(path for path in sorted(name) if name[path] == "cat")
    revise(store, table("new.csv", f"path,label\n{path},dog\n"))
    assert values(store, "label_name") == {**name, path: "dog"}
    dog = next(label[other] for other in name if name[other] == "dog")
    assert values(store, "label") == {**label, path: dog}
    with pytest.raises(ConfigError, match=r"classes of the store, got 1 that are not.*'fish'"):
        revise(store, table("fish.csv", f"path,label\n{path},fish\n"))


def test_whole_numbers_fit_where_numbers_are(store: Store, table: Table) -> None:
    path = min(keys(store))
    revise(store, table("new.csv", f"path,weight\n{path},2\n"))
    assert values(store, "weight")[path] == 2.0


def test_rows_that_find_nothing_are_counted_with_an_example(store: Store, table: Table) -> None:
    path = min(keys(store))
    url = table("new.csv", f"path,caption\n{path},yes\nnowhere.jpg,no\n")
    found = revise(store, url)
    assert (found.num_samples, found.num_unmatched, found.unmatched) == (1, 1, ["nowhere.jpg"])
    with pytest.raises(ConfigError, match=r"got 1 of which none does .*elsewhere\.png"):
        revise(store, table("none.csv", "path,caption\nelsewhere.png,no\n"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"path": "A", "score": 1}\n{"path": "B", "score": "high"}', "of one kind, got whole"),
        ('{"path": "A", "score": "high"}', "must be int64 as those in the store, got string"),
        ('{"path": "A", "caption": 1}\n{"path": "A", "caption": "x"}', "name each sample once"),
        ('{"path": "A", "score": 1}\n{"path": "./A", "score": 2}', "which is the same"),
        ('{"name": "A", "caption": "x"}', "must have a column key or file_name"),
        ('{"path": null, "caption": "x"}', "row 1 with path None"),
        ('{"path": "A", "caption": "x"}\n{"path": "B"', "row 2 that is not"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(
    store: Store, table: Table, text: str, sentence: str
) -> None:
    first, second, *_ = sorted(keys(store))
    before = sorted(Path(store.folder.url).rglob("*"))
    with pytest.raises(ConfigError, match=sentence):
        revise(store, table("new.jsonl", text.replace("A", first).replace("B", second)))
    assert sorted(Path(store.folder.url).rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "sentence"), [("no.csv", "no such file"), ("captions.txt", "must be .csv")]
)
def test_a_table_that_is_none(store: Store, tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        revise(store, str(tmp_path / name))


def test_the_command_says_what_was_revised(cli: Cli, store: Store, table: Table) -> None:
    path = min(keys(store))
    url = table("new.csv", f"path,caption\n{path},yes\nnowhere.jpg,no\n")
    told = cli("annotate", store.folder.url, url)
    assert told.code == 3
    assert "2 rows, 1 sample found; revised: caption 1" in told.out
    assert "snapshot 2 serves it" in told.out
    assert "got 1 of 2 that do not (e.g. nowhere.jpg)" in told.err
    assert cli("annotate", store.folder.url, url, "--json").json["num_unmatched"] == 1
