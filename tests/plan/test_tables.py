"""What tables really hold: open quotes, other separators, two candidate columns, other text."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.plan.tables.csv_records import iter_csv
from latentcache.plan.tables.table_rows import BrokenRecord, Record
from tests.plan.conftest import listed, paths

Tree = Callable[..., Path]

PICTURES = {f"img/{n}.jpg": "1" for n in range(3)}


def rows_of(text: str | bytes) -> list[Record | BrokenRecord]:
    data = text.encode() if isinstance(text, str) else text
    return list(iter_csv(io.BytesIO(data), ".csv", frozenset({"caption"})))


def captions_in(text: str) -> list[object]:
    return [r.fields.get("caption") for r in rows_of(text) if isinstance(r, Record)]


@pytest.mark.parametrize(
    ("text", "captions", "lines"),
    [
        ('0,"open\n1,mid\n2,last\n', ["mid", "last"], [2]),
        ('0,"open\n1,"mid\n2,last\n', ["last"], [2, 3]),
        ('0,"two\nlines"\n1,"open\n2,"quoted, comma"\n', ["two\nlines", "quoted, comma"], [4]),
        ('0,a "word" within\n1,"abc"d\n2,"', ['a "word" within', "abcd"], [4]),
        ('0,"whole"\n1,"a ""quote"""', ["whole", 'a "quote"'], []),
    ],
    ids=["never-closed", "closed-by-the-next", "several-lines", "sloppy", "none"],
)
def test_an_open_quote_costs_its_own_row(text: str, captions: list[str], lines: list[int]) -> None:
    found = rows_of("path,caption\n" + text)
    assert captions_in("path,caption\n" + text) == captions
    broken = [row.reason for row in found if isinstance(row, BrokenRecord)]
    assert [int(why.partition("line ")[2].partition(" ")[0]) for why in broken] == lines
    assert [row.position for row in found] == list(range(1, len(found) + 1))


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=2))
)
def test_whole_csv_is_read_as_python_reads_it(cells: list[list[str]]) -> None:
    cells = [[cell.replace("\0", " ") for cell in row] for row in cells]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["path", "caption"], *cells])
    data = text.getvalue()
    theirs = list(csv.reader(io.StringIO(data, newline="")))[1:]
    assert captions_in(data) == [row[1] for row in theirs]


@pytest.mark.parametrize(
    ("header", "separator"),
    [("image_name| comment", "a bar"), ("path;caption", "a semicolon"), ("path\tcaption", "a tab")],
)
def test_another_separator_is_named(tree: Tree, header: str, separator: str) -> None:
    root = tree({**PICTURES, "m.csv": f"{header}\nimg/0.jpg| 0\n"})
    with pytest.raises(ConfigError, match=f"must be a comma in .csv files, got {separator} in"):
        listed(root / "m.csv")


def test_captions_are_text_whatever_their_characters(tree: Tree) -> None:
    text = "path,caption,model\nimg/0.jpg,1984,1.10\nimg/1.jpg,1.10,1.1\n"
    media, _ = listed(tree({**PICTURES, "m.csv": text}) / "m.csv")
    assert [each.annotations for each in media] == [
        {"caption": "1984", "model": 1.1},
        {"caption": "1.10", "model": 1.1},
    ]
    lines = [{"path": "img/0.jpg", "text": 1984}]
    media, _ = listed(tree({"m.jsonl": "\n".join(map(json.dumps, lines))}) / "m.jsonl")
    assert media[0].annotations == {"caption": "1984"}


def table(root: Path, name: str = "m.parquet", **columns: object) -> Path:
    pq.write_table(pa.table(columns), root / name)
    return root / name


def test_a_path_column_comes_before_bytes_of_another_name(tree: Tree) -> None:
    root = tree(PICTURES)
    masks = pa.array([b"mask"] * 3, pa.binary())
    media, listing = listed(table(root, image_path=list(PICTURES), mask=masks))
    assert paths(media) == list(PICTURES)
    chosen = next(iter(listing.totals.findings.chosen))
    assert chosen.startswith("the pictures are those of column 'image_path' (its paths)")


def test_bytes_of_a_usual_name_come_before_paths_and_addresses(tree: Tree) -> None:
    pictures = pa.array([b"1"] * 3, pa.binary())
    root = tree({})
    root.mkdir()
    media, _ = listed(table(root, url=["http://x/y.jpg"] * 3, path=list(PICTURES), jpg=pictures))
    assert paths(media) == ["m.parquet!0", "m.parquet!1", "m.parquet!2"]


