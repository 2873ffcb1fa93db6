"""A thread that makes batches ahead changes nothing but the waiting, and ends when left alone."""

import gc
import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.loader import Batch, LatentLoader, LoaderOptions
from latentcache.loader.gather.copying import in_threads
from latentcache.loader.prefetch import THREAD_NAME, Prefetcher
from latentcache.store import Store
from tests.loader.conftest import make_store


def loader_of(store: Store, prefetch: int, **options) -> LatentLoader:
    chosen = {"global_batch_size": 12, "micro_batches": 3, "columns": ["latents", "caption"]}
    return LatentLoader(store, **chosen | options, options=LoaderOptions(prefetch=prefetch))


def take(loader: LatentLoader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def are_equal(one: Batch, two: Batch) -> bool:
    return (
        torch.equal(one["latents"], two["latents"])
        and one["caption"] == two["caption"]
        and torch.equal(one["noise_seed"], two["noise_seed"])
        and one.facts == two.facts
        and one.state == two.state
    )


def all_threads_end() -> bool:
    # Loaders of earlier tests may wait in cycles that hold their errors.
    gc.collect()
    threads = [one for one in threading.enumerate() if one.name == THREAD_NAME]
    for thread in threads:
        thread.join(timeout=30)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("prefetch", [1, 3])
def test_batches_made_ahead_are_the_same(store: Store, prefetch: int) -> None:
    plain, ahead = loader_of(store, 0), loader_of(store, prefetch)
    for one, two in itertools.islice(zip(plain, ahead, strict=True), 16):
        assert are_equal(one, two)
        # What is made but not handed out does not count.
        assert ahead.state == two.state == plain.state
        assert ahead.step == plain.step
    assert ahead.coverage() == plain.coverage()


def test_one_batch_at_a_time_loses_none(store: Store) -> None:
    expected = take(loader_of(store, 0), 8)
    loader = loader_of(store, 2)
    for batch in expected[:5]:
        assert are_equal(next(iter(loader)), batch)
    together = zip(itertools.islice(loader, 3), expected[5:], strict=True)
    assert all(are_equal(one, two) for one, two in together)
    assert all_threads_end()


def test_two_iterators_share_the_run(store: Store) -> None:
    expected = take(loader_of(store, 0), 6)
    loader = loader_of(store, 2)
    first, second = iter(loader), iter(loader)
    mixed = [next(one) for one in (first, second, first, first, second, first)]
    assert all(are_equal(one, two) for one, two in zip(mixed, expected, strict=True))


def test_a_run_goes_elsewhere_while_batches_are_made(store: Store) -> None:
    expected = take(loader_of(store, 0), 12)
    loader = loader_of(store, 2)
    seen = []
    for batch in loader:
        seen.append(batch)
        if len(seen) == 9:
            loader.load_state_dict(expected[2].state)
        if len(seen) == 12:
            break
    again = expected[:9] + expected[3:6]
    assert all(are_equal(one, two) for one, two in zip(seen, again, strict=True))
    with pytest.raises(ConfigError, match="seed"):
        loader.load_state_dict({**expected[2].state, "order": {"seed": 9}})
    assert are_equal(next(iter(loader)), expected[6])


def test_an_error_is_raised_at_its_batch_and_again(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    expected = take(loader_of(store, 0, columns=["latents"], micro_batches=1), 40)
    broken = {entry.unit.unit: entry for entry in store.snapshot().column("latents").units()}
    path = tmp_path / "store" / next(iter(broken.values())).tar.name
    path.write_bytes(path.read_bytes()[:-512])
    plain = loader_of(store, 0, columns=["latents"], micro_batches=1)
    ahead = loader_of(store, 3, columns=["latents"], micro_batches=1)
    counts = []
    for loader in (plain, ahead):
        seen: list[Batch] = []
        for _ in range(2):
            with pytest.raises(ShardCorruptError, match=rf"tar must have .* got .*{path.name}"):
                seen.extend(loader)
        counts.append(loader.state)
    assert counts[0] == counts[1]
    assert counts[0] in [expected[0].state, *(one.state for one in expected), plain.state]


@pytest.mark.parametrize("how", ["break", "drop"])
def test_the_thread_ends_when_nobody_takes(store: Store, how: str) -> None:
    loader = loader_of(store, 2)
    if how == "break":
        for _ in loader:
            break
    else:
        iterator = iter(loader)
        next(iterator)
        del iterator, loader
    assert all_threads_end()


def test_an_interrupt_while_waiting_loses_nothing() -> None:
    may_go_on = threading.Event()

    def make(place: int) -> tuple[str, int]:
        may_go_on.wait()
        return f"item {place}", place + 1

    prefetcher = Prefetcher(make, 0, depth=2)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            prefetcher.take()
    finally:
        signal.signal(signal.SIGALRM, before)
    may_go_on.set()
    assert [prefetcher.take() for _ in range(3)] == [(f"item {n}", n + 1) for n in range(3)]
    prefetcher.close()
    assert all_threads_end()


def test_no_more_is_made_than_asked_for() -> None:
    made: list[int] = []
    has_two = threading.Event()

    def make(place: int) -> tuple[int, int]:
        made.append(place)
        if place == 2:
            has_two.set()
        return place, place + 1

    prefetcher = Prefetcher(make, 0, depth=2)
    assert prefetcher.take() == (0, 1)
    assert has_two.wait(timeout=30)
    prefetcher.close()
    assert made == [0, 1, 2]


def test_torch_s_threads_are_left_to_the_training() -> None:
    def num_threads() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        prefetcher = Prefetcher(lambda place: (torch.get_num_threads(), place), 0, depth=1)
        assert prefetcher.take()[0] == 1
        in_threads(lambda job: job, range(3))
        assert (torch.get_num_threads(), num_threads()) == (2, 2)
        prefetcher.close()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_that_are_kept_stay_what_they_were(
    store: Store, normalize: bool, prefetch: int
) -> None:
    loader = LatentLoader(
        store, global_batch_size=8, normalize=normalize, options=LoaderOptions(prefetch=prefetch)
    )
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for batch in itertools.islice(loader, 30):
        kept = [*kept, (batch["latents"], batch["latents"].clone())][-7:]
        assert all(torch.equal(one, two) for one, two in kept)
    del kept, batch
    # What nobody keeps is written over: for two buckets, no more than are under way.
    addresses = [batch["latents"].data_ptr() for batch in itertools.islice(loader, 40)]
    assert len(set(addresses)) <= 2 * (3 + prefetch)


def test_a_number_of_batches_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="prefetch must be"):
        LoaderOptions(prefetch=-1)
