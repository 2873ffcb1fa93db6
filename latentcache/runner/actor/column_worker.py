"""What an encode actor does for one column: its encoder described, its units run."""

import json
import logging
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import EncoderError, LatentCacheError
from latentcache.core.fingerprint import canonical_json
from latentcache.core.inputs import encoded_bucket, parse_input
from latentcache.core.media import Bucket
from latentcache.core.units import UnitRange
from latentcache.decode import MediaTransform
from latentcache.encoders import (
    Encoder,
    EncoderOptions,
    EncoderSpec,
    encoding_identity,
    load_encoder,
    member_bytes,
    stored_fields,
)
from latentcache.runner.clips.long_clips import can_stream, long_clip_refusal
from latentcache.runner.decode.batch_collector import PLAN_COLUMNS
from latentcache.runner.decode.byte_budget import ByteBudget
from latentcache.runner.decode.decode_tasks import DecodedRows, DecodeSettings
from latentcache.runner.forward.batch_encoder import (
    BatchEncoder,
    EncodeBatch,
    EncodePolicy,
)
from latentcache.runner.forward.device import (
    CPU_PIXELS_PER_BATCH,
    device_name,
    fitting_pixels,
    software_facts,
)
from latentcache.runner.forward.encode_thread import encode_thread
from latentcache.runner.forward.encoder_probe import ProbeResult, check_same_probe, probe
from latentcache.runner.messages.actor_setup import (
    ActorProgress,
    ActorSetup,
    ColumnSetup,
    EncoderDescription,
)
from latentcache.runner.messages.calls import ActorCalls
from latentcache.runner.messages.stage_times import DECODE, StageClock
from latentcache.runner.messages.unit_orders import UnitCounters, UnitOrder, UnitOutcome
from latentcache.runner.roles.role_buckets import role_buckets
from latentcache.runner.roles.role_rows import role_rows
from latentcache.runner.text.named_texts import TEXTS_PER_BATCH, encoded_texts, measured_text
from latentcache.runner.text.text_run import TextRun
from latentcache.runner.text.text_source import text_identity
from latentcache.runner.units.unit_rows import UnitRows
from latentcache.runner.units.unit_run import UnitRun
from latentcache.runner.units.unit_tools import UnitTools
from latentcache.storage import Folder
from latentcache.store import EncodingRecord, Store
from latentcache.store.units import remove_dead_scratch

logger = logging.getLogger(__name__)

_CALIBRATION_ROWS = 8
_CALIBRATION_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedTools:
    """What the columns of one actor share.

    Attributes:
        thread: The one on which all its encoders work, one batch at a time.
        calls: Runs decode calls, and keeps notes of careful units.
        budget: Of decoded pixels in flight.
        cancelled: Set when the run is stopped.
        stages: Where the actor's time goes.
        name: Of the actor in the ledger.
    """

    thread: ThreadPoolExecutor
    calls: ActorCalls
    budget: ByteBudget
    cancelled: threading.Event = field(default_factory=threading.Event)
    stages: StageClock = field(default_factory=StageClock)
    name: str = ""

    @classmethod
    def of(cls, setup: ActorSetup, calls: ActorCalls, name: str = "") -> "SharedTools":
        """Return what the columns of an actor share.

        Args:
            setup: Of the actor.
            calls: Runs its decode calls, and keeps its notes.
            name: Of the actor in the ledger.
        """
        return cls(
            thread=encode_thread(setup.threads),
            calls=calls,
            budget=ByteBudget(setup.budget_bytes),
            name=name,
        )


