"""What a training run relies on: whole batches through the public loader, on real stores."""

import itertools
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.loader import Batch, LatentLoader, LoaderOptions, Source
from latentcache.loader.gather import address_range
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_generation, unit_values
from tests.law_examples import examples
from tests.loader.conftest import DINO, LATENTS, SQUARE, WIDE, add_column, make_store


def take(loader: LatentLoader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def steps(loaders: list[LatentLoader], count: int, micro: int) -> list[list[int]]:
    """Return the rows of each global batch, as all ranks' micro-batches give them."""
    drawn = [take(loader, count * micro) for loader in loaders]
    return [
        [
            row
            for batches in drawn
            for batch in batches[step * micro : (step + 1) * micro]
            for row in batch["row"].tolist()
        ]
        for step in range(count)
    ]


def ranks_of(store: Store, world: int, micro: int = 1, **options) -> list[LatentLoader]:
    options = {"global_batch_size": 24, "seed": 5, **options}
    return [
        LatentLoader(store, rank=rank, world_size=world, micro_batches=micro, **options)
        for rank in range(world)
    ]


@pytest.mark.parametrize("options", [{}, {"partitions": 4, "window_shards": 2}])
def test_any_ranks_and_micro_batches_see_the_same_run(store: Store, options: dict) -> None:
    chosen = LoaderOptions(**options)
    whole = steps(ranks_of(store, 1, options=chosen), 15, 1)
    for world, micro in ((2, 1), (3, 2), (1, 4), (4, 3)):
        assert steps(ranks_of(store, world, micro, options=chosen), 15, micro) == whole


@examples(12)
@given(
    cut=st.integers(0, 12),
    before=st.sampled_from([(1, 1), (2, 3), (4, 1)]),
    after=st.sampled_from([(1, 2), (3, 1)]),
)
def test_a_run_resumes_anywhere_on_any_ranks(
    store: Store, cut: int, before: tuple[int, int], after: tuple[int, int]
) -> None:
    whole = steps(ranks_of(store, 1), 14, 1)
    first = ranks_of(store, *before)
    head = steps(first, cut, before[1])
    state = json.loads(json.dumps(first[-1].state))
    second = ranks_of(store, *after)
    for loader in second:
        loader.load_state_dict(state)
    assert head + steps(second, 14 - cut, after[1]) == whole


def test_a_batch_carries_the_state_after_it(store: Store) -> None:
    """Where something reads ahead, the loader's own state is too far on."""
    loader = LatentLoader(store, global_batch_size=12, micro_batches=3)
    batches = take(loader, 20)
    for at in (4, 8, 13):
        resumed = LatentLoader(store, global_batch_size=12, micro_batches=3)
        resumed.load_state_dict(pickle.loads(pickle.dumps(batches[at].state)))
        for batch, again in zip(batches[at + 1 :], take(resumed, 19 - at), strict=True):
            assert torch.equal(batch["latents"], again["latents"])
            assert batch["key"] == again["key"]


def test_within_a_step_the_same_ranks_are_asked_for(store: Store) -> None:
    loader = LatentLoader(store, global_batch_size=12, micro_batches=3)
    state = take(loader, 1)[0].state
    with pytest.raises(ConfigError, match=r"must be \(1, 3\) to go on within a step, got \(1, 2\)"):
        LatentLoader(store, global_batch_size=12, micro_batches=2).load_state_dict(state)


@pytest.mark.parametrize("name", ["z", "mean"])
@pytest.mark.parametrize("normalize", [True, False])
def test_every_value_is_the_sample_s_own(tmp_path: Path, name: str, normalize: bool) -> None:
    column = SyntheticColumn(
        has_logvar=name == "mean", rows_per_unit=8, rejected=frozenset({(0, 2), (2, 0)})
    )
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 30, 16), (WIDE, 12, 8)])
    view = add_column(store, column).column("latents")
    values = {entry.unit.unit: unit_values(column, entry.unit)[name] for entry in view.units()}
    loader = LatentLoader(
        store, global_batch_size=5, normalize=normalize, options=LoaderOptions(posterior="mode")
    )
    seen: set[int] = set()
    for batch in take(loader, 30):
        for number, latent, key in zip(
            batch["row"].tolist(), batch["latents"], batch["key"], strict=True
        ):
            shard, row = divmod(number, 16) if number < 30 else divmod(number - 30, 8)
            shard += 0 if number < 30 else 2
            entry = next(
                entry
                for entry in view.units()
                if entry.unit.unit.shard == shard
                and 0 <= row - entry.unit.first_row < entry.unit.num_rows
            )
            stored = values[entry.unit.unit][row - entry.unit.first_row]
            assert key == view.read_row(shard, row).key
            native = loader.normalizer.invert(latent[None])[0].float().numpy()
            assert np.allclose(native, stored, atol=1e-5)
            seen.add(number)
        assert batch["latents"].dtype == (torch.float32 if normalize else torch.float16)
    assert seen == set(range(42)) - {2, 30}


