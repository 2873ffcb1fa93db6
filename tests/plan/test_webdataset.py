import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset

from latentcache.core.errors import MediaError
from latentcache.plan import peek_source, read_source, read_sources
from latentcache.plan.listing import MEMBERS_PER_RUN
from latentcache.storage import Folder
from tests.plan.conftest import listed, paths, tar_bytes

Tree = Callable[..., Path]

SAMPLES = [
    ("0001.jpg", b"one"),
    ("0001.txt", b"a caption"),
    ("0001.json", json.dumps({"score": 0.5, "width": 7, "deep": {}, "path": "x"}).encode()),
    ("sub/0002.left.png", b"left"),
    ("sub/0002.right.webp", b"right"),
    ("sub/0002.cls", b"7\n"),
    ("0003.txt", b"no picture"),
]


def test_pictures_come_with_their_siblings_fields(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes(SAMPLES), "b/c.tar": tar_bytes([("x.jpg", b"1")])})
    media, listing = listed(root)
    assert paths(media) == [
        *("a.tar!0001.jpg", "a.tar!sub/0002.left.png", "a.tar!sub/0002.right.webp"),
        "b/c.tar!x.jpg",
    ]
    first = {"caption": "a caption", "score": 0.5, "width": 7, "given_path": "x"}
    assert [each.annotations for each in media] == [first, {"label": 7}, {"label": 7}, {}]
    assert not listing.totals.ignored


def test_payload_is_read_by_range(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes(SAMPLES)})
    media, _ = listed(root)
    sources = [each.source for each in media]
    assert read_sources(Folder.open(root), sources[::-1]) == [b"right", b"left", b"one"]
    with peek_source(Folder.open(root), sources[1]) as (file, size_bytes):
        assert (file.seek(-2, io.SEEK_END), file.read(), size_bytes) == (2, b"ft", 4)
        assert (file.seek(1), file.read(100), file.read()) == (1, b"eft", b"")


# The library leaves its file to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_keys_are_those_of_the_webdataset_library(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes([(name, data) for name, data in SAMPLES if ".l" not in name])})
    dataset = webdataset.WebDataset(str(root / "a.tar"), shardshuffle=False)
    theirs = {s["__key__"]: s.get("txt") for s in dataset if {"jpg", "right.webp"} & set(s)}
    media, _ = listed(root)
    ours = {each.source.member.split(".")[0]: each.annotations.get("caption") for each in media}
    assert {k: v.decode() if v else None for k, v in theirs.items()} == ours


def test_only_one_tar_of_a_folder_may_be_named(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes(SAMPLES), "b.tar": tar_bytes([("x.jpg", b"1")])})
    assert paths(listed(root / "b.tar")[0]) == ["b.tar!x.jpg"]
    assert paths(listed(root, include="b*")[0]) == ["b.tar!x.jpg"]


def test_runs_of_members_are_placed_together(tree: Tree) -> None:
    count = MEMBERS_PER_RUN + 3
    root = tree({"a.tar": tar_bytes([(f"{n:04d}.jpg", b"1") for n in range(count)])})
    media, _ = listed(root)
    assert [each.position for each in media] == list(range(count))
    assert [each.run for each in media][-4:] == [0, 1, 1, 1]


def test_name_that_comes_again_is_a_duplicate(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes([("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3")])})
    media, _ = listed(root)
    assert [each.reject.code if each.reject else "" for each in media] == ["", "", "duplicate"]
    assert len({each.key for each in media}) == 3


def test_links_and_hidden_members_are_no_pictures(tree: Tree) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name in ("._a.jpg", "../../up.jpg", "/abs.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    root = tree({"a.tar": buffer.getvalue()})
    media, listing = listed(root)
    found = {each.source.member: read_source(Folder.open(root), each.source) for each in media}
    assert set(found.values()) == {b"abc"}
    assert listing.totals.ignored["(hidden)"] >= 1
    assert "link.jpg" not in found


LONG = [(f"{n}.jpg", bytes([n]) * 3000) for n in range(5)]


def test_truncated_tar_costs_its_last_members(tree: Tree) -> None:
    whole = tar_bytes(LONG)
    root = tree({"a.tar": whole[: 2 * 3584 + 1000], "b.tar": tar_bytes([("x.jpg", b"1")])})
    media, _ = listed(root)
    reasons = {each.source.label: each.reject.reason for each in media if each.reject}
    assert paths(media) == ["a.tar!0.jpg", "a.tar!1.jpg", "a.tar!2.jpg", "a.tar", "b.tar!x.jpg"]
    assert reasons["a.tar!2.jpg"] == "the tar ends before the picture"
    assert reasons["a.tar"].startswith("the tar is damaged (unexpected end of data)")
    assert len(reasons) == 2


def test_damage_in_the_middle_is_seen(tree: Tree) -> None:
    whole = bytearray(tar_bytes(LONG))
    start = 2 * 3584
    whole[start : start + 512] = b"\xff" * 512
    media, _ = listed(tree({"a.tar": bytes(whole)}))
    assert paths(media) == ["a.tar!0.jpg", "a.tar!1.jpg", "a.tar"]
    assert media[2].reject is not None
    assert "damaged at byte 7168 of" in media[2].reject.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "the tar has no bytes", id="empty"),
        pytest.param(b"not a tar " * 1000, "the tar is damaged (", id="other-bytes"),
        pytest.param(b"short", "the tar is damaged (", id="short"),
    ],
)
def test_what_is_no_tar_is_one_reject(tree: Tree, data: bytes, reason: str) -> None:
    media, _ = listed(tree({"a.tar": data}))
    assert [each.source.label for each in media] == ["a.tar"]
    assert media[0].reject is not None
    assert media[0].reject.reason.startswith(reason)


def test_tar_without_an_end_marker_is_whole(tree: Tree) -> None:
    media, _ = listed(tree({"a.tar": tar_bytes(LONG)[: 5 * 3584]}))
    assert [each.reject for each in media] == [None] * 5


def test_tar_that_shrank_since_is_truncated(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes(LONG)})
    media, _ = listed(root)
    (root / "a.tar").write_bytes(tar_bytes(LONG)[: 4 * 3584 + 1000])
    with pytest.raises(MediaError) as caught:
        read_source(Folder.open(root), media[4].source)
    assert caught.value.code == "truncated"


def test_broken_json_costs_its_fields(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes([("a.jpg", b"1"), ("a.json", b"{"), ("a.cls", b"cat")])})
    media, listing = listed(root)
    assert [each.annotations for each in media] == [{"label": "cat"}]
    assert list(listing.totals.warnings) == ["a.tar: members that are not JSON objects"]


def test_long_names_and_non_utf8_names(tree: Tree) -> None:
    long = "d" * 120 + "/" + "n" * 150 + ".jpg"
    members = [(long, b"1"), ("caf\udce9.jpg", b"2")]
    root = tree({"a.tar": tar_bytes(members)})
    media, _ = listed(root)
    assert media[0].source.member == long
    assert media[1].source.member.encode()
    assert read_sources(Folder.open(root), [m.source for m in media]) == [b"1", b"2"]
