"""Windows of clips of any length: the right bytes, the same for any ranks, every place in turn."""

import itertools
import logging
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.loader.gather.unit_gather import UnitGather
from latentcache.loader.index.column_units import ColumnUnits
from latentcache.loader.order.window_starts import window_starts
from latentcache.loader.streams.stream_column import Access, StreamColumn, WindowRule
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation, unit_values
from tests.law_examples import examples

LONG, LONGER, SHORT, PICTURE, WIDE = (
    Bucket(33, 16, 24), Bucket(49, 16, 24), Bucket(9, 16, 24), Bucket(1, 16, 24), Bucket(33, 16, 40)
)  # fmt: skip
RUNS = [
    (LONG, 13, 4),
    (PICTURE, 6, 4),
    (LONGER, 3, 1),
    (SHORT, 5, 4),
    (Bucket(41, 16, 24), 1, 1),
    (Bucket(45, 16, 24), 1, 1),
    (WIDE, 4, 4),
]
COLUMN = SyntheticColumn(
    has_logvar=True,
    is_video=True,
    channels=2,
    rejected=frozenset({(0, 1), (1, 3), (6, 0), (11, 0)}),  # (11, 0) is the only clip of its bucket
)
FRAMES = 5


@pytest.fixture(autouse=True)
def _small_streams_are_meant(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "latentcache")


def make_clips(url: str | Path) -> Store:
    store = Store.create(url)
    add_generation(store, RUNS)
    add_column(store, COLUMN)
    return store


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_clips(tmp_path_factory.mktemp("clips") / "store")


@pytest.fixture(scope="module")
def stored(clips: Store) -> dict[int, np.ndarray]:
    """The mean of every sample there is, by its number in the plan."""
    record, found, number = COLUMN.record(), {}, 0
    for unit in clips.units(record):
        for row, mean in enumerate(unit_values(COLUMN, unit)["mean"]):
            if (unit.unit.shard, unit.first_row + row) not in COLUMN.rejected:
                found[number] = mean
            number += 1
    return found


def open_loader(store: Any, **options: Any) -> LatentLoader:
    given = {"global_batch_size": 4, "normalize": False, "seed": 3, **options}
    chosen = LoaderOptions(window_frames=FRAMES, posterior="mode")
    return LatentLoader(store, **{"options": chosen, **given})


def window_column(store: Store, buckets: list[Bucket], rule: WindowRule) -> StreamColumn:
    runs = [one for one in store.generations()[0].runs if one.bucket in buckets]
    units = ColumnUnits.read(store.snapshot().columns["latents"])
    return StreamColumn(units, runs, Access(None), rule)


def draws(loader: LatentLoader, num_batches: int) -> list[tuple[int, int, int]]:
    """Return (step, row, start) of every sample."""
    return [
        (batch.facts.step, row, start)
        for batch in itertools.islice(loader, num_batches)
        for row, start in zip(batch["row"].tolist(), batch["window_start"].tolist(), strict=True)
    ]


def test_a_window_is_what_is_stored_from_its_first_frame_on(
    clips: Store, stored: dict[int, np.ndarray]
) -> None:
    seen = set()
    loader = open_loader(clips)
    for batch in itertools.islice(loader, 60):
        is_window = "latent frames" in batch.facts.stream
        num_frames = FRAMES if is_window else batch["latents"].shape[2]
        for latents, row, start in zip(
            batch["latents"], batch["row"].tolist(), batch["window_start"].tolist(), strict=True
        ):
            whole = stored[row]
            assert is_window == (whole.shape[1] >= FRAMES)
            assert 0 <= start <= whole.shape[1] - num_frames
            assert np.array_equal(latents.numpy(), whole[:, start : start + num_frames])
            seen.add(row)
    assert seen == set(stored)
    facts = {one.stream: (one.num_rows, one.num_missing) for one in loader.coverage()}
    assert facts == {
        "0/0/1x16x24": (6, 0),
        "0/0/9x16x24": (5, 0),
        "0/0/5 latent frames of 16x24": (18, 4),
        "0/0/5 latent frames of 16x40": (4, 0),
    }
    assert loader.shapes()["5x16x24"] == {"latents": (4, 2, FRAMES, 2, 3)}


