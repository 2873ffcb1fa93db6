"""A column of texts: encoded as captions are now, once for each distinct one, whatever happens."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from latentcache.cli.entry import run
from latentcache.core.errors import ConfigError
from latentcache.encoders import EncoderOptions
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Reporter,
    Resources,
    SilentReporter,
    build,
    encode_column,
    num_stale,
)
from latentcache.store import Store, TensorBytes, verify_snapshot
from latentcache.testing.drawn import write_drawn_corpus
from latentcache.testing.text_fakes import MARK, SEEN_VARIABLE, MuteTower, WordTower

RESOURCES = Resources(num_actors=1)
FAKES = "latentcache.testing.text_fakes"
WORDS = f"{FAKES}:WordTower"
CAPTIONS = ("a red circle", "two violet stars", "a large green square on yellow", "")
NUM_ROWS = 24


class Telling(SilentReporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 pictures whose captions repeat; the last two have none."""
    home = tmp_path_factory.mktemp("texts")
    for index, path in enumerate(write_drawn_corpus(home / "corpus", NUM_ROWS, size_px=64)):
        path.with_suffix(".txt").write_text(CAPTIONS[index % 4] or " ")
        if index >= NUM_ROWS - 2:
            path.with_suffix(".txt").unlink()
    build(
        str(home / "store"),
        PlanRequest(
            corpus_url=str(home / "corpus"),
            options=PlanOptions(resolution_px=64, rows_per_shard=16, min_bucket=NUM_ROWS),
            resources=RESOURCES,
        ),
        EncodeRequest(column="latents", encode=EncodeOptions(), resources=RESOURCES),
        reporter=SilentReporter(),
    )
    return home / "store"


