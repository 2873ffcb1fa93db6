"""Several columns in one pass: each is what it would be by itself, and pixels are decoded once."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError, RunError
from latentcache.core.media import Bucket, Geometry, SourceRef
from latentcache.core.units import BucketRun
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    RunProgress,
    build_columns,
    encode_columns,
)
from latentcache.runner.decode.decode_tasks import DecodedRows, DecodeRow
from latentcache.runner.decode.shared_pixels import SharedPixels
from latentcache.runner.kept.pieces import num_rows, passes_of, split_last_units
from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.store import Store
from tests.runner.runs import FAKES, start_build

GAUSSIAN, REFUSING = f"{FAKES}:GaussianEncoder", f"{FAKES}:RefusingEncoder"
BOTH = {"latents": GAUSSIAN, "other": REFUSING}
MAX_TAR_BYTES = 21_000
"""So little that the two encoders have units of different sizes."""


class Heard:
    """A reporter that remembers what was said and how much was read."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.source_bytes = 0

    def message(self, text: str) -> None:
        self.messages.append(text)

    def update(self, progress: RunProgress) -> None:
        if progress.stage == "encode":
            self.source_bytes = max(self.source_bytes, progress.source_bytes)


def requests_of(columns: dict[str, str], **resources: Any) -> list[EncodeRequest]:
    return [
        EncodeRequest(
            column=name,
            encode=EncodeOptions(encoder=encoder),
            resources=Resources(num_actors=2, **resources),
        )
        for name, encoder in columns.items()
    ]


def run(
    corpus: Path, store: Path, columns: dict[str, str], heard: Heard, **resources: Any
) -> dict[str, EncodeResult]:
    """Build a store with columns in one pass."""
    plan = PlanRequest(
        corpus_url=str(corpus),
        options=PlanOptions(resolution_px=64, rows_per_shard=16),
        resources=Resources(**resources),
    )
    found = build_columns(str(store), plan, requests_of(columns, **resources), reporter=heard)
    return {result.column: result for result in found[1]}


def served(store: Path, column: str) -> dict[str, Any]:
    """Return all that a snapshot says of a column but where it lies."""
    opened = Store.open(store)
    view = opened.snapshot().columns[column]
    record = view.record
    commits = [opened.read_commit(ref) for ref in opened.commits(record).values()]
    return {
        "fingerprint": record.fingerprint,
        "record": (record.rows_per_unit, record.batch, record.threads, record.fields, record.probe),
        "commits": sorted(
            (each.unit, each.rev, each.num_present, each.num_rejected, str(each.software))
            for each in commits
        ),
        "units": [
            (str(each.unit.unit), each.rev, each.tar and each.tar.sha256, each.meta.sha256)
            for each in view.units()
        ],
        "quarantine": view.quarantine().to_pylist(),
        "statistics": {name: each.tobytes() for name, each in view.statistics().items()},
    }


@pytest.fixture(scope="module", autouse=True)
def _units_are_small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latentcache.runner.encode.pinning.MAX_TAR_BYTES", MAX_TAR_BYTES)
        yield


