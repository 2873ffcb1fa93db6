"""An update takes in what came, changed or went; what stayed is neither encoded nor moved."""

import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentcache.core.errors import ConfigError
from latentcache.exchange import fold_store
from latentcache.loader import LatentLoader, Source
from latentcache.plan import PlanOptions, annotate
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    PlanResult,
    Resources,
    SilentReporter,
    build,
    plan_corpus,
    retire_samples,
)
from latentcache.store import Store, verify_snapshot


def picture(path: Path, seed: int, size_px: tuple[int, int] = (72, 64)) -> None:
    """Write a drawn picture, another one for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size_px, Image.Resampling.BICUBIC).save(path)


def requests(corpus: Path, *, update: bool, may_retire: bool) -> tuple[PlanRequest, EncodeRequest]:
    options = PlanOptions(resolution_px=64, rows_per_shard=16)
    plan = PlanRequest(
        corpus_url=str(corpus),
        options=options,
        resources=Resources(),
        update=update,
        may_retire=may_retire,
    )
    encode = EncodeRequest(
        column="latents", encode=EncodeOptions(encoder="dct"), resources=Resources()
    )
    return plan, encode


def built(
    corpus: Path, store: Path, *, update: bool = False, may_retire: bool = True
) -> tuple[PlanResult, EncodeResult]:
    plan, encode = requests(corpus, update=update, may_retire=may_retire)
    return build(str(store), plan, encode, reporter=SilentReporter())


def planned(corpus: Path, store: Path, *, may_retire: bool = True) -> PlanResult:
    plan, _ = requests(corpus, update=True, may_retire=may_retire)
    return plan_corpus(str(store), plan, reporter=SilentReporter())


def counts(result: PlanResult) -> dict[str, int]:
    assert result.update is not None
    found = {name: each["count"] for name, each in result.update.as_dict().items()}
    return {name: count for name, count in found.items() if count}


def live_latents(store: Path) -> dict[str, bytes]:
    """Return the stored latents of every live sample by key, as the tars hold them."""
    loader = LatentLoader(
        Source(store=str(store)), columns=["latents"], global_batch_size=1, seed=0, one_pass=True
    )
    live = {batch["key"][0] for batch in loader}
    members: dict[str, bytes] = {}
    for name in Store.open(store).snapshot().column("latents").tar_urls():
        with tarfile.open(name.removeprefix("file://")) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                assert file is not None
                members[member.name.partition(".")[0]] = file.read()
    return {key: members[key] for key in live}


def annotation(store: Path, name: str) -> dict[str, Any]:
    """Return the values of an annotation by path, of live and retired rows."""
    opened = Store.open(store)
    values: dict[str, Any] = {}
    for generation in opened.generations():
        found = opened.annotation(generation, name)
        for unit in generation.units(rows_per_unit=16):
            for row in opened.read_rows(unit, ["path", "shard", "row"]).to_pylist():
                values[row["path"]] = found.value(row["shard"], row["row"]) if found else None
    return values


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and its store, and a copy of both to begin again from."""
    root = tmp_path_factory.mktemp("update")
    corpus = root / "now" / "corpus"
    for number in range(12):
        picture(corpus / "cats" / f"{number}.png", number)
        (corpus / "cats" / f"{number}.txt").write_text(f"cat {number}")
        picture(corpus / "dogs" / f"{number}.png", 100 + number)
    (corpus / "dogs" / "broken.png").write_bytes(b"no picture")
    built(corpus, root / "now" / "store")
    shutil.copytree(root / "now", root / "then")
    return root


def test_update_encodes_what_is_new_or_changed_and_equals_a_fresh_build(
    corpus: Path, store: Path, tmp_path: Path
) -> None:
    before = Store.open(store).snapshot().column("latents").units()
    picture(corpus / "cats" / "new.png", 7000)
    picture(corpus / "cats" / "3.png", 7001)
    picture(corpus / "dogs" / "broken.png", 7002)
    (corpus / "dogs" / "5.png").unlink()
    os.utime(corpus / "dogs" / "6.png")
    plan, encoded = built(corpus, store, update=True)
    assert counts(plan) == {"added": 1, "changed": 1, "removed": 1, "recovered": 1, "touched": 1}
    assert (encoded.newly_encoded, encoded.encoded, encoded.quarantined) == (3, 25, 0)
    after = Store.open(store).snapshot().column("latents").units()
    assert after[: len(before)] == before
    assert verify_snapshot(Store.open(store).snapshot()).ok
    _, fresh = built(corpus, tmp_path / "fresh")
    assert fresh.encoded == 25
    ours, theirs = live_latents(store), live_latents(tmp_path / "fresh")
    assert len(ours) == 25
    assert ours == theirs


