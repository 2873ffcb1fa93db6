"""What was shown as done is kept: batches of open units outlive whoever encoded them."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.cli.entry import run as latentcache
from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.core.units import UnitId, UnitRange
from latentcache.runner.encode.loaded_pool import remove_if_empty
from latentcache.runner.forward.encoded_rows import Rows
from latentcache.runner.kept.batch_log import BatchLog, KeptBatch
from latentcache.runner.kept.pieces import num_rows, split_last_units
from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.storage import Folder
from latentcache.store import Store
from tests.runner.runs import FAKES, start_build, wait_for_line

IDENTITY = {"encoding": "e", "software": {"torch": "1"}}
REJECT = Reject(code="truncated", stage="decode", reason="it ends early")


def _batch(index: int, dtype: torch.dtype = torch.float16) -> KeptBatch:
    return KeptBatch(
        index=index,
        positions=(0, 2),
        fields={
            "mean": torch.randn(2, 3, 4, 4).to(dtype),
            "ragged": [torch.arange(3), torch.arange(5)],
        },
        logvar=torch.randn(2, 3, 4, 4),
        rejects={8 * index + 1: REJECT},
        digests={8 * index: bytes(16), 8 * index + 2: b"0123456789abcdef"},
    )


def _bits(rows: Rows | None) -> list[tuple[torch.dtype, list[int]]]:
    assert rows is not None
    tensors = rows if isinstance(rows, list) else [rows[0], rows[1], rows]
    return [(each.dtype, each.flatten().view(torch.uint8).tolist()) for each in tensors]


def _log(folder: Path, identity: dict[str, object] | None = None, every_s: float = 0.0) -> BatchLog:
    return BatchLog(
        Folder.open(str(folder)), "00000000-0000.r0", identity or IDENTITY, every_s=every_s
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_kept_batch_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    batch = _batch(3, dtype)
    assert _log(tmp_path).add(batch)
    (found,) = _log(tmp_path).kept().values()
    assert (found.index, found.positions) == (3, (0, 2))
    assert (found.rejects, found.digests) == (batch.rejects, batch.digests)
    assert _bits(found.logvar) == _bits(batch.logvar)
    assert _bits(found.fields["mean"]) == _bits(batch.fields["mean"])
    assert _bits(found.fields["ragged"]) == _bits(batch.fields["ragged"])


def test_batches_of_others_and_damaged_ones_are_never_taken_up(tmp_path: Path) -> None:
    _log(tmp_path).add(_batch(0))
    assert not _log(tmp_path, {**IDENTITY, "software": {"torch": "2"}}).kept()
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not _log(tmp_path).kept()


def test_a_log_is_written_when_it_is_due_and_forgotten_with_all_that_it_found(
    tmp_path: Path,
) -> None:
    lazy = _log(tmp_path, every_s=1e9)
    assert not lazy.add(_batch(0))
    assert not list(tmp_path.iterdir())
    lazy.flush()
    other = _log(tmp_path)
    assert set(other.kept()) == {0}
    other.add(_batch(1))
    other.forget()
    assert not list(tmp_path.iterdir())


@given(
    rows=st.lists(st.integers(1, 900), min_size=1, max_size=12),
    num_actors=st.integers(1, 9),
    size=st.sampled_from([1, 2, 8, 64]),
)
def test_pieces_hold_every_batch_once_and_none_is_long(
    rows: list[int], num_actors: int, size: int
) -> None:
    bucket = Bucket(1, 64, 64)
    orders = [
        UnitOrder(
            unit=UnitRange(
                unit=UnitId(shard=index, part=0),
                generation=0,
                bucket=bucket,
                first_row=0,
                num_rows=count,
            ),
            column="latents",
            corpus_url="c",
            generation_digest="g",
        )
        for index, count in enumerate(sorted(rows, reverse=True))
    ]
    whole = [(order,) for order in orders]
    passes = split_last_units(whole, num_actors=num_actors, batch_size=lambda _: size)
    split = [order for each in passes for order in each]
    assert sum(num_rows(each, size) for each in split) == sum(rows)
    for order in orders:
        mine = [each for each in split if each.unit == order.unit]
        batches = [i for each in mine if each.batches for i in range(*each.batches)]
        assert batches in ([], list(range(-(-order.unit.num_rows // size))))
    if num_actors > 1:
        share = sum(rows) / num_actors
        assert num_rows(split[-1], size) <= max(size, share / 8 + size)


@pytest.mark.slow
def test_stops_at_random_moments_cost_batches_and_change_no_byte(
    drawn_corpus: Path,
    reference_store: Path,
    chosen_digests: Callable[[Path], dict[str, tuple[str, str]]],
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    for stop in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        slow = f"{FAKES}:SlowEncoder:seconds=0.5"
        options = ("--set", "resources.keep_every_s=0.5", "--set", "resources.num_actors=2")
        run = start_build(drawn_corpus, store, slow, *options)
        wait_for_line(run, "encode:")
        time.sleep(draw.uniform(0.0, 3.0))  # the moment is what is drawn here
        run.send_signal(stop)
        run.communicate(timeout=240)
    again = start_build(drawn_corpus, store, f"{FAKES}:FakeEncoder")
    _, stderr = again.communicate(timeout=240)
    assert again.returncode == 0, (seed, stderr)
    assert chosen_digests(store) == chosen_digests(reference_store), seed
    assert not [path for path in store.rglob(".tmp.*") if path.is_file()], seed
    Store.open(str(store)).snapshot()


@pytest.mark.slow
def test_what_a_stopped_run_kept_is_told_by_status_and_by_the_run_that_takes_it_up(
    drawn_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    slow = f"{FAKES}:SlowEncoder:seconds=1"
    options = ("--set", "resources.keep_every_s=0", "--actors", "1", "--batch-size", "4")
    stopped = start_build(drawn_corpus, store, slow, *options)
    deadline_s = time.monotonic() + 200
    while not [*store.rglob("open/latents/**/.tmp.*")] and time.monotonic() < deadline_s:
        time.sleep(0.1)
    stopped.send_signal(signal.SIGINT)
    stopped.communicate(timeout=240)
    assert latentcache(["status", str(store)]) == 0
    assert "of encoded batches are kept of units that were begun" in capsys.readouterr().out
    again = start_build(drawn_corpus, store, f"{FAKES}:FakeEncoder", *options)
    _, stderr = again.communicate(timeout=240)
    assert again.returncode == 0, stderr
    (told,) = [line for line in stderr.splitlines() if "had been encoded by a run that" in line]
    assert int(told.split()[1]) >= 4


def test_a_finished_run_leaves_no_empty_folder_of_kept_batches(tmp_path: Path) -> None:
    (tmp_path / "open" / "latents").mkdir(parents=True)
    (tmp_path / "open" / "cond").mkdir()
    (tmp_path / "open" / "cond" / ".tmp.batch").touch()
    remove_if_empty(str(tmp_path / "open" / "latents"))
    remove_if_empty(str(tmp_path / "open" / "cond"))
    remove_if_empty("s3://bucket/store/open/latents")
    assert [path.name for path in (tmp_path / "open").rglob("*")] == ["cond", ".tmp.batch"]
