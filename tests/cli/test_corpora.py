"""What is said of a corpus that is not what it seems, and with which exit code."""

import json
from pathlib import Path

from PIL import Image

from latentcache.loader import LatentLoader
from latentcache.store import Store
from latentcache.testing.drawn import marked_picture
from tests.cli.conftest import Cli
from tests.plan.conftest import tar_bytes

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
    (row,) = cli("status", store, "--quarantined", "--json").json
    assert (row["source"], row["stage"], row["key"]) == ("b.tar", "list", "")
    assert row["reason"].startswith("not read whole: it is damaged")
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


def test_a_column_that_only_new_samples_lack_is_not_called_absent(cli: Cli, tmp_path: Path) -> None:
    table, store = tmp_path / "rows.jsonl", tmp_path / "store"
    for n in range(3):
        picture(tmp_path, f"{n}.png")
    rows = [{"path": f"{n}.png", "text": "a caption"} for n in range(2)]
    told = []
    for each in (rows, [*rows, {"path": "2.png"}]):
        table.write_text("".join(f"{json.dumps(row)}\n" for row in each))
        built = cli("build", table, store, *FLAGS, "--caption-column", "text", "--update")
        assert built.code == 0
        assert "in no sample" not in built.out
        told += [line for line in built.out.splitlines() if line.startswith("beside the media")]
    assert told == ["beside the media: captions 2 of 2",
                    "beside the media of this update: captions 0 of 1"]  # fmt: skip


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


