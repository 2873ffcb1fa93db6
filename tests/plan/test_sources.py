from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError
from latentcache.core.media import MediaInfo, SourceRef
from latentcache.core.rejects import Reject
from latentcache.plan import (
    ListedMedia,
    Listing,
    PlanOptions,
    ScannedMedia,
    assign,
    open_corpus,
)
from latentcache.store.rows.plan_draft import GenerationDraft
from tests.plan.conftest import listed, paths, tar_bytes

Tree = Callable[..., Path]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["a/b.jpg", "m.csv"], "folder"),
        (["metadata.jsonl", "x.mp4"], "folder"),
        (["00.tar", "00.parquet", "00_stats.json"], "webdataset"),
        (["data/train-0.parquet", "README.md"], "manifest"),
        (["m.jsonl"], "manifest"),
    ],
)
def test_kind_is_found_out(tree: Tree, files: list[str], kind: str) -> None:
    assert open_corpus(str(tree(dict.fromkeys(files, "1")))).kind == kind


def test_file_is_a_corpus_of_its_own(tree: Tree) -> None:
    root = tree({"a.tar": b"", "m.csv": "path\n"})
    corpora = [open_corpus(str(root / name)) for name in ("a.tar", "m.csv")]
    assert [(c.kind, c.file) for c in corpora] == [("webdataset", "a.tar"), ("manifest", "m.csv")]
    assert corpora[0].label == f"{root}/a.tar"


@pytest.mark.parametrize(
    ("url", "kind", "sentence"),
    [
        pytest.param("nowhere", "", "got 'no such file or directory' .*check the path", id="none"),
        pytest.param("a.jpg/below", "", "got 'not a directory'", id="below-a-file"),
        pytest.param("a.jpg", "", r"must be a folder, a .tar or a manifest .*got the file", id="f"),
        pytest.param("broken", "", "got 'no such file or directory'", id="broken-link"),
        pytest.param("empty", "", "must hold pictures, got an empty or missing folder", id="empty"),
        pytest.param("other", "", r"must hold pictures, .tar .*got 2 .pdf, 1 \(none\)", id="other"),
        pytest.param("both", "", "got 1 pictures and 1 tars .*--corpus-kind folder", id="both"),
        pytest.param("other", "foldr", "did you mean 'folder'", id="unknown-kind"),
        pytest.param("both/t.tar", "folder", "must be a folder, got the file t.tar", id="kind"),
    ],
)
def test_bad_corpus_is_refused_in_a_sentence(
    tree: Tree, url: str, kind: str, sentence: str
) -> None:
    files = ["a.jpg", "other/a.pdf", "other/b.pdf", "other/c", "both/t.tar", "both/x.jpg"]
    root = tree(dict.fromkeys(files, "1"))
    (root / "empty").mkdir()
    (root / "broken").symlink_to("gone")
    with pytest.raises(ConfigError, match=sentence):
        open_corpus(str(root / url), kind)


def test_kind_can_be_chosen(tree: Tree) -> None:
    root = tree({"t.tar": tar_bytes([("m.jpg", b"1")]), "x.jpg": "1"})
    assert paths(listed(root, "folder")[0]) == ["x.jpg"]
    assert paths(listed(root, "webdataset")[0]) == ["t.tar!m.jpg"]


def test_listing_nothing_is_an_error_that_says_what_was_there(tree: Tree) -> None:
    root = tree({"a.jpg": "1", "b.md": "1"})
    sentence = r"at least one picture, got none but 1 .jpg, 1 .md .*include"
    with pytest.raises(ConfigError, match=sentence):
        listed(root, "webdataset", include="*.md")
    empty = tree({"m.csv": "path,text\n"}, root="manifest")
    with pytest.raises(ConfigError, match="got none but an empty table"):
        listed(empty)


def test_chunks_have_the_asked_size(tree: Tree) -> None:
    root = tree({f"{n}.jpg": "1" for n in range(7)})
    listing = Listing(open_corpus(str(root)), PlanOptions())
    assert [len(chunk) for chunk in listing.chunks(3)] == [3, 3, 1]
    assert listing.totals.num_listed == 7


def test_corpus_may_be_relative(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree({"a.jpg": "1", "m.jsonl": '{"path": "a.jpg"}'})
    monkeypatch.chdir(root)
    assert paths(listed(".")[0]) == paths(listed("m.jsonl")[0]) == ["a.jpg"]
    monkeypatch.chdir(root.parent)
    assert paths(listed("corpus/")[0]) == ["a.jpg"]


def test_video_that_no_decoder_knows_is_a_video() -> None:
    reject = Reject(code="not_media", stage="scan", reason="no decoder knows these bytes")
    video = ScannedMedia.of(ListedMedia(source=SourceRef(path="a.MP4")), reject)
    picture = ScannedMedia.of(ListedMedia(source=SourceRef(path="a.jpg")), reject)
    assert [m.reject.code for m in (video, picture) if m.reject] == ["not_an_image", "not_media"]


def test_moving_the_corpus_keeps_the_plan(tree: Tree, tmp_path: Path) -> None:
    files = {f"{n % 3}/{n}.jpg": "1" for n in range(20)}
    tables = []
    for name in ("here", "there"):
        media, _ = listed(tree(files, root=name))
        info = MediaInfo(width_px=700, height_px=600, format="", mode="")
        (tmp_path / f"scratch-{name}").mkdir()
        plan = assign(
            [[ScannedMedia.of(m, info) for m in media]], PlanOptions(), tmp_path / f"scratch-{name}"
        )
        tables.append(next(plan.iter_rows()).drop_columns(["version"]))
    assert tables[0] == tables[1]


def test_assignment_is_what_a_generation_needs(tree: Tree, tmp_path: Path) -> None:
    media, listing = listed(tree({"a.jpg": "1"}))
    info = MediaInfo(width_px=700, height_px=600, format="", mode="")
    options = PlanOptions()
    plan = assign([[ScannedMedia.of(m, info) for m in media]], options, tmp_path)
    draft = GenerationDraft(
        corpus_url="x",
        corpus_kind="folder",
        options=options.as_dict(),
        seed=options.seed,
        runs=plan.runs,
        rows=plan.iter_rows(),
        rejects=plan.iter_rejects(),
        totals=listing.totals.as_dict(),
    )
    assert draft.totals == {
        "listed": 1,
        "bytes": 1,
        "ignored": {},
        "findings": [],
        "containers": {"read": 0, "lost": 0, "names": []},
        "chosen": [],
    }
