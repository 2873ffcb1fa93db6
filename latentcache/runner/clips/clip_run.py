"""One long clip on one actor: frames, latents and statistics a group at a time, then a commit.

Nothing here holds the clip: pixels come in groups, latents lie in a file on the scratch disk
until the tar is written. Whatever happens in the middle, the clip begins anew or is rejected;
no state survives.
"""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import ExitStack, closing

import pyarrow as pa

from latentcache.core.errors import RunError
from latentcache.core.inputs import decoded_bucket, encoded_bucket, frame_numbers, num_zero_frames
from latentcache.core.rejects import RETIRED_ROW, Reject
from latentcache.runner.clips.clip_encoding import ClipEncoding, ClipFailedError, EncodedPiece
from latentcache.runner.clips.clip_frames import ClipFrames, ClipRejectedError, ClipWorkerDiedError
from latentcache.runner.clips.clip_latents import ClipLatents
from latentcache.runner.clips.clip_worker import frames_per_group
from latentcache.runner.decode.batch_collector import decode_rows_of
from latentcache.runner.decode.decode_tasks import DecodeOrder
from latentcache.runner.decode.pixel_stream import KILLS_ITS_READER, MAX_REPEATS
from latentcache.runner.forward.batch_encoder import NON_FINITE, failed
from latentcache.runner.forward.stored_batch import float32_of
from latentcache.runner.messages.run_errors import EncoderOutOfMemoryError
from latentcache.runner.messages.stage_times import WRITE
from latentcache.runner.messages.unit_orders import (
    DEATHS_ALONE,
    KILLS_ITS_ENCODER,
    UnitOrder,
    UnitOutcome,
)
from latentcache.runner.units.unit_tools import UnitTally, UnitTools
from latentcache.stats import UnitStatistics
from latentcache.storage import Folder
from latentcache.store import UnitWriter

_GROUPS_AHEAD = 2
"""One under way and one waiting: the encode thread never waits for the disk."""