def test_columns_are_of_the_same_samples(store: Store, snapshot) -> None:
    loader = LatentLoader(store, columns=["latents", "dino"], global_batch_size=10)
    views = {name: snapshot.column(name) for name in ("latents", "dino")}
    for batch in take(loader, 6):
        for index, key in enumerate(batch["key"]):
            stored = views["dino"].read_sample(key)["z"]
            assert np.array_equal(batch["dino"][index].numpy(), stored)
            views["latents"].read_sample(key)


def test_lost_rows_are_replaced_and_the_order_stays(store: Store, tmp_path: Path) -> None:
    whole = make_store(tmp_path / "store")
    # The same plan, another encoder that could encode everything.
    add_column(whole, SyntheticColumn(name="other", dtype="float16", seed=9))
    lossy = LatentLoader(store, global_batch_size=7)
    full = LatentLoader(whole, columns=["other"], global_batch_size=7)
    num_substituted = 0
    for one, two in zip(take(lossy, 40), take(full, 40), strict=True):
        differing = int((one["row"] != two["row"]).sum())
        assert differing == one.facts.num_substituted
        num_substituted += differing
    assert num_substituted == 280 - sum(
        count for row, count in _count_rows(full, 40).items() if row not in _lost()
    )
    assert [one.num_missing for one in lossy.coverage()] == [18, 1]


def _lost() -> set[int]:
    places = {(0, row): row for row in range(40)} | {(1, row): 40 + row for row in range(40)}
    places |= {(2, row): 80 + row for row in range(20)} | {(3, row): 100 + row for row in range(16)}
    return {places[place] for place in LATENTS.rejected}


def _count_rows(loader: LatentLoader, count: int) -> Counter[int]:
    again = LatentLoader(loader._sources, columns=["other"], global_batch_size=7)
    return Counter(row for batch in take(again, count) for row in batch["row"].tolist())


def test_draws_follow_the_sample_and_not_the_rank(store: Store) -> None:
    def drawn(batch: Batch) -> Iterator[tuple[tuple[str, int], torch.Tensor]]:
        names = zip(batch["key"], batch["noise_seed"].tolist(), strict=True)
        return zip(names, batch["latents"], strict=True)

    whole = take(LatentLoader(store, global_batch_size=24), 4)
    one = {name: latent for batch in whole for name, latent in drawn(batch)}
    for loader in ranks_of(store, 3, seed=0):
        for batch in take(loader, 4):
            for name, latent in drawn(batch):
                assert torch.equal(one[name], latent)


def test_the_second_epoch_draws_again(store: Store) -> None:
    source = Source(store=store, filter='bucket == "1x32x96"')
    loader = LatentLoader(source, global_batch_size=40, columns=["latents", "captions"])
    first, second = take(loader, 2)
    pairs = {
        key: (latent, caption)
        for key, latent, caption in zip(
            first["key"], first["latents"], first["captions"], strict=True
        )
    }
    assert not any(
        torch.equal(pairs[key][0], latent)
        for key, latent in zip(second["key"], second["latents"], strict=True)
        if key in pairs
    )
    chosen = Counter(text[0] for text in first["captions"] + second["captions"])
    assert set(chosen) == {"a", "b", "c"}