class ColumnWorker:
    """One column of an actor; its methods are called from the actor's threads."""

    def __init__(self, setup: ActorSetup, column: ColumnSetup, shared: SharedTools) -> None:
        """Keep what is given; the encoder is loaded by the first call that needs it.

        Args:
            setup: Of the actor.
            column: Which of its columns this is.
            shared: What it has in common with the others.
        """
        self._setup, self._column, self._shared = setup, column, shared
        self._counters = UnitCounters()
        self._begun = threading.Event()
        self._begin_error: LatentCacheError | None = None

    @cached_property
    def _transform(self) -> MediaTransform:
        takes_clips = self._encoder.encoder.spec.modality == "video"
        return self._column.encode.transform(takes_clips=takes_clips)

    @cached_property
    def _encoder(self) -> BatchEncoder:
        return BatchEncoder(
            self._make_encoder,
            policy=self._policy,
            thread=self._shared.thread,
            asked=self._column.encode.input,
            stages=self._shared.stages,
        )

    @cached_property
    def _measured(self) -> ProbeResult:
        """What the encoder makes of fixed pictures or texts."""
        return measured_text(self._encoder) if self._is_of_text else probe(self._encoder)

    def load(self) -> None:
        """Load the encoder.

        Raises:
            EncoderError: It cannot be loaded.
        """
        assert self._encoder is not None

    def describe(self, buckets: dict[str, bool]) -> EncoderDescription:
        """Return what the loaded encoder is, does with the probe, and refuses of ``buckets``.

        Args:
            buckets: As text, and whether their clips are long.

        Raises:
            EncoderError: Its probe shows that it is not usable.
        """
        spec = self._encoder.encoder.spec
        encode = self._column.encode
        measured = self._measured
        if self._is_of_text:
            return self._described(measured, {}, buckets=[])
        if (rule := encode.role_rule()) is not None:
            buckets = role_buckets(buckets, rule, spec)
        seen = {text: encoded_bucket(Bucket.parse(text), encode.input) for text in buckets}
        refusals = {
            text: spec.refusal(bucket)
            or long_clip_refusal(spec, bucket, bytes_per_pixel=measured.bytes_per_pixel)
            for text, bucket in seen.items()
        }
        batched = [
            bucket for text, bucket in seen.items() if refusals[text] is None and not buckets[text]
        ]
        return self._described(measured, refusals, buckets=batched)

    def _described(
        self, measured: ProbeResult, refusals: dict[str, str | None], *, buckets: list[Bucket]
    ) -> EncoderDescription:
        spec, encode = self._encoder.encoder.spec, self._column.encode
        transform = text_identity(encode.input) if self._is_of_text else self._transform.identity()
        max_batch = 1 if spec.is_batch_coupled else spec.max_batch
        if self._is_of_text and not encode.batch_size:
            max_batch = min(max_batch or TEXTS_PER_BATCH, TEXTS_PER_BATCH)
        return EncoderDescription(
            identity=encoding_identity(
                spec,
                policy=encode.policy,
                storage_dtype=self._storage_dtype,
                transform_identity=transform,
                seed=encode.seed,
                batch={"size": encode.batch_size} if encode.batch_size else {},
            ),
            spec=json.loads(canonical_json(spec)),
            fields=self._encoder.policy.fields,
            normalizer=None if spec.normalizer is None else asdict(spec.normalizer),
            transform=transform,
            probe=measured.values,
            bytes_per_pixel=measured.bytes_per_pixel,
            max_batch=max_batch,
            pixels_per_batch=self._pixels_per_batch(buckets),
            refusals={name: reason for name, reason in refusals.items() if reason},
            device_type=self._encoder.encoder.device.type,
            device_name=device_name(self._encoder.encoder.device),
            former_digests=spec.former_digests,
            bytes_per_sample=measured.bytes_per_sample,
        )

    def bytes_in_tar(self, buckets: list[str]) -> dict[str, int]:
        """Return what a sample of each of some buckets that fit takes; a text at its longest.

        Args:
            buckets: As text.
        """
        spec, fields = self._encoder.encoder.spec, self._encoder.policy.fields
        measured, asked = self._measured, self._column.encode.input
        if measured.bytes_per_sample is not None:
            return dict.fromkeys(buckets, measured.bytes_per_sample)
        found = {}
        for text in buckets:
            bucket = encoded_bucket(Bucket.parse(text), asked)
            try:
                found[text] = member_bytes(spec, fields, bucket)
            except EncoderError:  # how many tokens a picture gives, pixels tell
                found[text] = round(measured.bytes_per_pixel * bucket.num_pixels)
        return found

    def seconds_per_sample(self, decoded: DecodedRows) -> float:
        """Return what one sample costs in the encoder, at the batch size a CPU run would use."""
        size = min(len(decoded.rows), _CALIBRATION_ROWS)
        keys = tuple(f"calibration {index}" for index in range(size))
        batch = EncodeBatch(pixels_BTHWC=decoded.pixels_NTHWC[:size].copy(), keys=keys)
        self._encoder.submit(batch).result()  # the first call allocates
        before_s, num_done = self._encoder.busy_s, 0
        while num_done == 0 or self._encoder.busy_s - before_s < _CALIBRATION_S:
            self._encoder.submit(batch).result()
            num_done += size
        return (self._encoder.busy_s - before_s) / num_done

    def begin(self, record: EncodingRecord) -> None:
        """Take the encoding that all later units belong to, and check that this is its encoder.

        An error is kept for the units, whose outcome the driver waits for.
        """
        try:
            dtype = self._encoder.encoder.spec.compute_dtype
            check_same_probe(record.probe, self._measured.values, dtype=dtype)
            self._store = Store.open(self._setup.store_url)
            self._tools = self._make_tools(record)
            self._take_scratch()
            self._encoder.stages.restart()
        except LatentCacheError as error:
            self._begin_error = error
        finally:
            self._begun.set()

    def _take_scratch(self) -> None:
        """Remove what killed runs of this host left where this one writes."""
        folder = self._setup.scratch or self._store.folder.local_path() or tempfile.gettempdir()
        if num_bytes := remove_dead_scratch(Path(folder)):
            logger.info("removed %d bytes of unfinished tars of runs that are gone", num_bytes)

    def run_unit(self, order: UnitOrder) -> UnitOutcome:
        """Encode and commit one unit; see ``UnitRun.run`` and ``ClipRun.run``."""
        self._check_begun()
        with self._encoder.stages.during(DECODE):
            return self._run_unit(order)

    def _run_unit(self, order: UnitOrder) -> UnitOutcome:
        table = self._table(order)
        if self._is_of_text:
            generation = self._store.generations()[order.unit.generation]
            return TextRun(order, table, generation, self._tools).run()
        if parse_input(self._column.encode.input).role:
            generation = self._store.generations()[order.unit.generation]
            rows = role_rows(order, table, generation, self._tools)
            return UnitRun(order, rows, self._tools).run()
        seen = encoded_bucket(order.unit.bucket, self._column.encode.input)
        is_streamed = order.unit.is_long and seen.num_frames > 1
        if is_streamed and can_stream(self._encoder.encoder.spec):
            from latentcache.runner.clips.clip_run import ClipRun  # noqa: PLC0415  loads Ray

            return ClipRun(order, table, self._tools).run()
        return UnitRun(order, UnitRows.planned(order, table), self._tools).run()

    def planned_unit(self, order: UnitOrder) -> UnitRun:
        """Return a unit of the samples' own pixels, ready to be run, its kept batches read."""
        self._check_begun()
        unit = UnitRun(order, UnitRows.planned(order, self._table(order)), self._tools)
        unit.take_up()
        return unit

    def _check_begun(self) -> None:
        self._begun.wait()
        if self._begin_error is not None:
            raise self._begin_error

    def _table(self, order: UnitOrder) -> pa.Table:
        return self._store.read_rows(order.unit, columns=list(PLAN_COLUMNS))

    def encode_texts(self, texts: tuple[str, ...]) -> list[bytes]:
        """Return what texts give as tensor files, each as a row of that text would be stored."""
        return encoded_texts(self._encoder, texts, size=self._tools.record.batch.max)

    def codebook(self) -> np.ndarray[Any, Any] | None:
        """Return the vectors that indices name, float32 [K, D]; None of encoders without."""
        table = getattr(self._encoder.encoder, "codebook_table", None)
        if table is None:
            return None
        found: np.ndarray[Any, Any] = self._shared.thread.submit(table).result().numpy()
        return found

    def progress(self) -> ActorProgress:
        """Return the running totals; where the time goes is the actor's to tell."""
        counters, has_begun = self._counters, self._begun.is_set() and self._begin_error is None
        return ActorProgress(
            rows_worked=counters.rows_worked,
            rows_taken_up=counters.rows_taken_up,
            rows_kept=sum(list(counters.kept.values())),
            under_way=sum(list(counters.under_way.values())),
            source_bytes=counters.source_bytes,
            decode_busy_s=counters.decode_busy_s,
            tasks_pending=counters.tasks_pending,
            budget_used_bytes=self._shared.budget.used_bytes,
            batch_age_s=self._encoder.batch_age_s if has_begun else 0.0,
        )

    def _make_tools(self, record: EncodingRecord) -> UnitTools:
        return UnitTools(
            store=self._store.folder,
            record=record,
            encoder=self._encoder,
            settings=None if self._is_of_text else self._settings(),
            budget=self._shared.budget,
            cancelled=self._shared.cancelled,
            counters=self._counters,
            note=self._note,
            calls=self._shared.calls,
            software=software_facts(self._encoder.encoder.device, self._setup.threads),
            scratch=Path(self._setup.scratch) if self._setup.scratch else None,
            kept=Folder.open(self._column.kept_url),
            keep_every_s=self._setup.keep_every_s,
        )

    def _settings(self) -> DecodeSettings:
        return DecodeSettings(
            transform=self._transform,
            limits=self._setup.limits,
            time_limit_s=self._setup.time_limit_s,
        )

    @cached_property
    def _is_of_text(self) -> bool:
        return parse_input(self._column.encode.input).modality == "text"

    def _note(self, unit: UnitRange, place: str) -> None:
        """Say what runs next, and wait until it is known; that nothing runs need not be."""
        name = f"{self._column.column}/{unit.unit}"
        self._shared.calls.note(self._shared.name, name, place)

    def _make_encoder(self, dtype: str | None) -> Encoder:
        encode = self._column.encode
        return load_encoder(
            encode.encoder,
            EncoderOptions(
                device=self._setup.device,
                dtype=dtype or (None if encode.dtype == "auto" else encode.dtype),
                is_offline=encode.is_offline,
            ),
        )

    @property
    def _storage_dtype(self) -> str | None:
        asked = self._column.encode.storage_dtype
        return None if asked == "auto" else asked

    def _policy(self, spec: EncoderSpec) -> EncodePolicy:
        encode = self._column.encode
        fields = stored_fields(spec, encode.policy, self._storage_dtype)
        return EncodePolicy(fields=fields, policy=encode.policy, seed=encode.seed)

    def _pixels_per_batch(self, buckets: list[Bucket]) -> int:
        if self._encoder.encoder.device.type == "cpu" or not buckets:
            return CPU_PIXELS_PER_BATCH
        return fitting_pixels(self._encoder, max(buckets, key=lambda each: each.num_pixels))
