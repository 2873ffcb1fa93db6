import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.media import MediaInfo
from latentcache.plan import ScannedMedia, peek_source, read_captions, read_source
from latentcache.plan.listing import file_name, portable_path
from latentcache.storage import Folder
from tests.plan.conftest import listed, paths

Tree = Callable[..., Path]


def captions(root: Path) -> dict[str, object]:
    media, _ = listed(root)
    info = MediaInfo(width_px=9, height_px=9, format="", mode="")
    scanned = read_captions(Folder.open(root), [ScannedMedia.of(m, info) for m in media])
    listed_media = [each.media.listed for each in scanned]
    return {each.source.path: each.annotations.get("caption") for each in listed_media}


def problems(root: Path) -> dict[str, str]:
    media, _ = listed(root)
    info = MediaInfo(width_px=9, height_px=9, format="", mode="")
    scanned = read_captions(Folder.open(root), [ScannedMedia.of(m, info) for m in media])
    return {each.media.listed.source.path: each.problem for each in scanned if each.problem}


def test_any_depth_and_any_name_is_listed_in_order(tree: Tree) -> None:
    names = ["b.JPG", "a/c/d/e.png", "a/ü n\ni.webp", "a.jpg.d/x.gif", "日本/語.jpeg"]
    media, listing = listed(tree(dict.fromkeys(names, "12345")))
    assert sorted(paths(media)) == sorted(names)
    assert {each.source.size_bytes for each in media} == {5}
    assert all(each.version.isdigit() for each in media)
    assert (listing.totals.num_listed, listing.totals.num_bytes) == (5, 25)


def test_name_that_is_not_utf8_is_read_back(tree: Tree) -> None:
    root = tree({"good.jpg": "1"})
    (root / os.fsdecode(b"caf\xe9 %.jpg")).write_bytes(b"payload")
    media, _ = listed(root)
    bad = next(each for each in media if each.source.path != "good.jpg")
    assert bad.source.path == "./caf%E9%20%25.jpg"
    assert read_source(Folder.open(root), bad.source) == b"payload"
    with peek_source(Folder.open(root), bad.source) as (file, size_bytes):
        assert (file.read(), size_bytes) == (b"payload", 7)


@given(st.binary(min_size=1).filter(lambda b: b"/" not in b and b"\0" not in b and b != b"."))
def test_portable_paths_are_text_and_go_back(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    path = portable_path(name)
    path.encode()
    assert file_name(path) == name


def test_links_are_followed_once(tree: Tree, tmp_path: Path) -> None:
    root = tree({"real/a.jpg": "1", "real/sub/b.jpg": "1"})
    other = tree({"c.jpg": "1"}, root="outside")
    (root / "real/sub/up").symlink_to(root)
    (root / "again").symlink_to(root / "real")
    (root / "far").symlink_to(other)
    (root / "far2").symlink_to(other)
    (root / "self").symlink_to("self")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "linked.jpg").symlink_to(root / "real/a.jpg")
    media, _ = listed(root)
    assert sorted(paths(media)) == [
        *("far/c.jpg", "linked.jpg", "real/a.jpg", "real/sub/b.jpg", "self.jpg")
    ]
    rejects = {each.source.path: each.reject for each in media if each.reject}
    assert list(rejects) == ["self.jpg"]


