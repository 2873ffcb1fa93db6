"""Several rows of a sample in a real store: encoded, revised, updated and taken down together."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentcache.core.errors import StoreError
from latentcache.evaluate import find_sample
from latentcache.evaluate.planned import read_pixels
from latentcache.exchange import copy_subset
from latentcache.loader import LatentLoader, Source
from latentcache.plan import PlanOptions, annotate
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    PlanResult,
    Resources,
    SilentReporter,
    build,
    plan_corpus,
    retire_samples,
)
from latentcache.store import Store, num_samples, verify_snapshot
from latentcache.store.rows import PLACED_PLAN_SCHEMA, iter_rows

PLACED: dict[str, Any] = {"resolution_px": (64, 128), "crops": 2, "flip": "horizontal"}
NUM_SQUARE, NUM_WIDE = 4, 5


def picture(path: Path, seed: int, size_px: tuple[int, int]) -> None:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size_px, Image.Resampling.BICUBIC).save(path)


def request(corpus: Path, *, update: bool = False, **options: Any) -> PlanRequest:
    return PlanRequest(
        corpus_url=str(corpus),
        options=PlanOptions(rows_per_shard=16, **options),
        resources=Resources(),
        update=update,
        may_retire=True,
    )


def built(corpus: Path, store: Path, *, update: bool = False, **options: Any) -> PlanResult:
    encode = EncodeRequest(
        column="latents", encode=EncodeOptions(encoder="dct"), resources=Resources()
    )
    plan = request(corpus, update=update, **options)
    found, encoded = build(str(store), plan, encode, reporter=SilentReporter())
    assert encoded.encoded == encoded.planned
    return found


def planned(corpus: Path, store: Path, **options: Any) -> PlanResult:
    asked = request(corpus, update=True, **options)
    return plan_corpus(str(store), asked, reporter=SilentReporter())


def rows_of(store: Path) -> list[dict[str, Any]]:
    opened = Store.open(store)
    return [
        {**row, "generation": generation.number}
        for generation in opened.generations()
        for table in iter_rows(opened.folder, generation, PLACED_PLAN_SCHEMA.names)
        for row in table.to_pylist()
    ]


def captions(store: Path) -> dict[str, set[str | None]]:
    opened, found = Store.open(store), {}
    generations = opened.generations()
    for row in rows_of(store):
        values = opened.annotation(generations[row["generation"]], "caption")
        value = values.value(row["shard"], row["row"]) if values else None
        found.setdefault(row["path"], set()).add(value)
    return found


def seen(store: Path, **source: Any) -> Counter[str]:
    """Return how often a pass shows each path."""
    given = Source(store=str(store), **source)
    loader = LatentLoader(given, columns=["latents", "path"], global_batch_size=1, one_pass=True)
    return Counter(path for batch in loader for path in batch["path"])


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one placement a sample to which placements were added by an update."""
    root = tmp_path_factory.mktemp("placements")
    corpus = root / "now" / "corpus"
    corpus.mkdir(parents=True)
    for number in range(NUM_SQUARE):
        picture(corpus / f"square{number}.png", number, (64, 64))
        (corpus / f"square{number}.txt").write_text(f"square {number}")
    mirrored = Image.open(corpus / "square0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(corpus / "square3.png")
    for number in range(NUM_WIDE):
        picture(corpus / f"wide{number}.png", 50 + number, (330, 170))
    built(corpus, root / "now" / "store", resolution_px=64)
    built(corpus, root / "now" / "store", update=True, **PLACED)
    shutil.copytree(root / "now", root / "then")
    return root


def test_a_flipped_row_is_the_encoding_of_the_mirrored_picture(corpus: Path, store: Path) -> None:
    loader = LatentLoader(
        Source(store=str(store), filter='resolution_px == 64 and startswith(path, "square")'),
        columns=["latents", "path", "is_flipped"],
        global_batch_size=1,
        one_pass=True,
        normalize=False,
    )
    found = {
        (batch["path"][0], bool(batch["is_flipped"][0])): batch["latents"].numpy()
        for batch in loader
    }
    assert np.array_equal(found["square0.png", True], found["square3.png", False])
    assert np.array_equal(found["square3.png", True], found["square0.png", False])
    assert not np.array_equal(found["square0.png", True], found["square0.png", False])
    column = Store.open(store).snapshot().column("latents")
    by_place = {
        (row["path"], row["resolution_px"], row["crop_index"], row["is_flipped"]): row["key"]
        for row in rows_of(store)
    }
    for (path, resolution, crop, is_flipped), key in by_place.items():
        if is_flipped and path == "wide0.png":
            sample = find_sample(column, key)
            plain = find_sample(column, by_place[path, resolution, crop, False])
            pixels, other = (read_pixels(each, column.record) for each in (sample, plain))
            assert np.array_equal(pixels, other[:, ::-1])
            assert sample.placement is not None
            assert sample.placement.label.endswith("mirrored")


def test_added_placements_leave_rows_as_they_were_and_bring_their_captions(
    corpus: Path, store: Path, tmp_path: Path
) -> None:
    rows = rows_of(store)
    assert {row["generation"] for row in rows if row["resolution_px"] == 128} == {1}
    fresh = tmp_path / "fresh"
    plan_corpus(str(fresh), request(corpus, **PLACED), reporter=SilentReporter())
    facts = ("key", "path", "bucket", "resolution_px", "crop_index", "is_flipped", "crop_left_px")
    assert {tuple(row[name] for name in facts) for row in rows} == {
        tuple(row[name] for name in facts) for row in rows_of(fresh)
    }
    assert captions(store) == captions(fresh)
    assert captions(store)["square1.png"] == {"square 1"}
    assert num_samples(Store.open(store)) == num_samples(Store.open(fresh)) == 9
    again = planned(corpus, store, **PLACED)
    assert (again.is_new, again.num_samples) == (False, 9)
    assert verify_snapshot(Store.open(store).snapshot()).ok


def test_what_is_annotated_edited_changed_or_removed_reaches_all_rows(
    corpus: Path, store: Path, tmp_path: Path
) -> None:
    table = tmp_path / "told.jsonl"
    told = [{"path": "square1.png", "caption": "told"}, {"path": "wide1.png", "caption": "wide"}]
    table.write_text("\n".join(map(json.dumps, told)))
    annotate(Store.open(store), str(table), PlanOptions())
    (corpus / "square2.txt").write_text("edited")
    picture(corpus / "wide2.png", 999, (330, 170))
    (corpus / "wide3.png").unlink()
    picture(corpus / "wide9.png", 998, (330, 170))
    found = built(corpus, store, update=True, **{**PLACED, "crops": 3})
    assert found.num_samples == 9
    assert found.update is not None
    told_of = {name: each["count"] for name, each in found.update.as_dict().items()}
    # Counted by sample, though wide ones have eight rows each.
    assert (told_of["changed"], told_of["removed"], told_of["added"]) == (1, 1, 1)
    assert (told_of["edited"], told_of["annotated"]) == (1, 1)
    by_path = captions(store)
    assert by_path["square1.png"] == {"told"}
    assert by_path["wide1.png"] == {"wide"}
    assert by_path["square2.png"] == {"edited"}
    shown = seen(store)
    assert "wide3.png" not in shown
    # Three crops, mirrored and not, at two resolutions; squares have nowhere to go.
    assert {shown[f"wide{number}.png"] for number in (0, 1, 2, 4, 9)} == {12}
    assert {shown[f"square{number}.png"] for number in range(4)} == {4}
    again = planned(corpus, store, **{**PLACED, "crops": 3})
    assert again.update is not None
    # What was given keeps its say in rows that were added later, too.
    assert {name for name, each in again.update.as_dict().items() if each["count"]} <= {"annotated"}
    assert captions(store)["square1.png"] == {"told"}


def test_a_path_takes_all_rows_out_and_a_key_one(corpus: Path, store: Path) -> None:
    (key,) = (
        row["key"]
        for row in rows_of(store)
        if (row["path"], row["resolution_px"], row["crop_index"]) == ("wide0.png", 128, 1)
        and row["is_flipped"]
    )
    assert retire_samples(Store.open(store), [key]).num_retired == 1
    assert retire_samples(Store.open(store), ["wide1.png"]).num_retired == 8
    shown = seen(store)
    assert (shown["wide0.png"], shown["wide1.png"], shown["wide2.png"]) == (7, 0, 8)
    # A file that is planned anew does not bring back the row that was taken down.
    picture(corpus / "wide0.png", 1234, (330, 170))
    built(corpus, store, update=True, **PLACED)
    assert seen(store)["wide0.png"] == 7


def test_filters_choose_placements_and_the_split_is_by_medium(store: Path) -> None:
    large = seen(store, filter="resolution_px == 128 and crop_index == 0 and not is_flipped")
    assert set(large.values()) == {1}
    assert len(large) == 9
    sides = [seen(store, split=side, holdout=0.5) for side in ("train", "val")]
    assert not set(sides[0]) & set(sides[1])
    assert sides[0] + sides[1] == seen(store)


def test_a_copy_keeps_placements_and_makes_one_generation(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    snapshot = Store.open(store).snapshot()
    copy_subset(snapshot, copy, filter_text="is_flipped", on_progress=lambda *_: None)
    rows = rows_of(copy)
    assert {row["generation"] for row in rows} == {0}
    assert all(row["is_flipped"] for row in rows)
    assert {row["resolution_px"] for row in rows} == {64, 128}
    assert seen(copy) == seen(store, filter="is_flipped")


def test_plans_with_other_options_are_refused_still(corpus: Path, store: Path) -> None:
    with pytest.raises(StoreError, match="plan options must be those of the store's plan"):
        plan_corpus(str(store), request(corpus, resolution_px=(64, 256)), reporter=SilentReporter())