@pytest.mark.parametrize(
    ("names", "both"),
    [(["image", "jpg"], "'image' and 'jpg'"), (["left", "right"], "'left' and 'right'")],
)
def test_two_columns_of_bytes_are_refused_by_name(tree: Tree, names: list[str], both: str) -> None:
    root = tree({"readme.md": ""})
    cells = pa.array([b"1"], pa.binary())
    with pytest.raises(ConfigError, match=rf"must be one column, got {both} \(m.parquet\)"):
        listed(table(root, **dict.fromkeys(names, cells)))
    media, _ = listed(root / "m.parquet", path_column=names[1])
    assert len(media) == 1


def test_of_two_path_columns_the_one_that_names_pictures_is_taken(tree: Tree) -> None:
    text = "filename,filepath\n0.jpg,val2014\n"
    media, _ = listed(tree({"0.jpg": "1", "m.csv": text}) / "m.csv")
    assert paths(media) == ["0.jpg"]
    both = tree({"n.csv": "path,image\na.jpg,b.jpg\n"})
    with pytest.raises(ConfigError, match="got 'path' and 'image'"):
        listed(both / "n.csv")
    same = tree({"o.csv": "path,image\na.jpg,a.jpg\n"})
    assert paths(listed(same / "o.csv")[0]) == ["a.jpg"]


def test_text_that_is_not_utf8_is_null_and_counted(tree: Tree) -> None:
    root = tree(PICTURES)
    offsets = pa.py_buffer(np.array([0, 4, 5, 6], np.int32).tobytes())
    text = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"caf\xe9ab")])
    media, listing = listed(table(root, path=list(PICTURES), caption=text))
    assert [each.annotations.get("caption") for each in media] == [None, "a", "b"]
    assert listing.totals.findings.examples == {"text_not_utf8": ["caption in m.parquet"]}
    (root / "m.csv").write_bytes(b"path,caption\nimg/0.jpg,caf\xe9\nimg/1.jpg,b\n")
    media, listing = listed(root / "m.csv")
    assert [each.annotations.get("caption") for each in media] == [None, "b"]
    assert listing.totals.findings.counts == {"text_not_utf8": 1}


def test_lists_lose_their_nulls_and_other_types_are_counted(tree: Tree) -> None:
    captions = pa.array([["a", None], ["b"], None], pa.list_(pa.string()))
    boxes = pa.array([[1, 2], [3], []], pa.list_(pa.int64()))
    root = tree(PICTURES)
    media, listing = listed(table(root, path=list(PICTURES), caption=captions, box=boxes))
    assert [each.annotations for each in media] == [{"caption": ["a"]}, {"caption": ["b"]}, {}]
    assert listing.totals.findings.counts == {"field_not_kept": 3}


def test_a_table_without_pictures_is_left_out_and_said(tree: Tree) -> None:
    root = tree({"readme.md": ""})
    table(root, "00000.parquet", jpg=pa.array([b"1"], pa.binary()))
    table(root, "stats.parquet", stats=[1])
    media, listing = listed(root)
    assert paths(media) == ["00000.parquet!0"]
    assert listing.totals.findings.examples == {"table_without_medium": ["stats.parquet"]}
    (root / "00000.parquet").unlink()
    with pytest.raises(ConfigError, match="paths or of bytes, got columns 'stats'"):
        listed(root)


def test_backslashes_are_tried_as_slashes(tree: Tree) -> None:
    root = tree({**PICTURES, "a\\b.jpg": "2", "m.csv": "path\nimg\\0.jpg\na\\b.jpg\nno\\c.jpg\n"})
    media, listing = listed(root / "m.csv")
    assert paths(media) == ["img/0.jpg", "a\\b.jpg", "no\\c.jpg"]
    assert listing.totals.findings.examples == {"backslash_path": ["m.csv: img\\0.jpg"]}


def test_a_million_faults_are_one_line_per_kind(tree: Tree) -> None:
    kinds = ["{broken", "[1]", '{"path": null}', '{"path": "x.jpg", "box": [1], "n": 1e999}']
    root = tree({"m.jsonl": "\n".join(kinds[n % 4] for n in range(4000))})
    media, listing = listed(root / "m.jsonl")
    assert sum(each.reject is not None for each in media) == 2000
    found = listing.totals.as_dict()["findings"]
    assert {each["kind"]: (each["count"], len(each["examples"])) for each in found} == {
        "row_without_medium": (1000, 3),
        "field_not_kept": (1000, 1),
    }
