import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset

from latentcache.core.errors import ConfigError, MediaError
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
        *("a.tar!0001.jpg", "a.tar!sub/0002.left.png"),
        "b/c.tar!x.jpg",
    ]
    first = {"caption": "a caption", "score": 0.5, "width": 7, "given_path": "x"}
    assert [each.annotations for each in media] == [first, {"label": 7}, {}]
    assert [bool(each.reject) for each in media] == [False, True, False]
    assert not listing.totals.ignored
    assert listing.totals.findings.examples == {"member_without_picture": ["a.tar!0003.txt"]}
    chosen, listing = listed(root, path_column="right.webp")
    assert [each.source.member for each in chosen] == ["0001.jpg", "sub/0002.right.webp", "x.jpg"]
    assert listing.totals.findings.examples["further_picture"] == ["a.tar!sub/0002.left.png"]


def test_payload_is_read_by_range(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes(SAMPLES)})
    media, _ = listed(root, path_column="left.png")
    sources = [each.source for each in media]
    assert read_sources(Folder.open(root), sources[::-1]) == [b"left", b"one"]
    with peek_source(Folder.open(root), sources[1]) as (file, size_bytes):
        assert (file.seek(-2, io.SEEK_END), file.read(), size_bytes) == (2, b"ft", 4)
        assert (file.seek(1), file.read(100), file.read()) == (1, b"eft", b"")


# The library leaves its file to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_keys_are_those_of_the_webdataset_library(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes([(name, data) for name, data in SAMPLES if ".l" not in name])})
    dataset = webdataset.WebDataset(str(root / "a.tar"), shardshuffle=False)
    theirs = {s["__key__"]: s.get("txt") for s in dataset if {"jpg", "right.webp"} & set(s)}
    media, _ = listed(root, path_column="right.webp")
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


def test_links_out_of_the_tar_and_hidden_members_are_no_pictures(tree: Tree) -> None:
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
    rejects = {each.source.member: each.reject.reason for each in media if each.reject}
    assert rejects == {"link.jpg": "the member is a symbolic link to no file of the tar"}
    sources = [each.source for each in media if each.reject is None]
    assert {read_source(Folder.open(root), source) for source in sources} == {b"abc"}
    assert listing.totals.ignored["(hidden)"] >= 1


LONG = [(f"{n}.jpg", bytes([n]) * 3000) for n in range(5)]


def test_truncated_tar_costs_its_last_members(tree: Tree) -> None:
    whole = tar_bytes(LONG)
    root = tree({"a.tar": whole[: 2 * 3584 + 1000], "b.tar": tar_bytes([("x.jpg", b"1")])})
    media, listing = listed(root)
    reasons = {each.source.label: each.reject.reason for each in media if each.reject}
    assert paths(media) == ["a.tar!0.jpg", "a.tar!1.jpg", "a.tar!2.jpg", "b.tar!x.jpg"]
    assert reasons == {"a.tar!2.jpg": "the tar ends before the picture"}
    lost = listing.totals.findings.lost
    assert lost["a.tar"].startswith("it is damaged (unexpected end of data)")
    assert listing.totals.as_dict()["containers"]["read"] == 1


def test_damage_in_the_middle_is_seen(tree: Tree) -> None:
    whole = bytearray(tar_bytes(LONG))
    start = 2 * 3584
    whole[start : start + 512] = b"\xff" * 512
    media, listing = listed(tree({"a.tar": bytes(whole)}))
    assert paths(media) == ["a.tar!0.jpg", "a.tar!1.jpg"]
    assert "damaged at byte 7168 of" in listing.totals.findings.lost["a.tar"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "it has no bytes", id="empty"),
        pytest.param(b"not a tar " * 1000, "it is damaged (", id="other-bytes"),
        pytest.param(b"short", "it is damaged (", id="short"),
    ],
)
def test_what_is_no_tar_is_a_lost_container(tree: Tree, data: bytes, reason: str) -> None:
    root = tree({"a.tar": data, "b.tar": tar_bytes([("x.jpg", b"1")])})
    media, listing = listed(root)
    assert paths(media) == ["b.tar!x.jpg"]
    assert listing.totals.findings.lost["a.tar"].startswith(reason)
    (root / "b.tar").unlink()
    with pytest.raises(ConfigError, match=r"must be read whole, got 1 that was not \(a.tar: it "):
        listed(root)


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
    assert listing.totals.findings.examples == {"member_not_read": ["a.tar!a.json"]}