@pytest.fixture(scope="module")
def two_passes(marked_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose columns were encoded one after the other."""
    store = tmp_path_factory.mktemp("two") / "store"
    for name, encoder in BOTH.items():
        run(marked_corpus, store, {name: encoder}, Heard())
    return store


@pytest.fixture(scope="module")
def one_pass(
    marked_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Heard, dict[str, EncodeResult]]:
    """The same columns in one pass."""
    store, heard = tmp_path_factory.mktemp("one") / "store", Heard()
    results = run(marked_corpus, store, BOTH, heard)
    return store, heard, results


def test_columns_of_one_pass_are_byte_for_byte_those_of_two_passes(
    two_passes: Path, one_pass: tuple[Path, Heard, dict[str, EncodeResult]]
) -> None:
    store, _, results = one_pass
    sizes = {view.record.rows_per_unit for view in Store.open(store).snapshot().columns.values()}
    assert len(sizes) == 2, "units of one size would show less"
    for column in BOTH:
        assert served(store, column) == served(two_passes, column)
    assert [results[column].snapshot for column in BOTH] == [1, 2]


def test_one_pass_reads_each_sample_once(
    marked_corpus: Path, one_pass: tuple[Path, Heard, dict[str, EncodeResult]]
) -> None:
    _, heard, _ = one_pass
    pictures = [path for path in marked_corpus.rglob("*") if path.suffix in (".png", ".jpg")]
    assert heard.source_bytes == sum(path.stat().st_size for path in pictures)


def test_a_sample_that_one_encoder_fails_on_costs_that_column_s_row_alone(
    one_pass: tuple[Path, Heard, dict[str, EncodeResult]],
) -> None:
    _, _, results = one_pass
    counts = {name: (each.encoded, each.quarantined) for name, each in results.items()}
    assert counts == {"latents": (121, 0), "other": (120, 1)}


@pytest.mark.slow
def test_an_encoder_that_kills_its_process_costs_its_own_column_one_row(
    marked_corpus: Path, two_passes: Path, tmp_path: Path
) -> None:
    columns = {"latents": GAUSSIAN, "other": f"{FAKES}:CrashingEncoder"}
    results = run(marked_corpus, tmp_path / "store", columns, Heard())
    counts = {name: (each.encoded, each.quarantined) for name, each in results.items()}
    assert counts == {"latents": (121, 0), "other": (120, 1)}
    assert results["latents"].newly_encoded == 121
    assert served(tmp_path / "store", "latents") == served(two_passes, "latents")
    # Of the same arithmetic as the one that refuses: only the reason differs.
    assert [unit[:3] for unit in served(tmp_path / "store", "other")["units"]] == [
        unit[:3] for unit in served(two_passes, "other")["units"]
    ]


def test_a_column_that_is_given_up_leaves_the_other_one_served(
    drawn_corpus: Path, tmp_path: Path
) -> None:
    heard = Heard()
    never = f"{FAKES}:OutOfMemoryEncoder:max_batch=4"
    with pytest.raises(RunError, match=r"a batch of \d+ must fit the device"):
        run(drawn_corpus, tmp_path / "store", {"latents": GAUSSIAN, "other": never}, heard)
    assert {*Store.open(tmp_path / "store").snapshot().columns} == {"latents"}
    assert any(
        text.startswith("other: given up, the other columns go on") for text in heard.messages
    )
    assert any("latents: 120 encoded" in text for text in heard.messages)


def test_a_finished_column_is_skipped_and_one_more_is_added(
    marked_corpus: Path, two_passes: Path, tmp_path: Path
) -> None:
    store, heard = tmp_path / "store", Heard()
    run(marked_corpus, store, {"latents": GAUSSIAN}, Heard())
    results = run(marked_corpus, store, BOTH, heard)
    assert results["latents"].newly_encoded == 0
    assert results["other"].newly_encoded == 120
    assert any(re.match(r"latents: .* encoded with .* already", text) for text in heard.messages)
    for column in BOTH:
        assert served(store, column) == served(two_passes, column)


def test_two_columns_of_one_encoding_are_encoded_once(drawn_corpus: Path, tmp_path: Path) -> None:
    heard = Heard()
    columns = {"latents": f"{FAKES}:FakeEncoder", "again": f"{FAKES}:FakeEncoder"}
    results = run(drawn_corpus, tmp_path / "store", columns, heard)
    assert {*Store.open(tmp_path / "store").snapshot().columns} == {"latents"}
    assert any("again: already there as column latents" in text for text in heard.messages)
    assert results["latents"].encoded == 120


def test_columns_of_one_name_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    twice = [*requests_of({"latents": "dct"}), *requests_of({"latents": GAUSSIAN})]
    with pytest.raises(ConfigError, match="columns of one run must have different names"):
        encode_columns(str(tmp_path), twice, reporter=Heard())


def _num_done(store: Path) -> int:
    """Return how many commits and kept batches there are."""
    return len([*store.glob("encodings/*/*/commits/*"), *store.glob("open/*/.tmp.*")])


@pytest.mark.slow
def test_a_killed_run_goes_on_in_all_its_columns(
    marked_corpus: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    slow = ("--column", f"latents={GAUSSIAN}", "--column", f"other={FAKES}:SlowEncoder:seconds=1")
    options = ("--actors", "1", "--set", "resources.keep_every_s=0.5")
    store = tmp_path / "store"
    for stop in (signal.SIGKILL, signal.SIGINT):
        stopped = start_build(marked_corpus, store, "", *slow, *options)
        had, deadline_s = _num_done(store), time.monotonic() + 240
        while _num_done(store) == had and time.monotonic() < deadline_s:
            time.sleep(0.1)
        stopped.send_signal(stop)
        _, stderr = stopped.communicate(timeout=240)
        assert _num_done(store) > had, stderr
    for left in store.glob(".tmp.unit.*"):
        os.utime(left, (0, 0))  # a younger one may be somebody's who has not locked it yet
    heard = Heard()
    columns = {"latents": GAUSSIAN, "other": f"{FAKES}:FakeEncoder"}
    run(marked_corpus, store, columns, heard)
    undisturbed = tmp_path_factory.mktemp("undisturbed") / "store"
    with pytest.MonkeyPatch.context() as patch:
        # As the processes had it that were stopped: they pinned the encodings.
        patch.setattr("latentcache.runner.encode.pinning.MAX_TAR_BYTES", 2**30)
        run(marked_corpus, undisturbed, columns, Heard())
    assert any(
        "had been encoded by a run that was stopped" in text for text in heard.messages
    ) or any("the others are there" in text for text in heard.messages)
    for column in columns:
        assert served(store, column) == served(undisturbed, column)
    assert not [path for path in store.rglob(".tmp.*") if path.is_file()]


@given(
    num_samples=st.integers(1, 200),
    units=st.lists(st.sampled_from([1, 4, 16, 64]), min_size=1, max_size=3),
    sizes=st.lists(st.sampled_from([1, 2, 8, 16]), min_size=3, max_size=3),
    num_actors=st.integers(1, 5),
    lacking=st.randoms(use_true_random=False),
)
def test_passes_hold_every_row_that_a_column_lacks_once_whatever_its_units(
    num_samples: int, units: list[int], sizes: list[int], num_actors: int, lacking: Any
) -> None:
    plan = BucketRun(
        bucket=Bucket(1, 64, 64), first_shard=0, num_rows=num_samples, rows_per_shard=64
    )
    orders = [
        UnitOrder(unit=unit, column=f"c{number}", corpus_url="c", generation_digest="g")
        for number, rows_per_unit in enumerate(units)
        for unit in plan.units(generation=0, rows_per_unit=rows_per_unit)
        if lacking.random() < 0.8
    ]

    def batch_size(order: UnitOrder) -> int:
        return sizes[int(order.column[1:])]

    passes = passes_of(orders)
    split = split_last_units(passes, num_actors=num_actors, batch_size=batch_size)
    for order in orders:
        mine = [each for one in split for each in one if each.name == order.name]
        whole = range(-(-order.unit.num_rows // batch_size(order)))
        parts = [range(*each.batches) if each.batches else whole for each in mine]
        assert sorted(index for part in parts for index in part) == list(whole)
        assert sum(num_rows(each, batch_size(each)) for each in mine) == order.unit.num_rows
    for one in passes:
        shards = {order.unit.unit.shard for order in one}
        assert len(shards) == 1
        assert len(one) == 1 or len({order.column for order in one}) > 1


class _Tasks:
    """A stream of tasks that counts how often a row is decoded, and waits for nobody."""

    num_pending = 0

    def __init__(self, rows: Sequence[DecodeRow], size: int, decoded: list[int]) -> None:
        self._rows, self._size, self._decoded = rows, size, decoded

    def __iter__(self) -> Iterator[DecodedRows]:
        for start in range(0, len(self._rows), self._size):
            rows = tuple(each.row for each in self._rows[start : start + self._size])
            self._decoded.extend(rows)
            pixels = np.array(rows, np.uint8).reshape(-1, 1, 1, 1, 1).repeat(3, axis=4)
            digests = {row: bytes([row]) for row in rows}
            yield DecodedRows(
                rows=rows, pixels_NTHWC=pixels, source_digests=digests, source_bytes=len(rows)
            )


def _row(number: int) -> DecodeRow:
    geometry = Geometry(
        source_width_px=1,
        source_height_px=1,
        resized_width_px=1,
        resized_height_px=1,
        crop_left_px=0,
        crop_top_px=0,
    )
    return DecodeRow(row=number, key=str(number), source=SourceRef(path="p"), geometry=geometry)


@given(
    needs=st.lists(st.sets(st.integers(0, 40)), min_size=1, max_size=3),
    size=st.integers(1, 7),
    run_length=st.integers(1, 9),
    leaves_early=st.booleans(),
)
def test_every_reader_gets_the_rows_it_needs_in_order_and_each_is_decoded_once(
    needs: list[set[int]], size: int, run_length: int, leaves_early: bool
) -> None:
    decoded: list[int] = []
    wanted = [[_row(number) for number in sorted(mine)] for mine in needs]
    pixels = SharedPixels(lambda rows: _Tasks(rows, size, decoded), wanted)  # type: ignore[arg-type, return-value]  # stands for the real stream
    got: list[list[int]] = [[] for _ in needs]
    read_bytes = [0] * len(needs)

    def read(number: int) -> None:
        reader, mine = pixels.reader(number), wanted[number]
        if leaves_early and number == 0:
            mine = mine[: len(mine) // 2]
        for start in range(0, len(mine), run_length):
            for task in reader.stream(None, mine[start : start + run_length]):  # type: ignore[arg-type]  # of no use to it
                got[number] += task.rows
                read_bytes[number] += task.source_bytes
                assert task.pixels_NTHWC[:, 0, 0, 0, 0].tolist() == list(task.rows)
                assert {*task.source_digests} == {*task.rows}
        reader.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(needs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "readers wait for each other"
    for number, mine in enumerate(wanted):
        asked = len(mine) // 2 if leaves_early and number == 0 else len(mine)
        assert got[number] == [each.row for each in mine[:asked]]
    assert len({*decoded}) == len(decoded)
    if not leaves_early:
        assert sum(read_bytes) == len(decoded)