def test_update_of_an_unchanged_corpus_writes_nothing(corpus: Path, store: Path) -> None:
    before = sorted(path.name for path in store.rglob("*"))
    plan, encoded = built(corpus, store, update=True)
    assert counts(plan) == {}
    assert encoded.newly_encoded == 0
    assert sorted(path.name for path in store.rglob("*")) == before


def test_files_copied_again_are_read_once_and_never_encoded(corpus: Path, store: Path) -> None:
    for path in corpus.rglob("*.png"):
        os.utime(path, (1, 1))
    plan, encoded = built(corpus, store, update=True, may_retire=False)
    assert counts(plan) == {"touched": 24}
    assert encoded.newly_encoded == 0
    again, _ = built(corpus, store, update=True)
    assert counts(again) == {}
    plain, _ = built(corpus, store)
    assert not plain.changes.sentence


@pytest.mark.parametrize("time_s", [1, 2**33], ids=["past", "future"])
def test_a_clock_that_is_off_hides_no_change(corpus: Path, store: Path, time_s: int) -> None:
    picture(corpus / "cats" / "3.png", 7001)
    picture(corpus / "cats" / "new.png", 7000)
    for name in ("3.png", "new.png"):
        os.utime(corpus / "cats" / name, (time_s, time_s))
    plan, encoded = built(corpus, store, update=True)
    assert counts(plan) == {"added": 1, "changed": 1}
    assert encoded.newly_encoded == 2
    assert counts(built(corpus, store, update=True)[0]) == {}


def test_an_update_after_a_fold_knows_every_sample(corpus: Path, store: Path) -> None:
    for number in range(3):
        picture(corpus / "cats" / f"new{number}.png", 7000 + number)
        (corpus / "cats" / f"new{number}.txt").write_text(f"new cat {number}")
        built(corpus, store, update=True)
    before = live_latents(store)
    done = fold_store(Store.open(store), dry_run=False, on_progress=lambda *_: None)
    assert (done.num_samples, done.num_generations, done.num_shards) == (3, 3, 1)
    assert live_latents(store) == before
    plan, encoded = built(corpus, store, update=True)
    assert (counts(plan), encoded.newly_encoded) == ({}, 0)
    (corpus / "cats" / "new0.txt").write_text("an old cat by now")
    picture(corpus / "cats" / "new1.png", 8000)
    (corpus / "cats" / "new2.png").unlink()
    plan, _ = built(corpus, store, update=True)
    assert counts(plan) == {"changed": 1, "removed": 1, "edited": 1}