@examples(8)
@given(
    world_size=st.sampled_from([1, 2, 4]),
    micro_batches=st.sampled_from([1, 2]),
    cut=st.integers(0, 9),
)
def test_windows_are_the_same_for_any_ranks_and_cuts(
    clips: Store, world_size: int, micro_batches: int, cut: int
) -> None:
    expected = sorted(draws(open_loader(clips, global_batch_size=8), 12))
    found, state = [], None
    for first, num_steps in ((0, cut), (cut, 12 - cut)):
        states = []
        for rank in range(world_size):
            loader = open_loader(
                clips,
                global_batch_size=8,
                rank=rank,
                world_size=world_size,
                micro_batches=micro_batches,
            )
            if state is not None:
                loader.load_state_dict(state)
            assert loader.step == first
            found += draws(loader, num_steps * micro_batches)
            states.append(loader.state)
        state = states[0]
    assert sorted(found) == expected


@given(
    numbers=st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True),
    num_starts=st.integers(1, 60),
    cycle=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
def test_a_sample_has_every_window_once_before_any_comes_again(
    numbers: list[int], num_starts: int, cycle: int, seed: int
) -> None:
    first = cycle * num_starts
    for number in numbers:
        starts = window_starts(
            np.full(num_starts, number),
            np.arange(first, first + num_starts),
            np.full(num_starts, num_starts),
            key=(seed, "window", "stream"),
        )
        assert sorted(starts.tolist()) == list(range(num_starts))


def test_samples_and_cycles_have_windows_of_their_own() -> None:
    numbers, zeros = np.arange(1000), np.zeros(1000, np.int64)
    counts = np.bincount(window_starts(numbers, zeros, zeros + 10, key=(0, "window")), minlength=10)
    assert counts.min() > 60
    later = window_starts(numbers, zeros + 10, zeros + 10, key=(0, "window"))
    assert (later != window_starts(numbers, zeros, zeros + 10, key=(0, "window"))).any()
    mixed = window_starts(numbers, zeros + 3, 1 + numbers % 7, key=(0, "window"))
    assert (mixed < 1 + numbers % 7).all()


def test_spans_and_times_are_those_of_the_window(clips: Store) -> None:
    columns = ["latents", "latent_spans", "latent_times"]
    for batch in itertools.islice(open_loader(clips, columns=columns), 30):
        if "latent frames" not in batch.facts.stream:
            continue
        starts = batch["window_start"]
        # The first latent frame is one pixel frame, each further one four; 16 a second.
        ends = (starts[:, None] + torch.arange(FRAMES)) * 4 + 1.0
        begins = torch.where(ends == 1, 0.0, ends - 4)
        assert torch.equal(batch["latent_spans"], torch.stack([begins, ends], dim=2).double() / 16)
        assert torch.equal(batch["latent_times"], (ends.double() - 1) / 16)


def test_a_filter_selects_clips_of_a_window_stream(clips: Store) -> None:
    loader = open_loader(Source(store=clips, filter='bucket == "49x16x24" or bucket == "41x16x24"'))
    (facts,) = loader.coverage()
    assert (facts.num_rows, facts.num_missing) == (4, 2)
    assert {row for _, row, _ in draws(loader, 8)} == {20, 21}


def test_one_tar_at_a_time_gives_the_same_windows(clips: Store) -> None:
    column = window_column(clips, [LONG], WindowRule(num_frames=3, num_latents=[9]))
    rows, starts = np.array([12, 0, 2, 12, 6]), np.array([0, 6, 3, 6, 1])
    slow = UnitGather(column.index, column._layout, column._find_tar, max_mapped=1)
    places = column.places(rows, starts)
    one_by_one = replace(slow.places(column.index.locate(rows)), starts=places.starts)
    for name in ("mean", "logvar"):
        entry = column.field(name)
        assert torch.equal(column.gather.field(places, entry), slow.field(one_by_one, entry))
    assert torch.equal(column.gather.keys(places), slow.keys(one_by_one))


