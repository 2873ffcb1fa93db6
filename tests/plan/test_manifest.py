import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentcache.core.errors import ConfigError, MediaError
from latentcache.core.media import SourceRef
from latentcache.plan import peek_source, read_source, read_sources
from latentcache.storage import Folder
from tests.plan.conftest import listed, paths

Tree = Callable[..., Path]

ROWS: list[dict[str, Any]] = [
    {"path": "a.jpg", "text": "ay", "width": 40, "height": 30, "score": 0.5},
    {"path": "./sub//b.png", "text": 'bee, "quoted"\nsecond', "class": "dog"},
]
FILES = {"a.jpg": "1", "sub/b.png": "22"}


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, sorted({name for row in rows for name in row}))
    writer.writeheader()
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    names = sorted({name for row in rows for name in row})
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


WRITERS = [
    pytest.param("m.jsonl", as_jsonl, id="jsonl"),
    pytest.param("m.csv", as_csv, id="csv"),
    pytest.param("m.parquet", as_parquet, id="parquet"),
]


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_rows_are_listed_with_their_fields(
    tree: Tree, name: str, write: Callable[[list[dict[str, Any]]], bytes]
) -> None:
    root = tree({**FILES, name: write(ROWS)})
    media, _ = listed(root / name)
    assert [each.source for each in media] == [
        SourceRef(path="a.jpg", size_bytes=1),
        SourceRef(path="sub/b.png", size_bytes=2),
    ]
    assert [(each.width_px, each.height_px) for each in media] == [(40, 30), (None, None)]
    assert [each.annotations for each in media] == [
        {"caption": "ay", "score": 0.5},
        {"caption": 'bee, "quoted"\nsecond', "label": "dog"},
    ]
    assert read_sources(Folder.open(root), [m.source for m in media]) == [b"1", b"22"]


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_manifest_without_a_path_names_its_columns(
    tree: Tree, name: str, write: Callable[[list[dict[str, Any]]], bytes]
) -> None:
    root = tree({name: write([{"text": "x", "where": "a.jpg"}])})
    with pytest.raises(ConfigError, match=r"paths or of bytes, got columns 'text', 'where' \(m\."):
        listed(root / name)
    assert paths(listed(root / name, path_column="where")[0]) == ["a.jpg"]
    with pytest.raises(ConfigError, match="caption_column must be one of text, where, got 'x'"):
        listed(root / name, path_column="where", caption_column="x")


def test_named_columns_become_caption_and_label(tree: Tree) -> None:
    row = {"path": "a.jpg", "text": "no", "alt": "yes", "label": "no", "kind": "k"}
    root = tree({"m.jsonl": as_jsonl([row])})
    media, _ = listed(root / "m.jsonl", caption_column="alt", label_column="kind")
    assert media[0].annotations["caption"] == "yes"
    assert media[0].annotations["label"] == "k"


def test_broken_lines_cost_themselves(tree: Tree) -> None:
    lines = [b'{"path": "a.jpg"}', b"{broken", b"", b"[1]", b'{"text": 1}', b'{"path": "b.jpg"}']
    media, listing = listed(tree({"m.jsonl": b"\n".join(lines)}) / "m.jsonl")
    found = [(each.source.label, each.reject.reason if each.reject else "") for each in media]
    assert found == [
        ("a.jpg", ""),
        ("m.jsonl!2", "the line is not JSON"),
        ("m.jsonl!4", "the line is not a JSON object"),
        ("b.jpg", ""),
    ]
    assert listing.totals.findings.examples == {"row_without_medium": ["m.jsonl, row 5"]}


def test_odd_csv_rows_cost_themselves(tree: Tree) -> None:
    text = "path,text\na.jpg,x\nb.jpg,x,y\n,z\nc.jpg\nhttp://x/y.jpg,w\n"
    media, listing = listed(tree({"m.csv": text}) / "m.csv")
    assert [each.source.label for each in media if each.reject is None] == ["a.jpg", "c.jpg"]
    reasons = [each.reject.reason for each in media if each.reject]
    assert reasons[0] == "the row has 3 cells, the header 2 (line 3)"
    assert reasons[1].startswith("the row holds a web address")
    assert listing.totals.findings.examples == {"row_without_medium": ["m.csv, row 3"]}


def test_csv_numbers_are_numbers_where_they_are_spelled_so(tree: Tree) -> None:
    text = "path\ta\tb\tc\td\nx.jpg\t7\t0.50\t007\t1e5\n"
    media, _ = listed(tree({"m.tsv": text}) / "m.tsv")
    assert media[0].annotations == {"a": 7, "b": 0.5, "c": "007", "d": "1e5"}


@pytest.mark.parametrize("data", [b"", b"PAR1 not really", b"x" * 5000], ids=["empty", "cut", "no"])
def test_parquet_that_is_not_parquet_is_a_lost_container(tree: Tree, data: bytes) -> None:
    media, listing = listed(tree({"m.parquet": data, "n.jsonl": as_jsonl(ROWS)}))
    assert [each.source.label for each in media] == ["a.jpg", "sub/b.png"]
    assert listing.totals.as_dict()["containers"]["lost"] == 1
    assert list(listing.totals.findings.lost) == ["m.parquet"]