def test_broken_link_and_pipe_cost_themselves(tree: Tree) -> None:
    root = tree({"a.jpg": "1"})
    (root / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(root / "pipe.jpg")
    media, _ = listed(root)
    reasons = {each.source.path: each.reject.reason for each in media if each.reject}
    assert reasons == {
        "gone.png": "file cannot be read: no such file or directory",
        "pipe.jpg": "file cannot be read: not a regular file",
    }


def test_folder_that_cannot_be_read_is_a_lost_container(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree({"a.jpg": "1", "locked/b.jpg": "1"})
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    # The tests may run as root, whom no permission stops.
    monkeypatch.setattr(os, "scandir", refuse)
    media, listing = listed(root)
    assert paths(media) == ["a.jpg"]
    findings = listing.totals.findings
    assert findings.lost == {"locked/": "the folder cannot be read: permission denied"}


def test_what_is_no_picture_is_counted(tree: Tree) -> None:
    files = ["a.jpg", ".hidden.jpg", ".git/b.jpg", "__MACOSX/c.jpg", "d.mp4", "e.pdf", "f", "g.txt"]
    media, listing = listed(tree(dict.fromkeys(files, "1")))
    assert paths(media) == ["a.jpg", "d.mp4"]
    assert listing.totals.ignored == {".pdf": 1, "(none)": 1}
    assert listing.totals.findings.examples == {"caption_without_picture": ["g.txt"]}


def test_options_choose_files(tree: Tree) -> None:
    root = tree(dict.fromkeys(["a/x.jpg", "b/y.jpg", "b/z"], "1"))
    assert paths(listed(root, include="b/*")[0]) == ["b/y.jpg"]
    assert paths(listed(root, any_extension=True)[0]) == ["a/x.jpg", "b/y.jpg", "b/z"]


def test_sidecar_text_is_the_caption(tree: Tree) -> None:
    files: dict[str, str | bytes] = dict.fromkeys(["a.jpg", "a.png", "b.jpg", "c.d.jpg"], "1")
    files |= {"a.txt": "\ufeff two\nlines \n", "c.d.txt": b"latin \xe9", "b.txt": ""}
    root = tree(files)
    assert captions(root) == {
        "a.jpg": "two\nlines",
        "a.png": "two\nlines",
        "b.jpg": None,
        "c.d.jpg": None,
    }


def test_label_is_the_class_folder(tree: Tree) -> None:
    media, _ = listed(tree(dict.fromkeys(["top.jpg", "cat/a.jpg", "x/dog/b.jpg"], "1")))
    labels = {each.source.path: each.annotations.get("label") for each in media}
    assert labels == {"top.jpg": None, "cat/a.jpg": "cat", "x/dog/b.jpg": "dog"}


def test_same_stem_is_two_samples(tree: Tree) -> None:
    media, _ = listed(tree({"a.png": "1", "a.jpg": "1"}))
    assert len({each.key for each in media}) == 2


def test_metadata_table_annotates_the_files_it_names(tree: Tree) -> None:
    rows = [
        {"file_name": "a.jpg", "text": "ay", "score": 0.5, "box": [1, 2]},
        {"file_name": "sub/b.jpg", "text": "bee", "label": 3},
        {"nothing": 1},
    ]
    files = dict.fromkeys(["a.jpg", "sub/b.jpg", "sub/c.jpg"], "1")
    root = tree({**files, "metadata.jsonl": "\n".join(map(json.dumps, rows)), "a.txt": "other"})
    media, listing = listed(root)
    assert {each.source.path: each.annotations for each in media} == {
        "a.jpg": {"caption": "ay", "score": 0.5},
        "sub/b.jpg": {"caption": "bee", "label": 3},
        "sub/c.jpg": {"label": "sub"},
    }
    assert listing.totals.findings.examples == {
        "field_not_kept": ["box in metadata.jsonl"],
        "row_without_file": ["metadata.jsonl, row 3: no file_name"],
        "second_caption": ["a.txt"],
    }
    assert captions(root)["a.jpg"] == "ay"


def test_caption_that_cannot_be_read_costs_itself(tree: Tree) -> None:
    root = tree({"a.jpg": "1"})
    (root / "a.txt").symlink_to("gone")
    assert captions(root) == {"a.jpg": None}
    assert problems(root) == {"a.jpg": "caption_unreadable"}


def test_captions_are_utf16_by_their_mark_else_utf8_else_left_out(tree: Tree) -> None:
    texts = {
        "utf8": "café".encode(),
        "utf16": "café".encode("utf-16"),
        "big": b"\xfe\xff" + "café".encode("utf-16-be"),
        "unmarked": "café".encode("utf-16-be"),
        "nuls": "cafe".encode("utf-16-le"),
        "cp1252": "café it\u2019s".encode("cp1252"),
        "sjis": "猫".encode("shift_jis"),
    }
    files: dict[str, str | bytes] = {f"{name}.txt": data for name, data in texts.items()}
    root = tree(files | {f"{name}.jpg": "1" for name in texts})
    found = {path.removesuffix(".jpg"): text for path, text in captions(root).items()}
    assert {name for name, text in found.items() if text == "café"} == {"utf8", "utf16", "big"}
    assert set(problems(root).values()) == {"caption_not_text"}
    assert len(problems(root)) == 4


def test_captions_of_other_habits_are_found(tree: Tree) -> None:
    files = dict.fromkeys(["a.jpg", "b.jpg", "c.jpg", "sub/d.jpg", "sub/e.jpg"], "1")
    kohya = {"c": {"caption": "by stem", "tags": "x, y"}, "sub/d.jpg": {"caption": "by path"}}
    files |= {"a.caption": "kohya's", "b.jpg.txt": "doubled", "meta_cap.json": json.dumps(kohya)}
    files |= {"sub/meta_lat.json": json.dumps({"e": {"caption": "lat", "train_resolution": [1]}})}
    root = tree(files)
    assert captions(root) == {
        "a.jpg": "kohya's",
        "b.jpg": "doubled",
        "c.jpg": "by stem",
        "sub/d.jpg": "by path",
        "sub/e.jpg": "lat",
    }
    media, listing = listed(root)
    assert {each.source.path: each.annotations.get("tags") for each in media}["c.jpg"] == "x, y"
    assert not listing.totals.findings.counts


def test_metadata_rows_that_find_no_file_are_counted(tree: Tree) -> None:
    rows = [{"file_name": f"{n}.jpg", "text": str(n)} for n in range(50)]
    rows += [{"file_name": "img\\x.jpg", "text": "slash"}, {"file_name": "0.jpg", "text": "zero"}]
    files = dict.fromkeys(["0.jpg", "1.jpg", "img/x.jpg"], "1")
    root = tree({**files, "metadata.jsonl": "\n".join(map(json.dumps, rows))})
    media, listing = listed(root)
    assert {each.source.path: each.annotations["caption"] for each in media} == {
        "0.jpg": ["0", "zero"],
        "1.jpg": "1",
        "img/x.jpg": "slash",
    }
    findings = listing.totals.findings
    assert findings.counts == {"row_without_file": 48, "backslash_path": 1, "rows_merged": 1}
    assert findings.examples["row_without_file"][0] == "metadata.jsonl: 2.jpg"


def test_metadata_table_that_cannot_be_read_is_a_lost_container(tree: Tree) -> None:
    media, listing = listed(tree({"a.jpg": "1", "metadata.parquet": "PAR1"}))
    assert paths(media) == ["a.jpg"]
    assert list(listing.totals.findings.lost) == ["metadata.parquet"]


def test_a_store_in_its_corpus_is_left_out(tree: Tree) -> None:
    files = ["a.jpg", "store/latentcache.json", "store/encodings/x/y.tar", "store/keep.jpg"]
    media, listing = listed(tree(dict.fromkeys(files, "1")))
    assert sorted(paths(media)) == ["a.jpg", "store/keep.jpg"]
    assert listing.totals.findings.examples == {"store_in_corpus": ["store"]}
    inside, _ = listed(
        tree({"b.jpg": "1", "latentcache.json": "{}", "plan/0/p.jpg": "1"}, root="c")
    )
    assert paths(inside) == ["b.jpg"]


def test_litter_of_file_servers_is_hidden(tree: Tree) -> None:
    files = ["a/1.jpg", "a/@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/2.jpg"]
    assert paths(listed(tree(dict.fromkeys(files, "1")))[0]) == ["a/1.jpg"]


def test_every_file_of_a_nasty_folder_is_listed(shared_data: Path) -> None:
    for name in ("images", "crafted"):
        folder = shared_data / "nasty" / name
        media, listing = listed(folder)
        files = {file.name for file in folder.iterdir()} - {"MANIFEST.csv"}
        assert {each.source.path for each in media} == files
        assert listing.totals.ignored == {".csv": 1}
        assert all(each.reject is None for each in media)