@pytest.mark.parametrize(("window_shards", "cache_bytes"), [(0, 20_000), (2, 10**9)])
def test_a_remote_store_gives_a_local_one_s_windows(
    clips: Store, tmp_path: Path, window_shards: int, cache_bytes: int
) -> None:
    remote = make_clips(f"memory://{secrets.token_hex(8)}/store")
    found = []
    for store, cached in ((clips, {}), (remote, {"cache": tmp_path, "cache_bytes": cache_bytes})):
        options = LoaderOptions(window_frames=FRAMES, window_shards=window_shards, **cached)
        loader = open_loader(store, options=options)
        found.append([batch["latents"] for batch in itertools.islice(loader, 20)])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_some_channels_of_a_window_are_read_alone(clips: Store) -> None:
    column = window_column(clips, [LONG], WindowRule(num_frames=3, num_latents=[9]))
    places = column.places(np.array([2, 9]), np.array([4, 1]))
    entry = column.field("mean")
    half = replace(entry, shape=(1, *entry.shape[1:]), start=entry.stop // 2)
    assert torch.equal(column.gather.field(places, half), column.gather.field(places, entry)[:, 1:])


def test_few_maps_serve_many_tars(clips: Store, stored: dict[int, np.ndarray]) -> None:
    rule = WindowRule(num_frames=2, num_latents=[9, 13])
    column = window_column(clips, [LONG, LONGER], rule)
    column.max_mapped = 2
    numbers = [*range(13), 19, 20, 21]  # of LONG, then of LONGER after the pictures
    for row, number in enumerate(numbers):
        if number in stored:
            start = row % 7
            places = column.places(np.array([row]), np.array([start]))
            mean = column.gather.field(places, column.field("mean"))[0].numpy()
            assert np.array_equal(mean, stored[number][:, start : start + 2])


def test_a_table_of_frames_is_taken_from_the_window_on(
    clips: Store, stored: dict[int, np.ndarray]
) -> None:
    table = np.arange(2 * 12, dtype=np.float64).reshape(2, 12)
    ops = [{"op": "subtract", "axis": "CT", "size": 12, "values": table.flatten().tolist()}]
    source = Source(store=clips, filter='bucket == "33x16x24"')
    for posterior in ("mode", "sample"):
        options = LoaderOptions(window_frames=FRAMES, posterior=posterior)
        plain, shifted = (
            next(iter(open_loader(source, normalize=given, options=options)))
            for given in (False, ops)
        )
        for place, start in enumerate(plain["window_start"].tolist()):
            offset = table[:, start : start + FRAMES, None, None]
            expected = plain["latents"][place].double().numpy() - offset
            assert np.allclose(shifted["latents"][place].numpy(), expected, atol=1e-5)


def test_columns_of_one_shape_are_read_whole_beside_windows(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(LONG, 6, 4), (LONGER, 2, 1)])
    main = SyntheticColumn(is_video=True)
    still = SyntheticColumn(name="still", channels=3, seed=1)  # CHW
    condition = SyntheticColumn(name="condition", is_video=True, channels=2, seed=2)
    for column in (main, still, condition):
        add_column(store, column)
    record = condition.record()
    values = {
        name: [v for unit in store.units(record) for v in unit_values(one, unit)["z"]]
        for name, one in {"still": still, "condition": condition}.items()
    }
    loader = open_loader(store, columns=["latents", "still", "condition"])
    for batch in itertools.islice(loader, 6):
        for place, row in enumerate(batch["row"].tolist()):
            start = int(batch["window_start"][place])
            assert np.array_equal(batch["still"][place].float().numpy(), values["still"][row])
            window = values["condition"][row][:, start : start + FRAMES]
            assert np.array_equal(batch["condition"][place].float().numpy(), window)


def test_a_column_of_other_lengths_is_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(LONG, 2, 2), (LONGER, 2, 2)])
    add_column(store, SyntheticColumn(is_video=True))
    add_column(store, SyntheticColumn(name="fine", is_video=True, temporal_factor=2, seed=1))
    with pytest.raises(ConfigError, match="column fine must have the latent frames of the column"):
        open_loader(store, columns=["latents", "fine"])


def test_a_run_goes_on_with_its_own_windows_only(clips: Store) -> None:
    state = open_loader(clips).state
    other = LoaderOptions(window_frames=FRAMES + 1, posterior="mode")
    with pytest.raises(ConfigError, match=r"order must be those of the run, got .*window_frames"):
        open_loader(clips, options=other).load_state_dict(state)
    with pytest.raises(ConfigError, match="window_frames must be a whole number"):
        LoaderOptions(window_frames=-1)


def test_without_windows_a_batch_has_no_start(clips: Store) -> None:
    filtered = Source(store=clips, filter='bucket == "9x16x24"')
    batch = next(iter(open_loader(filtered, options=LoaderOptions())))
    assert "window_start" not in batch