class ClipRun:
    """Encodes and commits the unit of one long clip."""

    def __init__(self, order: UnitOrder, table: pa.Table, tools: UnitTools) -> None:
        """Prepare a run.

        Args:
            order: Which unit, and what happened to it before.
            table: The unit's plan row, with ``PLAN_COLUMNS``.
            tools: Of the actor.
        """
        (self._row,) = decode_rows_of(table, order.retired)
        self._order, self._tools = order, tools
        self._input = tools.pixels.transform.input
        self._bucket = encoded_bucket(order.unit.bucket, self._input)
        self._statistics = self._empty_statistics()
        self._tally = UnitTally(tools, order)
        self._frames = self._new_frames()

    def run(self) -> UnitOutcome:
        """Return the outcome once the unit is committed.

        Raises:
            UnitCancelledError: The run was stopped; nothing was committed.
            EncoderOutOfMemoryError: The device has no room for one group of frames.
            EncoderBrokenError: The encoder fails on plain grey too.
        """
        try:
            with self._tools.writer(self._order) as writer:
                reject = self._encoded(writer)
                digest = self._frames.source_digest
                if reject is not None:
                    # What came before the clip went wrong is of no sample.
                    self._statistics = self._empty_statistics()
                    writer.reject(self._row.row, reject, source_digest=digest)
                    self._tally.rejected(reject)
                self._tools.check_cancelled()
                return self._tally.committed(writer, self._statistics)
        finally:
            self._tally.close()

    def _encoded(self, writer: UnitWriter) -> Reject | None:
        """Hand the clip's latents to ``writer``, or return why it has none."""
        if self._row.is_retired:
            return RETIRED_ROW
        if self._order.deaths.get(f"row:{self._row.row}", 0) >= DEATHS_ALONE:
            return KILLS_ITS_ENCODER
        deaths = failures = 0
        is_float32 = False
        for _ in range(MAX_REPEATS):
            encoding = self._encoding(is_float32=is_float32)
            try:
                self._attempt(encoding, writer)
            except ClipRejectedError as error:
                # What overflows in half precision may be finite in float32.
                if error.reject is not NON_FINITE or is_float32 or self._computes_float32:
                    return error.reject
                is_float32 = True
            except ClipWorkerDiedError as error:
                deaths += error.is_strike
                if deaths >= DEATHS_ALONE:
                    return KILLS_ITS_READER
            except (ClipFailedError, EncoderOutOfMemoryError) as error:
                encoding.reset()
                failures += 1
                if failures > 1:
                    return self._judged(encoding, error)
            else:
                return None
        raise RunError(
            f"a clip's decode worker must survive, got {MAX_REPEATS} losses (unit "
            f"{self._order.unit.unit}); give the machine more memory or fewer actors"
        )

    @property
    def _computes_float32(self) -> bool:
        return self._tools.encoder.encoder.spec.compute_dtype == "float32"

    def _judged(
        self, encoding: ClipEncoding, error: ClipFailedError | EncoderOutOfMemoryError
    ) -> Reject:
        """Return the reject of a clip that the encoder failed on twice, if it is to blame."""
        if isinstance(error, EncoderOutOfMemoryError):
            raise error
        encoding.check_alive()
        cause = error.__cause__
        assert isinstance(cause, Exception), "raised from what the encoder raised"
        return failed(cause)

    def _attempt(self, encoding: ClipEncoding, writer: UnitWriter) -> None:
        """Encode the clip from its start and add it to ``writer``."""
        self._statistics, self._frames = self._empty_statistics(), self._new_frames()
        with ExitStack() as stack:
            stack.callback(encoding.close)
            latents = ClipLatents(
                self._tools.record.fields, encoding.num_latent_frames, writer.scratch_folder
            )
            stack.callback(latents.close)
            pending: deque[Future[EncodedPiece | None]] = deque()
            for future in stack.enter_context(closing(self._pushes(encoding))):
                pending.append(future)
                if len(pending) > _GROUPS_AHEAD:
                    self._keep(pending.popleft(), latents)
            while pending:
                self._keep(pending.popleft(), latents)
            self._tools.check_cancelled()
            with self._tools.stages.during(WRITE):
                writer.add(
                    self._row.row,
                    self._row.key,
                    latents.tensors(),
                    source_digest=self._frames.source_digest,
                )
            self._tally.worked(1)
            self._tally.encoded(1)

    def _pushes(
        self, encoding: ClipEncoding
    ) -> "Generator[Future[EncodedPiece | None], None, None]":
        """Yield what was submitted: the clip's frames, zeros if they are asked for, the end."""
        is_noted = self._order.is_careful
        place = f"row:{self._row.row}"
        note = self._tools.noting(self._order.unit, place) if is_noted else None
        num_zeros = num_zero_frames(self._order.unit.bucket, self._input)
        size = frames_per_group(self._bucket)
        for frames_THWC in self._frames:
            is_before_zeros = num_zeros > 0
            yield encoding.push(frames_THWC[:1] if is_before_zeros else frames_THWC, note=note)
            while num_zeros:
                yield encoding.push_zeros(min(size, num_zeros), note=note)
                num_zeros -= min(size, num_zeros)
            if is_before_zeros and len(frames_THWC) > 1:
                yield encoding.push(frames_THWC[1:], note=note)
        yield encoding.finish(note=note)

    def _keep(self, future: "Future[EncodedPiece | None]", latents: ClipLatents) -> None:
        """Write what a group gave and add it to the statistics."""
        piece = self._tools.wait(future)
        if piece is None:
            return
        with self._tools.stages.during(WRITE):
            latents.add(piece)
            self._statistics.add(
                {name: float32_of(values) for name, values in piece.fields.items()},
                posterior_logvar=None if piece.logvar is None else piece.logvar.numpy(),
                is_continued=piece.start > 0,
            )
        self._tally.share(latents.share)

    def _encoding(self, *, is_float32: bool) -> ClipEncoding:
        return ClipEncoding(self._tools.encoder, self._row.key, self._bucket, is_float32=is_float32)

    def _empty_statistics(self) -> UnitStatistics:
        return self._tools.statistics(self._order.unit.bucket)

    def _new_frames(self) -> ClipFrames:
        tools, bucket = self._tools, decoded_bucket(self._order.unit.bucket, self._input)
        order = DecodeOrder(
            corpus=Folder.open(self._order.corpus_url),
            bucket=bucket,
            rows=(self._row,),
            settings=tools.pixels,
            frame_numbers=frame_numbers(self._order.unit.bucket, self._input),
        )
        return ClipFrames(
            order,
            calls=tools.calls,
            budget=tools.budget,
            cancelled=tools.cancelled,
            counters=tools.counters,
            stages=tools.stages,
        )