def test_moved_corpus_encodes_nothing_and_is_found_by_the_next_column(
    corpus: Path, store: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(corpus, moved)
    plan, encoded = built(moved, store, update=True, may_retire=False)
    assert counts(plan) == {}
    assert encoded.newly_encoded == 0
    assert Store.open(store).generations()[-1].corpus_url == str(moved)
    picture(moved / "cats" / "late.png", 9)
    _, encoded = built(moved, store, update=True)
    assert encoded.newly_encoded == 1


def test_update_that_would_retire_much_stops_and_changes_nothing(corpus: Path, store: Path) -> None:
    shutil.rmtree(corpus / "dogs")
    with pytest.raises(ConfigError, match=r"13 removed.*--allow-retire"):
        built(corpus, store, update=True, may_retire=False)
    assert len(Store.open(store).generations()) == 1
    plan, encoded = built(corpus, store, update=True)
    # The refused file of the folder is gone with it.
    assert counts(plan) == {"removed": 13}
    assert (encoded.planned, encoded.encoded, encoded.quarantined) == (12, 12, 0)
    assert len(live_latents(store)) == 12


def test_edited_captions_and_classes_are_revised_without_encoding(
    corpus: Path, store: Path
) -> None:
    (corpus / "cats" / "1.txt").write_text("a tabby")
    (corpus / "cats" / "2.txt").unlink()
    (corpus / "dogs" / "7.txt").write_text("a dog")
    picture(corpus / "ants" / "0.png", 50)
    plan, encoded = built(corpus, store, update=True)
    assert counts(plan) == {"edited": 3, "added": 1}
    assert encoded.newly_encoded == 1
    captions = annotation(store, "caption")
    assert captions["cats/1.png"] == "a tabby"
    assert captions["cats/2.png"] is None
    assert captions["cats/3.png"] == "cat 3"
    assert captions["dogs/7.png"] == "a dog"
    labels = annotation(store, "label")
    # Classes that are there keep their numbers, whatever the order of the names.
    assert {labels["cats/0.png"], labels["dogs/0.png"], labels["ants/0.png"]} == {0, 1, 2}
    assert (labels["cats/0.png"], labels["ants/0.png"]) == (0, 2)
    assert counts(planned(corpus, store)) == {}


def test_classes_that_an_update_brought_are_known_to_a_table(
    corpus: Path, store: Path, tmp_path: Path
) -> None:
    picture(corpus / "ants" / "0.png", 50)
    built(corpus, store, update=True)
    (tmp_path / "labels.csv").write_text("path,label\ncats/0.png,ants\n")
    annotate(Store.open(store), str(tmp_path / "labels.csv"), PlanOptions())
    labels = annotation(store, "label")
    assert labels["cats/0.png"] == labels["ants/0.png"] == 2


def test_what_was_annotated_stays_until_its_caption_file_is_edited(
    corpus: Path, store: Path, tmp_path: Path
) -> None:
    table = tmp_path / "given.csv"
    table.write_text(
        "path,caption,label,score\n"
        "dogs/3.png,a hound,dogs,0.5\n"  # has no caption file
        "cats/1.png,a lynx,cats,0.25\n"
        "dogs/2.png,no dog,cats,\n"
    )
    annotate(Store.open(store), str(table), PlanOptions())
    picture(corpus / "dogs" / "new.png", 77)
    (corpus / "cats" / "2.txt").write_text("a tabby")
    assert counts(planned(corpus, store)) == {"added": 1, "edited": 1, "annotated": 3}
    captions = annotation(store, "caption")
    assert captions["dogs/3.png"] == "a hound"
    assert captions["cats/1.png"] == "a lynx"
    assert captions["dogs/2.png"] == "no dog"
    assert captions["cats/2.png"] == "a tabby"
    assert annotation(store, "score")["dogs/3.png"] == 0.5
    names = annotation(store, "label_name")
    assert (names["dogs/2.png"], names["dogs/4.png"]) == ("cats", "dogs")
    labels = annotation(store, "label")
    assert labels["dogs/2.png"] == labels["cats/0.png"] != labels["dogs/4.png"]

    # The corpus has the last word about a caption file that was edited afterwards ...
    (corpus / "cats" / "1.txt").write_text("a cat after all")
    (corpus / "dogs" / "3.txt").write_text("a dog after all")
    assert counts(planned(corpus, store)) == {"edited": 2, "annotated": 3}
    captions = annotation(store, "caption")
    assert captions["cats/1.png"] == "a cat after all"
    assert captions["dogs/3.png"] == "a dog after all"
    # ... and the value is the corpus' again from then on.
    (corpus / "dogs" / "3.txt").unlink()
    assert counts(planned(corpus, store)) == {"edited": 1, "annotated": 3}
    assert annotation(store, "caption")["dogs/3.png"] is None


def test_second_caption_edit_is_seen_too(corpus: Path, store: Path) -> None:
    for text in ("first", "second one", "third"):
        (corpus / "cats" / "1.txt").write_text(text)
        assert counts(planned(corpus, store)) == {"edited": 1}
        assert annotation(store, "caption")["cats/1.png"] == text
    assert Store.open(store).snapshot().number == 4


def write_tar(path: Path, seeds: range, *, mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # a mode of ours
        for seed in seeds:
            data = io.BytesIO()
            coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((64, 64)).save(data, "PNG")
            for name, content in ((f"{seed}.png", data.getvalue()), (f"{seed}.txt", b"text")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def test_members_added_to_a_tar_are_the_only_ones_encoded(tmp_path: Path) -> None:
    tars, store = tmp_path / "tars", tmp_path / "store"
    tars.mkdir()
    write_tar(tars / "a.tar", range(10))
    write_tar(tars / "b.tar", range(20, 30))
    built(tars, store)
    write_tar(tars / "a.tar", range(10, 12), mode="a")
    plan, encoded = built(tars, store, update=True, may_retire=False)
    assert counts(plan) == {"added": 2, "touched": 10}
    assert (encoded.newly_encoded, encoded.encoded) == (2, 22)
    assert counts(planned(tars, store)) == {}


def test_samples_of_a_tar_that_cannot_be_read_today_are_kept(tmp_path: Path) -> None:
    tars, store = tmp_path / "tars", tmp_path / "store"
    tars.mkdir()
    write_tar(tars / "a.tar", range(10))
    write_tar(tars / "b.tar", range(20, 30))
    built(tars, store)
    (tars / "a.tar").write_bytes(b"\0" * 100)
    plan = planned(tars, store, may_retire=False)
    assert counts(plan) == {"unreadable": 10}
    assert Store.open(store).snapshot().column("latents").num_encoded == 20


def test_rows_of_one_picture_and_their_edits_are_compared_as_one_sample(tmp_path: Path) -> None:
    folder, store = tmp_path / "media", tmp_path / "store"
    rows = []
    for number in range(20):
        picture(folder / f"{number}.png", number)
        rows += [(f"{number}.png", f"first {number}"), (f"{number}.png", f"second {number}")]
    table = folder / "table.csv"

    def write() -> None:
        lines = [f"{path},{caption}" for path, caption in rows]
        table.write_text("\n".join(["path,caption", *lines]) + "\n")

    write()
    built(table, store)
    assert counts(planned(table, store)) == {}
    rows[7] = ("3.png", "another")
    write()
    assert counts(planned(table, store)) == {"edited": 1}
    assert annotation(store, "caption")["3.png"] == ["first 3", "another"]
    assert annotation(store, "caption")["4.png"] == ["first 4", "second 4"]


def test_values_of_another_type_than_the_plans_are_refused(tmp_path: Path) -> None:
    folder, store = tmp_path / "media", tmp_path / "store"
    for number in range(4):
        picture(folder / f"{number}.png", number)
    table = folder / "table.jsonl"
    table.write_text("".join(f'{{"path": "{n}.png", "score": {n}}}\n' for n in range(3)))
    built(table, store)
    table.write_text(table.read_text() + '{"path": "3.png", "score": "high"}\n')
    with pytest.raises(ConfigError, match=r"annotations must keep their type.*score"):
        planned(table, store)
    assert len(Store.open(store).generations()) == 1


def test_update_with_a_limit_or_of_an_empty_corpus_is_refused(corpus: Path, store: Path) -> None:
    plan, encode = requests(corpus, update=True, may_retire=True)
    limited = PlanRequest(
        corpus_url=str(corpus),
        options=PlanOptions(resolution_px=64, rows_per_shard=16, limit=3),
        resources=Resources(),
        update=True,
    )
    with pytest.raises(ConfigError, match="whole corpus"):
        build(str(store), limited, encode, reporter=SilentReporter())
    shutil.rmtree(corpus)
    corpus.mkdir()
    with pytest.raises(ConfigError, match="empty or missing"):
        build(str(store), plan, encode, reporter=SilentReporter())
    assert Store.open(store).snapshot().column("latents").num_encoded == 24


def test_training_that_began_before_an_update_keeps_its_order(corpus: Path, store: Path) -> None:
    def first_keys(loader: LatentLoader) -> list[str]:
        return [key for batch, _ in zip(loader, range(6), strict=False) for key in batch["key"]]

    source = Source(store=str(store), snapshot=1)
    before = first_keys(LatentLoader(source, columns=["latents"], global_batch_size=4, seed=3))
    picture(corpus / "cats" / "new.png", 7000)
    (corpus / "dogs" / "5.png").unlink()
    built(corpus, store, update=True)
    again = first_keys(LatentLoader(source, columns=["latents"], global_batch_size=4, seed=3))
    assert again == before


def test_samples_taken_down_leave_every_later_snapshot_and_never_come_back(
    corpus: Path, store: Path
) -> None:
    opened = Store.open(store)
    keys = set(live_latents(store))
    result = retire_samples(opened, ["cats/3.png", "dogs/4.png", "no/such.png"])
    assert (result.num_retired, result.unknown, result.snapshot) == (2, ("no/such.png",), 2)
    assert len(live_latents(store)) == 22
    plain, _ = built(corpus, store)
    assert not plain.changes.sentence  # the files are there, and it is known
    picture(corpus / "cats" / "3.png", 9000)
    picture(corpus / "cats" / "new.png", 9001)
    plan, encoded = built(corpus, store, update=True)
    assert counts(plan) == {"added": 1, "taken_down": 2}
    assert encoded.newly_encoded == 1
    left = set(live_latents(store))
    assert len(left & keys) == 22
    assert len(left) == 23
    again = retire_samples(opened, [next(iter(keys - left))])
    assert (again.num_retired, again.num_before, again.snapshot) == (0, 1, None)


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "must be named"), (["nothing.png"], "no live sample has"), (["all"], "some samples")],
)
def test_takedown_of_nothing_or_everything_is_refused(
    corpus: Path, store: Path, names: list[str], words: str
) -> None:
    if names == ["all"]:
        names = list(live_latents(store))
    with pytest.raises(ConfigError, match=words):
        retire_samples(Store.open(store), names)
    assert Store.open(store).snapshots() == [1]
