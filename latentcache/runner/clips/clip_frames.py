"""The frames of one long clip in order, read ahead within the budget, whatever worker dies.

A clip that one decode task can hold comes as a task of its own, with all that
``pixel_stream`` does for it. A longer one comes from an actor of its own, and is never whole.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

import ray
from ray.exceptions import RayError

from latentcache.core.errors import LatentCacheError
from latentcache.core.rejects import Reject
from latentcache.runner.clips.clip_worker import ClipActor, FrameGroup, frames_per_group
from latentcache.runner.decode.byte_budget import ByteBudget
from latentcache.runner.decode.decode_tasks import MAX_TASK_BYTES, DecodeOrder, Pixels
from latentcache.runner.decode.pixel_stream import POLL_S, PixelStream
from latentcache.runner.messages.calls import Calls, NotDoneError, WorkerLostError
from latentcache.runner.messages.run_errors import UnitCancelledError
from latentcache.runner.messages.stage_times import StageClock
from latentcache.runner.messages.unit_orders import UnitCounters
from latentcache.storage import process_text

_GROUPS_AHEAD = 2
"""One under way and one waiting, so that the encoder waits for neither decode nor transfer."""


class ClipRejectedError(LatentCacheError):
    """The clip has no latent, and is not to be tried again now."""

    def __init__(self, reject: Reject) -> None:
        super().__init__(reject.reason)
        self.reject = reject


class ClipWorkerDiedError(LatentCacheError):
    """The process that decodes the clip died, and with it its place in the file.

    Attributes:
        is_strike: The clip may be to blame.
    """

    def __init__(self, *, is_strike: bool) -> None:
        super().__init__("the decode worker of a clip died")
        self.is_strike = is_strike


class ClipFrames:
    """Iterates the frames of one clip, uint8 (T, H, W, 3), a group at a time.

    How a clip is cut into groups depends on its bucket alone.

    Attributes:
        source_digest: blake2b-128 of the file's bytes, once they were read; else empty.
    """

    def __init__(
        self,
        order: DecodeOrder,
        *,
        calls: Calls,
        budget: ByteBudget,
        cancelled: threading.Event,
        counters: UnitCounters,
        stages: StageClock,
    ) -> None:
        """Prepare.

        Args:
            order: Of one row, a clip.
            calls: Ray's; run the decoding of a clip that one call can hold.
            budget: Of the actor.
            cancelled: Set when the run is stopped.
            counters: Counted into.
            stages: Too.
        """
        (self._row,) = order.rows
        self._order, self._budget, self._cancelled = order, budget, cancelled
        self._calls, self._counters, self._stages = calls, counters, stages
        self._size = frames_per_group(order.bucket)
        self.source_digest = b""

    def __iter__(self) -> Iterator[Pixels]:
        """Yield the groups.

        Raises:
            ClipRejectedError: The clip cannot be decoded.
            ClipWorkerDiedError: Its process died; begin anew.
            UnitCancelledError: The run was stopped.
        """
        if self._order.bucket.rgb_bytes <= MAX_TASK_BYTES:
            return self._iter_task()
        return self._iter_actor()

    def _iter_task(self) -> Iterator[Pixels]:
        stream = PixelStream(
            self._order,
            self._order.rows,
            calls=self._calls,
            budget=self._budget,
            cancelled=self._cancelled,
        )
        for decoded in stream:
            self._counters.source_bytes += decoded.source_bytes
            self._counters.decode_busy_s += decoded.busy_s
            self._stages.retried(decoded.storage_retries)
            self.source_digest = decoded.source_digests.get(self._row.row, b"")
            if decoded.rejects:
                raise ClipRejectedError(decoded.rejects[self._row.row])
            (frames_THWC,) = decoded.pixels_NTHWC
            for start in range(0, len(frames_THWC), self._size):
                yield frames_THWC[start : start + self._size].copy()

    def _iter_actor(self) -> Iterator[Pixels]:
        bucket = self._order.bucket
        group_bytes = bucket.rgb_bytes // bucket.num_frames * self._size
        num_bytes = (1 + _GROUPS_AHEAD) * group_bytes
        if not self._budget.acquire(num_bytes, cancelled=self._cancelled):
            raise UnitCancelledError("the run was stopped")
        worker = ClipActor.remote(self._order, process_text())
        asked: deque[ray.ObjectRef[FrameGroup]] = deque()
        try:
            for _ in range(math.ceil(bucket.num_frames / self._size)):
                while len(asked) <= _GROUPS_AHEAD:
                    asked.append(worker.next_group.remote())
                yield self._frames_of(self._get(asked.popleft()))
        finally:
            with suppress(RayError):
                ray.kill(worker)
            self._budget.release(num_bytes)

    def _frames_of(self, group: FrameGroup) -> Pixels:
        self._counters.source_bytes += group.source_bytes
        self._counters.decode_busy_s += group.busy_s
        self._stages.retried(group.storage_retries)
        self.source_digest = group.source_digest
        if group.reject is not None:
            raise ClipRejectedError(group.reject)
        assert group.frames_THWC is not None, "a reader gives all frames of its clip or an error"
        # Ray's own memory is read-only, and is given back once nothing points into it.
        return group.frames_THWC.copy()

    def _get(self, ref: "ray.ObjectRef[FrameGroup]") -> FrameGroup:
        while True:
            if self._cancelled.is_set():
                raise UnitCancelledError("the run was stopped")
            try:
                group: FrameGroup = self._calls.get(ref, timeout_s=POLL_S)
            except NotDoneError:
                continue
            except WorkerLostError as error:
                raise ClipWorkerDiedError(is_strike=error.is_strike) from error
            return group