@pytest.fixture
def store(planned: Path, tmp_path: Path) -> Store:
    """A copy of the store, with four captions that repeat."""
    shutil.copytree(planned, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    keys = sorted(keys_of(store))
    revise(store, {key: CAPTIONS[n % 4] for n, key in enumerate(keys[:-2])})
    return store


@pytest.fixture(scope="module")
def encoded(planned: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The store with its captions encoded, and the texts of each batch."""
    home = tmp_path_factory.mktemp("encoded")
    shutil.copytree(planned, home / "store")
    store = Store.open(home / "store")
    keys = sorted(keys_of(store))
    revise(store, {key: CAPTIONS[n % 4] for n, key in enumerate(keys[:-2])})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SEEN_VARIABLE, str(home / "seen"))
        result = encode_texts(store, WORDS)
    assert (result.encoded, result.quarantined, result.missing) == (NUM_ROWS, 0, 0)
    return home / "store", [json.loads(line) for line in (home / "seen").read_text().splitlines()]


def encode_texts(
    store: Store, encoder: str, reporter: Reporter | None = None, **options: Any
) -> EncodeResult:
    request = EncodeRequest(
        column="text",
        encode=EncodeOptions(encoder=encoder, input="text:caption", is_offline=True),
        resources=RESOURCES,
        **options,
    )
    return encode_column(store.folder.url, request, reporter=reporter or SilentReporter())


def keys_of(store: Store) -> dict[str, tuple[int, int]]:
    """Return shard and row of each key."""
    (generation,) = store.generations()
    return {
        row["key"]: (unit.unit.shard, row["row"])
        for unit in generation.units(rows_per_unit=16)
        for row in store.read_rows(unit, ["key", "row"]).to_pylist()
    }


def captions_of(store: Store) -> dict[str, Any]:
    """Return the caption of each key as it is now."""
    (generation,) = store.generations()
    annotation = store.annotation(generation, "caption")
    assert annotation is not None
    return {key: annotation.value(*place) for key, place in keys_of(store).items()}


def revise(store: Store, captions: dict[str, Any], kind: Any = None) -> None:
    """Write a revision that has these captions and no others."""
    (generation,) = store.generations()
    rows = sorted((*place, captions.get(key)) for key, place in keys_of(store).items())
    shards, numbers, values = zip(*rows, strict=True)
    value = pa.array(values, kind or pa.string())
    table = pa.table({"shard": pa.array(shards), "row": pa.array(numbers), "value": value})
    store.write_annotations(generation, "caption", [table])


def samples(store: Store, name: str = "z") -> Iterator[tuple[str, np.ndarray]]:
    for key, _, _, fields in store.snapshot().columns["text"].iter_samples():
        value = fields[name]
        assert not isinstance(value, TensorBytes)
        yield key, value


def words(text: str, name: str = "z") -> np.ndarray:
    return WordTower(EncoderOptions()).encode_text(text)[name].half().numpy()


def test_each_row_holds_its_caption_encoded(encoded: tuple[Path, list[Any]]) -> None:
    store = Store.open(encoded[0])
    lengths, pooled = dict(samples(store, "lengths")), dict(samples(store, "pooled"))
    captions = captions_of(store)
    assert sum(caption is None for caption in captions.values()) == 2
    for key, value in samples(store):
        caption = captions[key]
        if caption is None:
            assert (value.shape, lengths[key].shape, pooled[key].shape) == ((0, 8), (0,), (0, 8))
        else:
            np.testing.assert_array_equal(value, words(caption))
            np.testing.assert_array_equal(pooled[key], words(caption, "pooled"))
            assert lengths[key].tolist() == [len(value)]
    assert verify_snapshot(store.snapshot()).ok


def test_the_empty_text_is_encoded_once_under_its_name(encoded: tuple[Path, list[Any]]) -> None:
    view = Store.open(encoded[0]).snapshot().columns["text"]
    assert [text.name for text in view.entry.texts] == ["empty"]
    np.testing.assert_array_equal(view.text_fields("empty")["z"], words(""))


def test_each_distinct_text_of_a_unit_is_encoded_once(encoded: tuple[Path, list[Any]]) -> None:
    store = Store.open(encoded[0])
    units = store.units(store.snapshot().columns["text"].record)
    captions, places = captions_of(store), keys_of(store)
    given = [text for batch in encoded[1] for text in batch]
    for text in CAPTIONS[:3]:
        shards = {places[key][0] for key, caption in captions.items() if caption == text}
        assert given.count(text) == len(shards) <= len(units)


def test_a_revised_caption_makes_just_its_row_stale(
    encoded: tuple[Path, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(encoded[0], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    before, captions = dict(samples(store)), captions_of(store)
    first, second = [key for key, text in captions.items() if text == "a red circle"][:2]
    captions.update({first: "a blue ring", second: None})
    revise(store, captions)
    monkeypatch.setenv(SEEN_VARIABLE, str(tmp_path / "seen"))
    telling = Telling()
    (record,) = store.encodings("text")
    assert num_stale(store, record) == 2
    assert encode_texts(store, WORDS, telling).encoded == NUM_ROWS
    assert num_stale(store, record) == 0
    assert any("2 samples have another caption" in line for line in telling.said)
    lines = (tmp_path / "seen").read_text().splitlines()
    given = [text for line in lines for text in json.loads(line)]
    assert {*given} & {*captions.values()} == {"a blue ring"} | ({""} & {*given})
    after = dict(samples(store))
    np.testing.assert_array_equal(after[first], words("a blue ring"))
    assert after[second].shape == (0, 8)
    for key in captions.keys() - {first, second}:
        np.testing.assert_array_equal(after[key], before[key])
    assert verify_snapshot(store.snapshot()).ok
    # Its bytes are those of a store in which the captions never were others.
    fresh = Store.open(shutil.copytree(encoded[0], tmp_path / "fresh"))
    shutil.rmtree(tmp_path / "fresh" / "encodings" / "text")
    for path in (tmp_path / "fresh" / "snapshots").glob("2.*"):
        path.unlink()
    revise(fresh, captions)
    encode_texts(fresh, WORDS)
    tars = [
        [entry.tar.sha256 for entry in each.snapshot().columns["text"].units() if entry.tar]
        for each in (store, fresh)
    ]
    metas = [
        [entry.meta.sha256 for entry in each.snapshot().columns["text"].units()]
        for each in (store, fresh)
    ]
    assert tars[0] == tars[1]
    assert metas[0] == metas[1]


def test_lists_of_captions_are_encoded_one_after_the_other(store: Store) -> None:
    captions = {key: [CAPTIONS[n % 3], CAPTIONS[2]][: 1 + n % 2]
                for n, key in enumerate(keys_of(store))}  # fmt: skip
    revise(store, captions, pa.list_(pa.string()))
    telling = Telling()
    encode_texts(store, f"{WORDS}?max_length=5", telling, negative="blurry, of low quality")
    tower = WordTower(EncoderOptions(knobs={"max_length": 5}))
    lengths = dict(samples(store, "lengths"))
    for key, value in samples(store):
        parts = [tower.encode_text(text)["z"].half().numpy() for text in captions[key]]
        np.testing.assert_array_equal(value, np.concatenate(parts))
        assert lengths[key].tolist() == [len(part) for part in parts]
    num_cut = sum(CAPTIONS[2] in texts for texts in captions.values())
    assert any(f"{num_cut} samples have a text longer than 5 tokens" in s for s in telling.said)
    view = store.snapshot().columns["text"]
    assert [text.name for text in view.entry.texts] == ["empty", "negative"]
    np.testing.assert_array_equal(
        view.text_fields("negative")["z"], words("blurry, of low quality")
    )


def test_a_text_that_the_encoder_refuses_costs_its_rows_alone(store: Store) -> None:
    captions = captions_of(store)
    bad = [key for key, text in captions.items() if text == "two violet stars"]
    captions.update(dict.fromkeys(bad, f"an {MARK} thing"))
    revise(store, captions)
    result = encode_texts(store, f"{FAKES}:{MuteTower.__name__}")
    assert (result.encoded, result.quarantined) == (NUM_ROWS - len(bad), len(bad))
    quarantine = store.snapshot().columns["text"].quarantine().to_pylist()
    assert {row["key"] for row in quarantine} == {*bad}
    assert all("not to my taste" in row["reason"] for row in quarantine)


@pytest.mark.parametrize(
    ("asked", "spoil", "sentence"),
    [
        ("text:prompt", None, "annotation must be one of caption, .*got 'prompt'"),
        ("text:caption", pa.int64(), "annotation caption must be texts to be encoded, got int64"),
    ],
)
def test_what_is_no_text_is_refused_before_any_work(
    store: Store, asked: str, spoil: Any, sentence: str
) -> None:
    if spoil is not None:
        revise(store, dict.fromkeys(keys_of(store), 3), spoil)
    request = EncodeRequest(
        column="text", encode=EncodeOptions(encoder=WORDS, input=asked), resources=RESOURCES
    )
    with pytest.raises(ConfigError, match=sentence):
        encode_column(store.folder.url, request, reporter=SilentReporter())


def test_commands_look_at_a_column_of_texts(
    encoded: tuple[Path, list[Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = str(encoded[0])
    key = next(iter(keys_of(Store.open(home))))
    assert run(["verify", home]) == 0
    assert run(["stats", home, "--column", "text"]) == 0
    assert run(["status", home]) == 0
    assert "text" in capsys.readouterr().out
    assert run(["show", home, key, "--column", "text"]) == 1
    err = capsys.readouterr().err
    assert "column must be of pixels to be looked at, got" in err