def test_damaged_parquet_costs_the_rows_after_the_damage(tree: Tree) -> None:
    rows = [{"path": f"{n}.jpg", "text": f"{n}" * 50} for n in range(4000)]
    data = bytearray(as_parquet(rows, row_group_size=1000, compression="snappy"))
    middle = len(data) // 2
    data[middle : middle + 5000] = b"\xff" * 5000
    media, listing = listed(tree({"m.parquet": bytes(data)}) / "m.parquet")
    assert listing.totals.findings.lost["m.parquet"].startswith("it is damaged at row")
    assert 1 <= len(media) < 4000
    assert not any(each.reject for each in media)


def test_paths_are_relative_to_the_manifest_or_else_to_the_root(tree: Tree) -> None:
    root = tree(
        {
            "one/m.jsonl": as_jsonl([{"path": "a.jpg"}]),
            "one/a.jpg": "1",
            "two/m.jsonl": as_jsonl([{"path": "pics/b.jpg"}, {"path": "/abs/c.jpg"}]),
            "pics/b.jpg": "1",
        }
    )
    media, _ = listed(root, "manifest")
    assert paths(media) == ["one/a.jpg", "pics/b.jpg", "/abs/c.jpg"]


def test_paths_may_leave_the_root_because_the_user_wrote_them(tree: Tree) -> None:
    other = tree({"x.jpg": "far"}, root="other")
    rows = [
        {"path": "../other/x.jpg"},
        {"path": str(other / "x.jpg")},
        {"path": f"file://{other}/x.jpg"},
    ]
    root = tree({"m.jsonl": as_jsonl(rows), "in.jpg": "in"})
    media, _ = listed(root / "m.jsonl")
    folder = Folder.open(root)
    assert read_sources(folder, [m.source for m in media]) == [b"far"] * 3
    own, _ = listed(tree({"n.jsonl": as_jsonl([{"path": str(root / "in.jpg")}])}) / "n.jsonl")
    assert paths(own) == ["in.jpg"]


def test_missing_file_is_found_when_it_is_opened(tree: Tree) -> None:
    root = tree({"m.jsonl": as_jsonl([{"path": "gone.jpg"}, {"path": "sub"}]), "sub/a": "1"})
    media, _ = listed(root / "m.jsonl")
    folder = Folder.open(root)
    outcomes = read_sources(folder, [m.source for m in media])
    assert [str(outcome) for outcome in outcomes] == [
        "the file is missing",
        "there is a folder where the file should be",
    ]
    with pytest.raises(MediaError, match="missing"), peek_source(folder, media[0].source):
        pass


def pictures(count: int) -> list[bytes]:
    return [f"picture {n}".encode() * 20 for n in range(count)]


@pytest.mark.parametrize("is_struct", [False, True], ids=["bytes", "hugging-face"])
def test_bytes_in_parquet_are_read_by_row(tree: Tree, is_struct: bool) -> None:
    images = [{"bytes": p, "path": "x.png"} if is_struct else p for p in pictures(100)]
    rows = [{"image": image, "label": n} for n, image in enumerate(images)]
    root = tree({"d/m.parquet": as_parquet(rows, row_group_size=30)})
    media, _ = listed(root)
    assert [each.source for each in media[:2]] == [
        SourceRef(path="d/m.parquet", member="0"),
        SourceRef(path="d/m.parquet", member="1"),
    ]
    assert media[99].annotations == {"label": 99}
    folder = Folder.open(root)
    order = [50, 3, 99, 3, 0, 29, 30]
    found = read_sources(folder, [media[n].source for n in order])
    assert found == [pictures(100)[n] for n in order]
    assert [read_source(folder, m.source) for m in media] == pictures(100)
    with peek_source(folder, media[7].source) as (file, size_bytes):
        assert (file.read(), size_bytes) == (pictures(8)[7], len(pictures(8)[7]))


def test_second_bytes_column_has_members_of_its_own(tree: Tree) -> None:
    rows = [{"image": b"picture", "mask": b"mask"}]
    root = tree({"m.parquet": as_parquet(rows)})
    media = [listed(root / "m.parquet", path_column=name)[0][0] for name in ("image", "mask")]
    assert [m.source.member for m in media] == ["0", "0@mask"]
    assert read_sources(Folder.open(root), [m.source for m in media]) == [b"picture", b"mask"]


def test_struct_without_bytes_is_a_path(tree: Tree) -> None:
    root = tree({"m.parquet": as_parquet([{"image": {"bytes": None, "path": "a.jpg"}}]), **FILES})
    assert paths(listed(root / "m.parquet")[0]) == ["a.jpg"]


def test_null_cell_and_vanished_row_are_said(tree: Tree) -> None:
    root = tree({"m.parquet": as_parquet([{"image": b"x"}, {"image": None}])})
    folder = Folder.open(root)
    sources = [SourceRef(path="m.parquet", member=name) for name in ("1", "0", "2", "0@no", "x")]
    found = read_sources(folder, sources)
    codes = [each.code if isinstance(each, MediaError) else each for each in found]
    assert codes == ["empty", b"x", "unreadable", "unreadable", "unreadable"]


def test_manifest_beside_pictures_describes_them(tree: Tree) -> None:
    root = tree({**FILES, "extra.csv": as_csv(ROWS)})
    media, listing = listed(root)
    assert paths(media) == ["a.jpg", "sub/b.png"]
    assert listing.totals.ignored == {".csv": 1}
