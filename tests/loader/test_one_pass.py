"""One pass: what a validation needs, on any number of ranks."""

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.loader import Batch, LatentLoader, LoaderOptions, Source
from latentcache.loader.pass_maker import num_steps, rows_of_step
from latentcache.store import Store

MISSING = 19


def passes(store: Store, world: int, size: int, **given: Any) -> list[LatentLoader]:
    return [
        LatentLoader(
            store, global_batch_size=size, one_pass=True, rank=rank, world_size=world, **given
        )
        for rank in range(world)
    ]


def counted(batches: list[Batch]) -> list[tuple[int, int]]:
    """Return (row, noise seed) of the samples that count."""
    return [
        (row, seed)
        for batch in batches
        for row, seed, is_counted in zip(
            *(batch[name].tolist() for name in ("row", "noise_seed", "mask")), strict=True
        )
        if is_counted
    ]


@pytest.mark.parametrize("options", [{}, {"window_shards": 2}, {"partitions": 4}])
@pytest.mark.parametrize(("world", "size"), [(1, 12), (2, 12), (3, 24), (4, 4), (2, 200)])
def test_every_row_that_is_there_comes_once_over_all_ranks(
    store: Store, world: int, size: int, options: dict[str, Any]
) -> None:
    loaders = passes(store, world, size, options=LoaderOptions(**options))
    found = [list(loader) for loader in loaders]
    assert {len(batches) for batches in found} == {len(loaders[0])}
    assert all(len(batch["row"]) for batches in found for batch in batches)
    seen = Counter(row for batches in found for row, _ in counted(batches))
    assert set(seen.values()) == {1}
    assert len(seen) == 140 - MISSING
    assert sum(one.num_missing for one in loaders[0].coverage()) == MISSING
    for batches in zip(*found, strict=True):
        assert len({(one.facts.step, one.facts.bucket) for one in batches}) == 1


def test_each_pass_is_the_same_whatever_the_ranks_and_wherever_the_last_one_ended(
    store: Store,
) -> None:
    (loader,) = passes(store, 1, 12)
    first = counted(list(loader))
    assert counted(list(itertools.islice(loader, 3))) == first[:36]
    assert counted(list(loader)) == first
    both = [list(one) for one in passes(store, 2, 12)]
    assert sorted(pair for batches in both for pair in counted(batches)) == sorted(first)
    ahead = passes(store, 1, 12, options=LoaderOptions(prefetch=2))[0]
    assert [counted(list(ahead)) for _ in range(2)] == [first, first]


def test_a_pass_goes_on_in_the_middle(store: Store) -> None:
    (loader,) = passes(store, 1, 12)
    batches = list(loader)
    (again,) = passes(store, 1, 12)
    again.load_state_dict(batches[3].state)
    assert counted(list(again)) == counted(batches[4:])
    assert counted(list(again)) == counted(batches)
    assert batches[-1].state["step"] == 0


@given(rows=st.integers(1, 200), each=st.integers(1, 9), world=st.integers(1, 8))
def test_no_rank_is_without_a_row_where_there_are_enough(rows: int, each: int, world: int) -> None:
    size, total = each * world, 0
    for step in range(num_steps(rows, size)):
        first, count = rows_of_step(step, rows, size, world)
        assert first == total
        assert 1 <= count <= size
        if each > 1 and rows >= world:
            assert count >= world
        total += count
    assert total == rows


def test_a_held_out_part_is_named_at_the_loader(store: Store) -> None:
    source = Source(store=store, holdout=0.3)
    train, val = (
        LatentLoader(source, global_batch_size=8, split=split, one_pass=True)
        for split in ("train", "val")
    )
    rows = [{row for row, _ in counted(list(one))} for one in (train, val)]
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == 140 - MISSING


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"micro_batches": 2}, "micro_batches must be 1 for one pass, got 2"),
        ({"batch_size": 8}, "got batch_size; for batch_size use global_batch_size=N"),
        ({"cache": "x"}, r"got cache; for cache use options=LoaderOptions\(cache=...\)"),
        ({"shuffle": True}, "got shuffle; for shuffle use nothing: the order is always"),
        ({"filter": "label == 1"}, r"got filter; for filter use Source\(store=..., filter=...\)"),
        ({"sauce": 1}, "got sauce; for sauce use one of the names in docs/loader.md"),
    ],
)
def test_what_does_not_fit_costs_one_sentence(
    store: Store, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        LatentLoader(store, global_batch_size=8, one_pass=True, **given)


def test_sources_that_a_pass_cannot_take_are_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="weight and repeats must be left out for one pass"):
        LatentLoader(Source(store=store, weight=2), global_batch_size=8, one_pass=True)
    with pytest.raises(ConfigError, match="split must be said once, got val"):
        LatentLoader(Source(store=store, split="train"), global_batch_size=8, split="val")


def test_an_older_pass_does_not_go_on_in_a_newer(store: Store) -> None:
    (loader,) = passes(store, 1, 12)
    older = iter(loader)
    next(older)
    next(iter(loader))
    with pytest.raises(ConfigError, match="pass must be the loader's last"):
        next(older)
    training = LatentLoader(store, global_batch_size=12)
    with pytest.raises(ConfigError, match="one_pass"):
        training.load_state_dict(loader.state)
    assert torch.equal(next(iter(loader))["row"], next(iter(loader))["row"])
