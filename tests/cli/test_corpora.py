"""What is said of a corpus that is not what it seems, and with which exit code."""

import json
from pathlib import Path

import pytest

from latentcache.store import Store
from latentcache.testing.drawn import marked_picture
from tests.cli.conftest import Cli
from tests.plan.conftest import tar_bytes

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

FLAGS = ["--resolution", "64", "--device", "cpu", "--actors", "1"]


def picture(tmp_path: Path, name: str = "picture.png") -> bytes:
    marked_picture(64, 64).save(tmp_path / name)
    return (tmp_path / name).read_bytes()


def test_a_lost_tar_is_named_and_the_run_does_not_end_in_0(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    members = [(f"{n}.png", picture(tmp_path)) for n in range(2)] + [("9.txt", b"alone")]
    (corpus / "a.tar").write_bytes(tar_bytes(members))
    (corpus / "b.tar").write_bytes(b"not a tar " * 100)
    built = cli("build", corpus, store, *FLAGS)
    assert built.code == 3
    assert "2 encoded + 0 quarantined = 2 planned" in built.out
    assert "must be read whole, got 1 that was not (b.tar: it is damaged" in built.err
    assert "members of tars that belong to no picture: 1 (e.g. a.tar!9.txt)" in built.out

    again = cli("build", corpus, store, *FLAGS, "--json")
    assert again.code == 3
    assert again.json["corpus"]["containers"]["names"][0]["name"] == "b.tar"
    status = cli("status", store)
    assert (status.code, "lost: " in status.out) == (0, True)
    found = cli("status", store, "--json").json["corpus"]
    assert found["findings"] == [
        {"kind": "member_without_picture", "count": 1, "examples": ["a.tar!9.txt"]}
    ]


def test_nothing_encoded_fails_and_publishes_nothing(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for n in range(3):
        (corpus / f"{n}.jpg").write_bytes(b"no picture")
    built = cli("build", corpus, store, *FLAGS, "--max-quarantine", "100%")
    assert (built.code, "got 0 of 3 samples (3 not_media); nothing is published" in built.err) == (
        3,
        True,
    )
    assert Store.open(store).snapshots() == []


def test_the_quarantine_limit_holds_for_a_small_run(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for n in range(3):
        picture(corpus, f"{n}.png")
    (corpus / "bad.jpg").write_bytes(b"no picture")
    (corpus / "0.txt").write_text("a caption")
    (corpus / "lost.txt").write_text("of nothing")
    built = cli("build", corpus, store, *FLAGS)
    assert built.code == 3
    assert "must be at most 5.0% of those seen, got 1 of 4 (1 not_media)" in built.err
    assert "beside the media: captions 1 of 3" in built.out
    assert "caption files that belong to no picture: 1 (e.g. lost.txt)" in built.out
    assert cli("build", corpus, store, *FLAGS, "--max-quarantine", "30%").code == 0


def test_rows_that_failed_to_download_and_wrong_sizes_cost_nothing(
    cli: Cli, tmp_path: Path
) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    rows = []
    for n in range(4):
        image = marked_picture(96, 64)
        exif = image.getexif()
        exif[0x112] = 6 if n % 2 else 1
        image.save(corpus / f"{n}.jpg", exif=exif)
        rows.append({"path": f"{n}.jpg", "width": 96, "height": 64, "caption": str(n)})
    rows += [{"path": None, "caption": "failed"}, {"path": "3.jpg", "width": 7, "height": 7}]
    (corpus / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    built = cli("build", corpus / "m.jsonl", store, *FLAGS, "--json")
    assert (built.code, built.json["encoded"], built.json["quarantined"]) == (0, 4, 0)
    found = {each["kind"]: each["count"] for each in built.json["corpus"]["findings"]}
    assert found == {"row_without_medium": 1, "rows_merged": 1, "claim_differs": 1}
