"""Corpora as they are typed: braces, stars, several at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError
from latentcache.plan import Listing, PlanOptions, open_corpus, read_sources
from latentcache.storage import Folder
from tests.plan.conftest import listed, paths, tar_bytes

Tree = Callable[..., Path]


def tars(tree: Tree, *names: str) -> Path:
    return tree({name: tar_bytes([(f"{name[-5]}.jpg", name.encode())]) for name in names})


def listing_of(*places: str | Path, **options: int) -> tuple[list[str], Listing]:
    listing = Listing(open_corpus([str(each) for each in places]), PlanOptions(**options))  # type: ignore[arg-type]  # limits alone
    return [media.source.label for chunk in listing.chunks() for media in chunk], listing


@pytest.mark.parametrize(
    "pattern", ["{00000..00002}.tar", "*.tar", "0000[0-2].tar", "{00000,00001,00002}.tar", "0*"]
)
def test_patterns_of_tars_are_expanded(tree: Tree, pattern: str) -> None:
    root = tars(tree, "00000.tar", "00001.tar", "00002.tar")
    media, _ = listed(f"{root}/{pattern}")
    assert paths(media) == ["00000.tar!0.jpg", "00001.tar!1.jpg", "00002.tar!2.jpg"]
    corpus = open_corpus(f"{root}/{pattern}")
    assert (corpus.is_pattern, corpus.places) == (True, (f"{root}/{pattern}",))


def test_patterns_work_behind_fsspec_too(tree: Tree) -> None:
    root = Folder.open("memory://patterns/deep")
    for name in ("0.tar", "1.tar", "x.txt"):
        root.write(name, tar_bytes([(f"{name}.jpg", b"1")]))
    for pattern in ("{0..1}.tar", "*.tar"):
        assert len(listed(f"memory://patterns/deep/{pattern}")[0]) == 2
    with pytest.raises(ConfigError, match=r"got 1 of 3 that are not \(e.g. memory:.*/2.tar\)"):
        listed("memory://patterns/deep/{0..2}.tar")


def test_a_star_stands_for_folders_too(tree: Tree) -> None:
    root = tree({"train_a/x.jpg": "1", "train_b/y.jpg": "1", "val/z.jpg": "1"})
    assert paths(listed(f"{root}/train_*")[0]) == ["train_a/x.jpg", "train_b/y.jpg"]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("{0..3}.tar", "got 3 of 4 that are not"),
        ("{8..9}.tar", "pattern must match a file or folder, got .* that matches none"),
        ("*.zip", "pattern must match a file or folder, got .* that matches none"),
        ("{0..3.tar", "braces must be closed"),
    ],
)
def test_a_pattern_that_matches_nothing_is_one_sentence(
    tree: Tree, pattern: str, sentence: str
) -> None:
    root = tars(tree, "0.tar")
    with pytest.raises(ConfigError, match=sentence):
        open_corpus(f"{root}/{pattern}")


def test_a_name_with_brackets_that_is_there_is_no_pattern(tree: Tree) -> None:
    root = tree({"exp[1]/a.jpg": "1", "exp1/b.jpg": "1"})
    assert paths(listed(root / "exp[1]")[0]) == ["a.jpg"]


def test_several_corpora_are_one_plan(tree: Tree) -> None:
    root = tree(
        {
            "one/sub/a.jpg": "a",
            "one/sub/a.txt": "caption",
            "two/t.tar": tar_bytes([("b.jpg", b"b"), ("lost.txt", b"1")]),
            "two/bad.tar": b"no tar" * 100,
            "three/m.csv": "path\nc.jpg\n../one/sub/d.jpg\n",
            "three/c.jpg": "c",
        }
    )
    places = [root / "one/sub", root / "two", root / "three/m.csv"]
    found, listing = listing_of(*places)
    assert found == ["one/sub/a.jpg", "two/t.tar!b.jpg", "three/c.jpg", "one/sub/d.jpg"]
    corpus = open_corpus([str(place) for place in places])
    assert (corpus.root.url, corpus.kind) == (str(root), "folder+manifest+webdataset")
    media = [each for chunk in Listing(corpus, PlanOptions()).chunks() for each in chunk]
    assert media[0].sidecar == "one/sub/a.txt"
    assert read_sources(corpus.root, [each.source for each in media[:3]]) == [b"a", b"b", b"c"]
    findings = listing.totals.findings
    assert list(findings.lost) == ["two/bad.tar"]
    assert findings.examples == {"member_without_picture": ["t.tar!lost.txt (in two)"]}
    assert {name for name, *_ in listing.totals.tables} == {
        *("two/bad.tar", "two/t.tar", "three/m.csv")
    }


def test_corpora_on_several_storages_are_one_plan(tree: Tree) -> None:
    far = Folder.open("memory://elsewhere/pictures")
    far.write("b.jpg", b"b")
    root = tree({"a.jpg": "a"})
    corpus = open_corpus([str(root), far.url])
    media = [each for chunk in Listing(corpus, PlanOptions()).chunks() for each in chunk]
    assert paths(media) == ["a.jpg", "memory://elsewhere/pictures/b.jpg"]
    assert read_sources(corpus.root, [each.source for each in media]) == [b"a", b"b"]


@pytest.mark.parametrize("other", ["one", "one/sub", "", "one/t.tar"])
def test_corpora_that_hold_the_same_file_are_refused(tree: Tree, other: str) -> None:
    root = tree({"one/sub/a.jpg": "1", "x/one.jpg": "1"})
    if other.endswith(".tar"):
        (root / "one/sub/a.jpg").unlink()
        (root / "one/t.tar").write_bytes(tar_bytes([("a.jpg", b"1")]))
    with pytest.raises(ConfigError, match=r"must not hold the same files, got .* leave out one"):
        open_corpus([str(root / "one"), str(root / other).rstrip("/")])


def test_a_limit_takes_the_first_of_the_listing(tree: Tree) -> None:
    root = tree({f"{n}.jpg": "1" for n in range(5)})
    found, listing = listing_of(root, limit=2)
    assert found == ["0.jpg", "1.jpg"]
    assert listing.totals.findings.counts == {"limited": 2}
    assert "limit" not in PlanOptions().as_dict()
    assert PlanOptions(limit=2).digest() != PlanOptions().digest()
