"""Another encoder for a column: what it would take, and the whole move."""

from contextlib import ExitStack
from dataclasses import dataclass, replace

import pyarrow as pa

from latentcache.encoders import check_encoder
from latentcache.runner.calibration import (
    Calibration,
    EncoderEstimate,
    MeasuredPlan,
    calibrate,
)
from latentcache.runner.encode.pinning import planned_runs
from latentcache.runner.encode.result import EncodeResult
from latentcache.runner.encode.served import served_column
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.jobs import encode_column
from latentcache.runner.run_progress import Reporter
from latentcache.runner.workers.starting import RunSize, run_workers, stopping
from latentcache.storage import Folder
from latentcache.store import ColumnView, Generation, Store
from latentcache.store.rows import iter_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapEstimate:
    """Both encoders side by side.

    Attributes:
        column: Whose encoder is swapped.
        num_samples: Planned, live or not.
        old: What serves now, its bytes as they are; None if nothing does.
        new: What was asked for; hours of this machine.
        calibration: What was measured; None if no bucket fits.
    """

    column: str
    num_samples: int
    old: EncoderEstimate | None
    new: EncoderEstimate
    calibration: Calibration | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapResult:
    """What a swap left behind.

    Attributes:
        encoded: By the new encoder, served now.
        old_encoder: That was served before; "" if it is the same or there was none.
        old_encoding: Its fingerprint, to be retired by name.
        old_bytes: That this would free.
    """

    encoded: EncodeResult
    old_encoder: str = ""
    old_encoding: str = ""
    old_bytes: int = 0


def estimate_swap(store_url: str, request: EncodeRequest, *, reporter: Reporter) -> SwapEstimate:
    """Return what encoding a planned store with another encoder would take; nothing is written.

    Raises:
        StoreError: The store has no plan.
        EncoderError: The encoder cannot be loaded.
    """
    with ExitStack() as stack:
        stack.enter_context(stopping())
        encode = request.encode.with_name(reporter.message)
        check_encoder(encode.encoder)
        store = Store.open(store_url)
        planned = _planned(store, request)
        size = RunSize(num_samples=min(store.generations()[0].num_rows, 1))
        asked = run_workers(request.resources, size, encoders=[encode.encoder], reporter=reporter)
        workers = stack.enter_context(asked)
        reporter.message(f"calibrating {encode.encoder} on a few samples")
        calibration, new = calibrate(planned, encode, request.resources, workers)
    view = served_column(store, request.column)
    return SwapEstimate(
        column=request.column,
        num_samples=sum(run.num_rows for run in planned.runs),
        old=None if view is None else _served(view),
        new=new,
        calibration=calibration,
    )


def _planned(store: Store, request: EncodeRequest) -> MeasuredPlan:
    generations = store.planned_generations()

    def tables() -> "list[pa.Table]":
        return [table for each in generations for table in _first_tables(store, each)]

    return MeasuredPlan(
        runs=planned_runs(generations),
        tables=tables,
        corpus=Folder.open(request.corpus_url or generations[-1].corpus_url),
    )


def _first_tables(store: Store, generation: Generation) -> "list[pa.Table]":
    """Return the first rows of a generation's runs."""
    found, wanted = [], {run.first_shard for run in generation.runs}
    for table in iter_rows(store.folder, generation):
        shards = set(table["shard"].unique().to_pylist())
        if shards & wanted:
            found.append(table)
            wanted -= shards
        if not wanted:
            break
    return found


def _served(view: ColumnView) -> EncoderEstimate:
    name = str(view.record.spec.get("source") or view.record.spec.get("name") or "?")
    return EncoderEstimate(name=name, bytes=view.num_bytes, hours=None, refused=())


def swap_column(store_url: str, request: EncodeRequest, *, reporter: Reporter) -> SwapResult:
    """Encode a column with another encoder, verify what was written, and serve it.

    Until then the old encoding serves, and runs that have begun on it stay with it. Stopped
    anywhere, the same call goes on. The old encoding stays until it is freed by name.

    Args:
        store_url: A planned store.
        request: The column and the encoder.
        reporter: Shows the run.

    Raises:
        As ``encode_column``, and ShardCorruptError if what was written is not what is there.
    """
    store = Store.open(store_url)
    before = served_column(store, request.column)
    asked = replace(request, may_replace=True, verifies=True)
    encoded = encode_column(store_url, asked, reporter=reporter)
    old = _replaced(store, request.column, encoded.encoding, before)
    if old is None:
        return SwapResult(encoded=encoded)
    served = _served(old)
    return SwapResult(
        encoded=encoded,
        old_encoder=served.name,
        old_encoding=old.record.fingerprint,
        old_bytes=served.bytes,
    )


def _replaced(store: Store, column: str, now: str, before: ColumnView | None) -> ColumnView | None:
    """Return what the column was served by before, also where an earlier run has swapped it."""
    if before is not None and before.record.fingerprint != now:
        return before
    for number in reversed(store.snapshots()):
        view = store.snapshot(number).columns.get(column)
        if view is not None and view.record.fingerprint != now:
            return view
    return None