def test_a_batch_carries_captions_labels_sizes_and_crops(store: Store) -> None:
    names = ["latents", "caption", "label", "crop", "original_size"]
    for batch in take(LatentLoader(store, columns=names, global_batch_size=8), 8):
        bucket = batch.facts.bucket
        assert list(batch) == [*names, "row", "key", "noise_seed"]
        for index, number in enumerate(batch["row"].tolist()):
            if number < 100:
                shard, row = divmod(number, 40)
            else:
                shard, row = divmod(number - 100, 16)
                shard += 3
            expected = None if row == 5 else f"sample {shard} {row}"
            assert batch["caption"][index] == expected
            assert batch["label"][index] == row % 4
            place = number if number < 100 else number - 100
            assert batch["crop"][index].tolist() == [place % 5, place % 7]
        size = [2 * bucket.height_px, 2 * bucket.width_px]
        assert batch["original_size"].tolist() == [size] * 8


def test_a_mixture_keeps_its_weights(store: Store, tmp_path: Path) -> None:
    sources = [
        Source(store=store, name="labels", filter="label == 0", weight=3),
        Source(store=store, name="rest", filter="label != 0", weight=1),
    ]
    loader = LatentLoader(sources, global_batch_size=4, columns=["latents", "label"])
    for batch in take(loader, 200):
        is_first = batch.facts.stream.startswith("labels/")
        assert ((batch["label"] == 0) == is_first).all()
    drawn = Counter()
    for one in loader.coverage():
        drawn[one.stream.partition("/")[0]] += one.num_drawn
    assert abs(drawn["labels"] / 800 - 0.75) < 0.02


def test_coverage_says_that_every_sample_is_seen(store: Store) -> None:
    loader = LatentLoader(store, global_batch_size=10)
    assert len(loader) == 14
    take(loader, 3 * len(loader))
    assert [one.epochs for one in loader.coverage()] == pytest.approx([3, 3], rel=0.2)
    assert sum(one.num_drawn for one in loader.coverage()) == 420


def test_a_loader_says_how_long_it_was_waited_for(store: Store) -> None:
    loader = LatentLoader(store, global_batch_size=10)
    assert loader.wait_s == 0
    began = perf_counter()
    batches = take(loader, 5)
    assert 0 < loader.wait_s < perf_counter() - began
    waited = loader.wait_s
    batches[0]["key"]
    assert loader.wait_s == waited


def test_shapes_are_those_of_the_batches(store: Store) -> None:
    patchify = [{"op": "patchify", "size": 2}]
    loader = LatentLoader(
        store,
        columns=["latents", "dino"],
        global_batch_size=12,
        world_size=2,
        rank=1,
        micro_batches=3,
        normalize=patchify,
    )
    shapes = loader.shapes()
    assert set(shapes) == {"1x64x64", "1x32x96"}
    for batch in take(loader, 12):
        for name, shape in shapes[str(batch.facts.bucket)].items():
            assert tuple(batch[name].shape) == shape


def test_tokens_per_rank_are_pinned_as_samples(store: Store) -> None:
    options = {"tokens_per_rank": 64, "options": LoaderOptions(patch=(1, 2, 2))}
    loader = LatentLoader(store, world_size=2, rank=0, micro_batches=2, **options)
    assert {name: shape["latents"][0] for name, shape in loader.shapes().items()} == {
        "1x64x64": 4,
        "1x32x96": 5,
    }
    state = take(loader, 2)[-1].state
    resumed = LatentLoader(store, world_size=4, rank=3, **options)
    resumed.load_state_dict(state)
    assert {name: shape["latents"][0] for name, shape in resumed.shapes().items()} == {
        "1x64x64": 4,
        "1x32x96": 5,
    }
    with pytest.raises(ConfigError, match="global batch 16 does not divide by 3 ranks"):
        LatentLoader(store, world_size=3, rank=0, **options).load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"order must be those of the run, got \{'seed': 1\} where .*\{'seed': 0\}"),
        ({"columns": ["dino"]}, r"columns must be those of the run, got \{.*'dino'.* where .*'lat"),
        ({"normalize": False}, r"normalize must be that of the run, got .*'none'.* has .*'auto'"),
        ({"options": LoaderOptions(posterior="mode")}, "posterior must be .* got mode .* sample"),
        ({"filter": "label < 3"}, "selection of source 0 must be 'all|', got 'all|label < 3'"),
    ],
)
def test_another_run_s_state_is_refused_with_both_sides(
    store: Store, change: dict, message: str
) -> None:
    state = LatentLoader(store, global_batch_size=8).state
    options = dict(change)
    source = Source(store=store, filter=options.pop("filter", ""))
    with pytest.raises(ConfigError, match=message):
        LatentLoader(source, global_batch_size=8, **options).load_state_dict(state)


