"""Embedded texts in a batch: padded, masked, drawn with their caption, dropped to the empty one."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader, LoaderOptions
from latentcache.loader.text.text_draws import chosen_text
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.written_columns import write_column

SQUARE = Bucket(1, 32, 32)
NUM_ROWS, CHANNELS = 40, 6
EMPTY = np.full((2, CHANNELS), 0.5, np.float16)


def captions_of(number: int) -> list[str]:
    """Return no, one or two captions of a row."""
    return [f"caption {number} {n}" for n in range(number % 3)]


def states_of(caption: str) -> np.ndarray:
    draw = np.random.default_rng(int(hashlib.sha256(caption.encode()).hexdigest()[:8], 16))
    return draw.normal(size=(1 + len(caption) * 7 % 5, CHANNELS)).astype(np.float16)


def pooled_of(caption: str) -> np.ndarray:
    return states_of(caption).mean(0).astype(np.float16)


def add_texts(store: Store, name: str, *, keep: int = 0) -> None:
    """Write a column of texts as an encoder of them leaves it."""
    fields = (
        Field(name="z", kind="point", axes="NC", channels=CHANNELS, dtype="float16"),
        Field(name="lengths", kind="aux", axes="K", channels=None, dtype="int32"),
        Field(name="pooled", kind="aux", axes="KC", channels=CHANNELS, dtype="float16"),
    )
    write_column(
        store,
        name,
        fields,
        lambda shard, row: _fields(captions_of(16 * shard + row), keep),
        spec={"modality": "text", "knobs": {"keep_padding": bool(keep)}},
        transform={"kind": "text", "input": "text:caption"},
        empty={
            "z": np.pad(EMPTY, ((0, max(0, keep - 2)), (0, 0))),
            "lengths": np.array([2], np.int32),
            "pooled": EMPTY[:1],
        },
    )


def _fields(texts: list[str], keep: int) -> dict[str, np.ndarray]:
    states = [states_of(text) for text in texts]
    stored = [np.pad(each, ((0, max(0, keep - len(each))), (0, 0))) for each in states]
    return {
        "z": np.concatenate([np.zeros((0, CHANNELS), np.float16), *stored]),
        "lengths": np.array([len(each) for each in states], np.int32),
        "pooled": np.array([pooled_of(text) for text in texts], np.float16).reshape(-1, CHANNELS),
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("texts") / "store")
    add_generation(store, [(SQUARE, NUM_ROWS, 16)])
    add_column(store, SyntheticColumn(rows_per_unit=16))
    (generation,) = store.generations()
    places = [divmod(number, 16) for number in range(NUM_ROWS)]
    shards, rows = zip(*places, strict=True)
    values = pa.array([captions_of(n) for n in range(NUM_ROWS)], pa.list_(pa.string()))
    table = pa.table({"shard": pa.array(shards), "row": pa.array(rows), "value": values})
    store.write_annotations(generation, "caption", [table])
    add_texts(store, "text")
    add_texts(store, "padded", keep=5)
    return store


def batches(store: Store, count: int = 20, **options: float) -> list[dict[str, object]]:
    loader = LatentLoader(
        store,
        columns=["latents", "text", "padded", "caption"],
        global_batch_size=8,
        seed=3,
        options=LoaderOptions(**options),  # type: ignore[arg-type]  # test shorthand
    )
    return [dict(batch) for batch in itertools.islice(loader, count)]


def test_each_sample_has_the_embedding_of_the_caption_that_was_drawn(store: Store) -> None:
    drawn: dict[int, set[str]] = {}
    for batch in batches(store):
        text, mask = batch["text"], batch["text.mask"]
        kept, valid = batch["padded"], batch["padded.mask"]
        assert isinstance(text, torch.Tensor)
        assert isinstance(kept, torch.Tensor)
        assert text.shape[:2] == mask.shape  # type: ignore[attr-defined]
        assert kept.shape == (8, 5, CHANNELS)
        for index, (number, caption) in enumerate(zip(batch["row"].tolist(), batch["caption"])):  # type: ignore[attr-defined, call-overload]  # noqa: B905
            expected = EMPTY if caption is None else states_of(caption)
            np.testing.assert_array_equal(text[index][mask[index]].numpy(), expected)  # type: ignore[index]
            np.testing.assert_array_equal(kept[index][valid[index]].numpy(), expected)  # type: ignore[index]
            assert not text[index][~mask[index]].any()  # type: ignore[index]
            pooled = EMPTY[0] if caption is None else pooled_of(caption)
            np.testing.assert_array_equal(batch["text.pooled"][index].numpy(), pooled)  # type: ignore[index]
            drawn.setdefault(number, set()).add(caption)
        assert not batch["text.dropped"].any()  # type: ignore[attr-defined]
    assert any(len(each) == 2 for each in drawn.values())


def test_dropped_samples_have_the_empty_text_in_all_columns(store: Store) -> None:
    share, seen = 0.3, []
    for batch in batches(store, 60, text_drop=share):
        dropped = batch["text.dropped"]
        assert torch.equal(dropped, batch["padded.dropped"])  # type: ignore[arg-type]
        for index in dropped.nonzero()[:, 0].tolist():  # type: ignore[attr-defined]
            found = batch["text"][index][batch["text.mask"][index]]  # type: ignore[index]
            np.testing.assert_array_equal(found.numpy(), EMPTY)
        seen += dropped.tolist()  # type: ignore[attr-defined]
    # Five standard deviations of a binomial of 480.
    assert abs(np.mean(seen) - share) < 5 * (share * (1 - share) / len(seen)) ** 0.5


def test_draws_are_the_same_on_any_number_of_ranks_and_after_a_resume(store: Store) -> None:
    options = LoaderOptions(text_drop=0.5)

    def make(rank: int = 0, world_size: int = 1) -> LatentLoader:
        return LatentLoader(
            store,
            columns=["latents", "text"],
            global_batch_size=8,
            seed=3,
            rank=rank,
            world_size=world_size,
            options=options,
        )

    def told(loader: LatentLoader, count: int) -> list[dict[str, bool]]:
        return [
            dict(zip(batch["key"], batch["text.dropped"].tolist(), strict=True))
            for batch in itertools.islice(loader, count)
        ]

    whole = told(make(), 12)
    halves = [told(make(rank, 2), 12) for rank in (0, 1)]
    assert [first | second for first, second in zip(*halves, strict=True)] == whole
    begun = make()
    told(begun, 5)
    resumed = make()
    resumed.load_state_dict(begun.state_dict())
    assert told(resumed, 7) == whole[5:]
    other = LatentLoader(store, columns=["latents", "text"], global_batch_size=8, seed=3)
    with pytest.raises(ConfigError, match="text_drop"):
        other.load_state_dict(begun.state_dict())


def test_the_empty_text_is_at_hand(store: Store) -> None:
    loader = LatentLoader(store, columns=["latents", "padded"], global_batch_size=8)
    empty = loader.empty_text("padded")
    assert empty is not None
    assert (len(empty.states), empty.num_valid) == (5, 2)
    assert loader.empty_text("latents") is None


def test_a_share_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"text_drop must be from 0 to 1, got 1\.5"):
        LoaderOptions(text_drop=1.5)


def test_several_texts_are_drawn_by_their_weights_in_all_columns(store: Store) -> None:
    weights = {"caption": (4.0, 1.0)}
    counts = [0, 0]
    for batch in batches(store, 80, text_weights=weights):  # type: ignore[arg-type]  # shorthand
        for index, number in enumerate(batch["row"].tolist()):  # type: ignore[attr-defined]
            known, caption = captions_of(number) or [], batch["caption"][index]  # type: ignore[index]
            if len(known) == 2:
                counts[known.index(caption)] += 1
                found = batch["text"][index][batch["text.mask"][index]]  # type: ignore[index]
                np.testing.assert_array_equal(found.numpy(), states_of(caption))
    num = sum(counts)
    # Five standard deviations of a binomial of two texts.
    assert num > 100
    assert abs(counts[0] / num - 0.8) < 5 * (0.8 * 0.2 / num) ** 0.5


@given(st.integers(0, 2**64 - 1), st.integers(1, 9), st.lists(st.floats(0.01, 100), max_size=5))
def test_a_draw_takes_one_of_the_texts_there_are(
    draw: int, num_texts: int, weights: list[float]
) -> None:
    assert 0 <= chosen_text(draw, num_texts, weights) < num_texts
    assert chosen_text(draw, num_texts) == draw % num_texts


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        pytest.param({"caption": ()}, "numbers above 0", id="none"),
        pytest.param({"caption": (1, 0)}, "numbers above 0", id="zero"),
        pytest.param({"caption": 3}, "numbers above 0", id="no-list"),
        pytest.param({"titel": (1, 2)}, "caption.*got 'titel'", id="unknown"),
    ],
)
def test_weights_that_cannot_be_are_refused(store: Store, weights: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        batches(store, 1, text_weights=weights)