def test_the_second_day_says_what_changed(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    (corpus / "sub").mkdir(parents=True)
    for n in range(4):
        picture(corpus / "sub", f"{n}.png")
        (corpus / f"sub/{n}.txt").write_text("a caption")
    assert cli("plan", corpus, store, *FLAGS).code == 0
    assert cli("plan", corpus, store, *FLAGS).code == 0
    picture(corpus, "new.png")
    (corpus / "new.txt").write_text("of the new one")
    (corpus / "sub/0.png").unlink()
    (corpus / "sub/1.png").write_bytes((corpus / "sub/2.png").read_bytes() + b" ")
    (corpus / "sub/2.txt").write_text("an edited caption")
    (corpus / "sub/3.txt").unlink()
    again = cli("plan", corpus, store, *FLAGS, "--json")
    assert (again.code, again.json["corpus"]["changes"]) == (
        3,
        {
            "added": {"count": 1, "example": "new.png"},
            "removed": {"count": 1, "example": "sub/0.png"},
            "changed": {"count": 1, "example": "sub/1.png"},
            "captions_added": {"count": 1, "example": "new.txt"},
            "captions_removed": {"count": 2, "example": "sub/0.txt"},
            "captions_edited": {"count": 1, "example": "sub/2.txt"},
        },
    )
    assert "corpus must be as it was planned, got 1 file added (e.g. new.png)" in again.err


def test_the_second_day_of_tars_and_tables(cli: Cli, tmp_path: Path) -> None:
    data = picture(tmp_path)
    tars, tables = tmp_path / "tars", tmp_path / "tables"
    tars.mkdir()
    tables.mkdir()
    (tars / "0.tar").write_bytes(tar_bytes([("a.png", data)]))
    for n in range(3):
        picture(tables, f"{n}.png")
    (tables / "m.csv").write_text("path\n0.png\n1.png\n2.png\n")
    places = [f"{tars}/*.tar", tables / "m.csv"]
    assert cli("plan", *places, tmp_path / "store", *FLAGS).code == 0
    (tars / "1.tar").write_bytes(tar_bytes([("b.png", data)]))
    (tables / "0.png").unlink()
    (tables / "1.png").write_bytes(data + b" ")
    (tables / "m.csv").write_text("path\n0.png\n1.png\n2.png\n3.png\n")
    again = cli("plan", *places, tmp_path / "store", *FLAGS, "--json")
    changes = {
        name: (c["count"], c["example"]) for name, c in again.json["corpus"]["changes"].items()
    }
    assert (again.code, {name: c for name, c in changes.items() if c[0]}) == (
        3,
        {
            "added": (1, "tars/1.tar"),
            "removed": (1, "tables/0.png"),
            "changed": (2, "tables/1.png"),
        },
    )
    other = cli("plan", tars, tmp_path / "store", *FLAGS)
    assert "corpora must be those that the store was planned from, got them also" in other.err


def test_a_picture_that_changed_between_two_encodings_is_refused(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for n in range(3):
        picture(corpus, f"{n}.png")
    assert cli("build", corpus, store, *FLAGS).code == 0
    kept = (corpus / "1.png").read_bytes()
    marked_picture(80, 80).save(corpus / "1.png")
    encode = ["encode", store, "--column", "second", "--encoder", "dct:block=4", *FLAGS[2:]]
    refused = cli(*encode)
    assert refused.code == 1
    assert "got 1 samples whose bytes are others now (e.g. 1.png); put the old" in refused.err
    assert list(Store.open(store).snapshot().columns) == ["latents"]
    (corpus / "1.png").write_bytes(kept)
    assert cli(*encode).code == 0
    assert sorted(Store.open(store).snapshot().columns) == ["latents", "second"]


def test_a_picture_that_changed_between_two_encodings_is_retired_if_asked(
    cli: Cli, tmp_path: Path
) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for n in range(4):
        picture(corpus, f"{n}.png")
        (corpus / f"{n}.txt").write_text(str(n))
    assert cli("build", corpus, store, *FLAGS).code == 0
    Image.new("RGB", (64, 64), (9, 9, 9)).save(corpus / "1.png")
    encode = ["encode", store, "--column", "second", "--encoder", "dct:block=4", *FLAGS[2:]]
    retired = cli(*encode, "--changed", "retire", "--json")
    assert (retired.code, retired.json["planned"], retired.json["newly_retired"]) == (0, 3, 1)
    assert "retired from every column: 1 samples whose bytes are others now (e.g. 1.png)" in (
        retired.err
    )

    columns = Store.open(store).snapshot().columns
    assert {name: view.entry.num_encoded for name, view in columns.items()} == {
        "latents": 3,
        "second": 3,
    }
    found = cli("status", store, "--json").json["corpus"]["findings"]
    assert found == [{"kind": "picture_changed", "count": 1, "examples": ["1.png"]}]
    assert cli("verify", store).code == 0
    for names in (["latents", "caption"], ["latents", "second", "caption"]):
        loader = LatentLoader(store, global_batch_size=4, columns=names, one_pass=True)
        assert sorted(text for batch in loader for text in batch["caption"]) == ["0", "2", "3"]
    # It is settled: neither a further column nor the same one again stumbles over it.
    assert cli(*encode).code == 0
    third = [name if name != "second" else "third" for name in encode]
    assert cli(*third).code == 0


def test_a_repair_says_which_pictures_are_others_by_now(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for n in range(3):
        picture(corpus, f"{n}.png")
    assert cli("build", corpus, store, *FLAGS).code == 0
    Image.new("RGB", (64, 64), (9, 9, 9)).save(corpus / "1.png")
    (tar,) = store.glob("encodings/latents/*/shards/*.tar")
    tar.write_bytes(tar.read_bytes()[:-2000])
    repaired = cli("verify", store, "--repair", "--device", "cpu")
    assert "encoded anew from other files than before: 1 samples whose bytes" in repaired.err
    assert "(e.g. 1.png)" in repaired.err


def test_a_corpus_that_changed_as_a_whole_is_not_retired(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for n in range(2):
        picture(corpus, f"{n}.png")
    assert cli("build", corpus, store, *FLAGS).code == 0
    for n in range(2):
        Image.new("RGB", (64, 64), (n, 9, 9)).save(corpus / f"{n}.png")
    encode = ["encode", store, "--column", "second", "--encoder", "dct:block=4", *FLAGS[2:]]
    refused = cli(*encode, "--changed", "retire")
    assert (refused.code, "which is all of them" in refused.err) == (1, True)
    assert len(Store.open(store).generations()) == 1


def test_a_tar_that_is_lost_in_mid_run_is_named(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for name in ("a", "b"):
        members = [(f"{name}{n}.png", picture(tmp_path)) for n in range(2)]
        (corpus / f"{name}.tar").write_bytes(tar_bytes(members))
    assert cli("plan", corpus, store, *FLAGS).code == 0
    (corpus / "b.tar").write_bytes((corpus / "b.tar").read_bytes()[:520])
    built = cli("build", corpus, store, *FLAGS, "--max-quarantine", "100%")
    assert built.code == 3
    assert "2 encoded + 2 quarantined = 4 planned" in built.out
    assert "got 1 that did not while they were encoded (e.g. b.tar, 2 samples)" in built.err
    assert "1 file of another size or time (e.g. b.tar)" in built.err