def test_another_vae_s_store_is_refused(store: Store, tmp_path: Path) -> None:
    other = Store.create(tmp_path / "store")
    add_generation(other, [(SQUARE, 100, 40), (WIDE, 40, 16)])
    add_column(other, SyntheticColumn(has_logvar=True, dtype="bfloat16", seed=77))
    state = LatentLoader(store, global_batch_size=8).state
    with pytest.raises(ConfigError, match=r"columns must be those of the run, got .* where"):
        LatentLoader(other, global_batch_size=8).load_state_dict(state)
    with pytest.raises(ConfigError, match="must have one encoding in all sources, got"):
        LatentLoader([store, other], global_batch_size=8)


def test_a_store_that_grows_changes_nothing_until_asked(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    loader = LatentLoader(store, global_batch_size=8)
    take(loader, 5)
    state = loader.state
    expected = [batch["row"].tolist() for batch in take(loader, 10)]
    add_generation(store, [(SQUARE, 64, 40)], retired=[(0, 0)])
    add_column(store, LATENTS)
    add_column(store, DINO)
    resumed = LatentLoader(store, global_batch_size=8)
    assert len(resumed.coverage()) == 3
    measured = resumed.normalizer
    resumed.load_state_dict(state)
    assert [batch["row"].tolist() for batch in take(resumed, 10)] == expected
    assert resumed.normalizer == loader.normalizer
    moved = LatentLoader(store, global_batch_size=8)
    moved.load_state_dict(state, newest=True)
    assert moved.normalizer == loader.normalizer != measured
    rows = {row for batch in take(moved, 40) for row in batch["row"].tolist()}
    assert max(rows) >= 140
    assert 0 not in rows or 0 in {row for batch in expected for row in batch}
    pinned = LatentLoader(
        Source(store=store, snapshot=moved._run.opened[0].snapshot.number), global_batch_size=8
    )
    with pytest.raises(ConfigError, match=r"snapshot of source 0 must be .*, got "):
        pinned.load_state_dict(state)


def test_a_filter_that_selects_nothing_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"must select a row, got none .*label == 99"):
        LatentLoader(Source(store=store, filter="label == 99"), global_batch_size=8)


def test_a_bucket_smaller_than_a_batch_is_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    loader = LatentLoader(store, global_batch_size=64)
    assert all(len(batch["row"]) == 64 for batch in take(loader, 5))
    assert len(caplog.records) == 1
    assert "has 40 for batches of 64" in caplog.text
    assert "build a new store with --min-bucket 64" in caplog.text


def test_a_column_that_does_not_exist_is_shown_with_those_that_do(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"encoded \(dino, latents\), annotations \(caption, "):
        LatentLoader(store, columns=["latents", "captoin"], global_batch_size=8)


def test_a_dataloader_s_worker_is_refused(store: Store) -> None:
    class Wrapped(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(LatentLoader(store, global_batch_size=8))

    with pytest.raises(ConfigError, match="got a DataLoader worker"):
        next(iter(torch.utils.data.DataLoader(Wrapped(), num_workers=1, batch_size=None)))


def test_a_corrupt_tar_stops_the_run_by_name(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    entry = store.snapshot().column("latents").units()[0]
    path = tmp_path / "store" / entry.tar.name
    path.write_bytes(path.read_bytes()[:-512])
    loader = LatentLoader(store, global_batch_size=40)
    with pytest.raises(Exception, match=f"tar must have .* got .*{path.name}"):
        take(loader, 10)


def test_a_system_without_address_ranges_gives_the_same_batches(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = take(LatentLoader(store, global_batch_size=12), 10)
    monkeypatch.setattr(address_range, "is_supported", lambda: False)
    for one, two in zip(fast, take(LatentLoader(store, global_batch_size=12), 10), strict=True):
        assert torch.equal(one["latents"], two["latents"])
        assert one["key"] == two["key"]