def links_tar(members: list[tuple[str, bytes | str, bytes]]) -> bytes:
    """Return a tar of (name, data or target of a link, type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(data, str):
                info.linkname = data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_links_within_a_tar_give_the_bytes_they_lead_to(tree: Tree) -> None:
    members: list[tuple[str, bytes | str, bytes]] = [
        ("./d/0.jpg", b"zero", tarfile.REGTYPE),
        ("./d/0.txt", b"caption", tarfile.REGTYPE),
        ("./d/1.jpg", "./d/0.jpg", tarfile.LNKTYPE),
        ("./d/1.txt", "0.txt", tarfile.SYMTYPE),
        ("./d/2.jpg", "3.jpg", tarfile.SYMTYPE),
        ("./d/3.jpg", b"three", tarfile.REGTYPE),
        ("./d/4.jpg", "5.jpg", tarfile.SYMTYPE),
        ("./d/5.jpg", "4.jpg", tarfile.SYMTYPE),
        ("./d/6.jpg", "", tarfile.FIFOTYPE),
    ]
    root = tree({"a.tar": links_tar(members)})
    media, _ = listed(root)
    good = [each for each in media if each.reject is None]
    found = read_sources(Folder.open(root), [each.source for each in good])
    assert found == [b"zero", b"zero", b"three", b"three"]
    assert [each.annotations for each in good[:2]] == [{"caption": "caption"}] * 2
    reasons = [each.reject.reason for each in media if each.reject]
    assert [reason.partition("member is ")[2] for reason in reasons] == [
        "a symbolic link to no file of the tar",
        "a symbolic link to no file of the tar",
        "no regular file",
    ]


def test_tars_one_after_the_other_are_read_as_tar_i_reads_them(tree: Tree) -> None:
    two = tar_bytes(LONG[:2]) + tar_bytes(LONG[2:])
    root = tree({"a.tar": two, "b.tar": tar_bytes(LONG[:1]) + b"something else" * 100})
    media, listing = listed(root)
    assert paths(media) == [*(f"a.tar!{n}.jpg" for n in range(5)), "b.tar!0.jpg"]
    found = read_sources(Folder.open(root), [each.source for each in media])
    assert found == [*(data for _, data in LONG), LONG[0][1]]
    assert list(listing.totals.findings.lost) == ["b.tar"]


def test_compressed_tars_are_refused_before_any_work(tree: Tree) -> None:
    packed = gzip.compress(tar_bytes(LONG))
    root = tree({"a.tar": tar_bytes(LONG), "b.tar": packed, "c.tar": packed})
    with pytest.raises(ConfigError, match=r"got 2 of 3 that are not \(b.tar is gzip\)"):
        listed(root)


def test_compressed_tars_by_name_are_lost_containers(tree: Tree) -> None:
    _, listing = listed(tree({"a.tar": tar_bytes(LONG), "b.tar.gz": b"x", "c.tgz": b"x"}))
    assert list(listing.totals.findings.lost) == ["b.tar.gz", "c.tgz"]


NAMED = [
    (f"{n:04}.{field}", data)
    for n in range(2)
    for field, data in {
        "input.jpg": b"picture",
        "outputs.txt": b"cap",
        "meta.json": b'{"score": 1}',
        "label.cls": b"3",
        "seg.png": b"mask",
    }.items()
]


def test_fields_have_the_names_of_the_webdataset_library(tree: Tree) -> None:
    root = tree({"a.tar": tar_bytes(NAMED)})
    with pytest.raises(ConfigError, match=r"got input.jpg and seg.png \(a.tar!0000\)"):
        listed(root)
    media, listing = listed(root, path_column="input.jpg", caption_column="outputs")
    assert paths(media) == ["a.tar!0000.input.jpg", "a.tar!0001.input.jpg"]
    assert [e.annotations for e in media] == [{"caption": "cap", "meta_score": 1, "label": 3}] * 2
    assert listing.totals.findings.counts == {"further_picture": 2}


def test_a_plain_picture_comes_before_its_masks(tree: Tree) -> None:
    members = [("0.jpg", b"1"), ("0.seg.png", b"2"), ("1.mp4", b"3"), ("1.webp", b"4")]
    media, listing = listed(tree({"a.tar": tar_bytes(members)}))
    assert paths(media) == ["a.tar!0.jpg", "a.tar!1.webp"]
    examples = listing.totals.findings.examples
    assert examples == {"further_picture": ["a.tar!0.seg.png", "a.tar!1.mp4"]}


def test_captions_apart_from_their_pictures_are_counted(tree: Tree) -> None:
    members = [(f"{n}.jpg", b"1") for n in range(4)] + [(f"{n}.txt", b"c") for n in range(4)]
    _, listing = listed(tree({"a.tar": tar_bytes(members)}))
    assert listing.totals.findings.counts == {"member_without_picture": 4}


def test_large_numbers_long_json_and_other_encodings_are_kept_or_counted(tree: Tree) -> None:
    members = [
        ("0.jpg", b"1"),
        ("0.cls", str(2**64 - 1).encode()),
        ("0.json", json.dumps({"caption": "c", "x": "y" * 2_000_000}).encode()),
        ("0.txt", "café".encode("cp1252")),
    ]
    media, listing = listed(tree({"a.tar": tar_bytes(members)}))
    fields = media[0].annotations
    assert (fields["label"], fields["caption"], len(str(fields["x"]))) == (
        str(2**64 - 1),
        "c",
        2_000_000,
    )
    assert listing.totals.findings.counts == {"number_too_large": 1, "caption_not_text": 1}


def test_long_names_and_non_utf8_names(tree: Tree) -> None:
    long = "d" * 120 + "/" + "n" * 150 + ".jpg"
    members = [(long, b"1"), ("caf\udce9.jpg", b"2")]
    root = tree({"a.tar": tar_bytes(members)})
    media, _ = listed(root)
    assert media[0].source.member == long
    assert media[1].source.member.encode()
    assert read_sources(Folder.open(root), [m.source for m in media]) == [b"1", b"2"]
