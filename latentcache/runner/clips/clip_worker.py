"""The decode side of one long clip: an actor that hands out its frames, a group at a time.

A task would have to return the clip whole; a generator task's back-pressure is no public
option of Ray. An actor is asked for one group after the other, so it never runs ahead of
who asks by more than what was asked for.

Dimension letters: T frames, H height, W width.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import ray

from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.decode import ClipReader, classify, derive, extend_time_limit, time_limit
from latentcache.plan import open_source
from latentcache.runner.decode.decode_tasks import READ_TIME_LIMITS, DecodeOrder, Pixels
from latentcache.storage import num_retries, take_over

GROUP_BYTES = 16 * 2**20
"""Of decoded pixels in one group: large beside what a call costs, small beside the budget."""

MAX_GROUP_FRAMES = 32
"""An encoder call of seconds, not minutes, where frames are small."""


def frames_per_group(bucket: Bucket) -> int:
    """Return how many frames of ``bucket`` go together; depends on nothing else."""
    frame_bytes = bucket.rgb_bytes // bucket.num_frames
    return max(1, min(MAX_GROUP_FRAMES, GROUP_BYTES // frame_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGroup:
    """What the actor answers.

    Attributes:
        frames_THWC: The next frames; None at the end of the clip, and with a reject.
        reject: Why there are no more.
        source_digest: blake2b-128 of the file's bytes; empty if they could not be read.
        source_bytes: Read for this answer.
        busy_s: Seconds it took.
        storage_retries: Storage operations that were tried again meanwhile.
    """

    frames_THWC: Pixels | None = None
    reject: Reject | None = None
    source_digest: bytes = b""
    source_bytes: int = 0
    busy_s: float = 0.0
    storage_retries: int = 0


class ClipWorker:
    """Decodes one clip; a plain class so that it can be read and tested without Ray."""

    def __init__(self, order: DecodeOrder, storage_options: str = "") -> None:
        """Keep what is asked; nothing is opened before the first group.

        Args:
            order: Of one row, a clip.
            storage_options: Of the process that asks; may be secret.
        """
        take_over(storage_options)
        (self._row,) = order.rows
        self._order = order
        self._digest, self._size_bytes = b"", 0
        self._groups = self._iter_groups()

    def next_group(self) -> FrameGroup:
        """Return the next frames of the clip, or why there are none.

        A group that takes too long ends the process.

        Raises:
            StoreError: This machine's libraries make other pixels than the run's.
        """
        started_s, retries_before = time.perf_counter(), num_retries()
        is_first = not self._digest
        if is_first:
            self._order.settings.transform.check_libraries()
        limit_s = self._order.settings.time_limit_s
        group = FrameGroup()
        try:
            with time_limit(READ_TIME_LIMITS * limit_s if is_first else limit_s):
                group = FrameGroup(frames_THWC=next(self._groups, None))
        except Exception as error:  # noqa: BLE001  a decoder may raise anything; it costs one clip
            reject = classify(error, stage="decode")
            # The scan has read it, so what cannot be opened now may come back.
            is_transient = reject.is_transient or not self._digest
            group = FrameGroup(reject=replace(reject, is_transient=is_transient))
        return replace(
            group,
            source_digest=self._digest,
            source_bytes=self._size_bytes if is_first else 0,
            busy_s=time.perf_counter() - started_s,
            storage_retries=num_retries() - retries_before,
        )

    def _iter_groups(self) -> Iterator[Pixels]:
        order = self._order
        request = self._row.clip(order)
        assert request is not None, "long clips are of videos"
        opened = open_source(order.corpus, self._row.source, on_progress=extend_time_limit)
        with opened as (file, size_bytes, digest):
            self._digest, self._size_bytes = digest, size_bytes
            with ClipReader(
                file,
                request,
                size_bytes=size_bytes,
                transform=order.settings.video,
                max_group_frames=frames_per_group(order.bucket),
            ) as reader:
                for frames in reader:
                    derive(frames, order.settings.transform.input)
                    yield frames


# One row, one life: what ends it is told by the clip that it was started for.
ClipActor: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(ClipWorker)
