"""Decode tasks: a run of planned rows in, one block of pixels with its failures out.

A task covers rows fixed by the plan and names each of them in its answer, because Ray may
run it again anywhere: the actor that asked checks the rows, never their number.

Dimension letters: N rows, T frames, H height, W width.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from io import BytesIO
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import MediaError
from latentcache.core.media import MID_GREY, Bucket, Geometry, SourceRef
from latentcache.core.rejects import RETIRED_ROW, Reject
from latentcache.decode import (
    ClipRequest,
    ImageLimits,
    IsolatedSample,
    MediaTransform,
    VideoTransform,
    classify,
    decode_clips,
    decode_cuts,
    decode_isolated,
    derive,
    extend_time_limit,
    time_limit,
)
from latentcache.plan import open_source, read_sources
from latentcache.storage import Folder, num_retries
from latentcache.store.format import SOURCE_DIGEST_BYTES

Pixels = npt.NDArray[np.uint8]

MAX_TASK_ROWS = 32
"""A dead worker costs the rows of one task a second try; see docs/decisions."""

MAX_TASK_BYTES = 64 * 2**20
"""Of decoded pixels; a 1024 px image has 3 MiB."""

READ_TIME_LIMITS = 4
"""A task's bytes, or some MiB of a video's, may take this many time limits of one sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRow:
    """One planned sample, as a decode task needs it; one that is retired is not even read."""

    row: int
    key: str
    source: SourceRef
    geometry: Geometry
    start_s: float | None = None
    frame_rate_fps: float | None = None
    is_retired: bool = False

    def clip(self, order: "DecodeOrder") -> ClipRequest | None:
        """Return which frames of a video are asked of it; None for a picture."""
        return ClipRequest.of_sample(
            order.bucket,
            self.geometry,
            start_s=self.start_s,
            frame_rate_fps=self.frame_rate_fps,
            numbers=order.frame_numbers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSettings:
    """What all tasks of a run share.

    Attributes:
        transform: How pixels are made; part of the encoding's identity.
        limits: What is refused.
        time_limit_s: Per sample.
    """

    transform: MediaTransform
    limits: ImageLimits
    time_limit_s: float

    @property
    def video(self) -> VideoTransform:
        """How clips are made; an encoder that takes none is never asked for any."""
        assert self.transform.video is not None, "buckets of clips are refused to others"
        return self.transform.video


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOrder:
    """What one task is asked to do.

    Attributes:
        frame_numbers: Which frames of each clip, from 0; () is the first ones.
        is_isolated: Run each row in a process of its own: these rows were in a task that died.
    """

    corpus: Folder
    bucket: Bucket
    rows: tuple[DecodeRow, ...]
    settings: DecodeSettings
    frame_numbers: tuple[int, ...] = ()
    is_isolated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedRows:
    """What one task answers.

    Attributes:
        rows: The rows that were asked for, in order.
        pixels_NTHWC: uint8 RGB; mid-grey where a row was rejected.
        rejects: By row.
        source_digests: blake2b-128 of each row's bytes; empty if they could not be read.
        source_bytes: Read in all.
        busy_s: Seconds the task ran.
        storage_retries: Storage operations that were tried again meanwhile.
    """

    rows: tuple[int, ...]
    pixels_NTHWC: npt.NDArray[np.uint8]
    rejects: dict[int, Reject] = field(default_factory=dict)
    source_digests: dict[int, bytes] = field(default_factory=dict)
    source_bytes: int = 0
    busy_s: float = 0.0
    storage_retries: int = 0


def rows_per_task(bucket: Bucket) -> int:
    """Return how many rows of ``bucket`` one task takes; depends on nothing else."""
    return max(1, min(MAX_TASK_ROWS, MAX_TASK_BYTES // bucket.rgb_bytes))


def decode_rows(order: DecodeOrder) -> DecodedRows:
    """Return the pixels of ``order``'s rows; a bad row costs itself alone.

    Raises:
        StoreError: This machine's libraries make other pixels than the run's.
    """
    order.settings.transform.check_libraries()
    return _decode_rows(order)


def _decode_rows(order: DecodeOrder) -> DecodedRows:
    started, retries_before = time.perf_counter(), num_retries()
    bucket = order.bucket
    shape = (len(order.rows), bucket.num_frames, bucket.height_px, bucket.width_px, 3)
    decoded = DecodedRows(
        rows=tuple(each.row for each in order.rows),
        pixels_NTHWC=np.empty(shape, dtype=np.uint8),
    )
    decoded.rejects.update({each.row: RETIRED_ROW for each in order.rows if each.is_retired})
    num_bytes = _decode_pictures(order, decoded) + sum(
        _decode_video(order, places, decoded) for places in _videos(order.rows)
    )
    for place, each in enumerate(order.rows):
        if each.row in decoded.rejects:
            decoded.pixels_NTHWC[place] = MID_GREY
        else:
            derive(decoded.pixels_NTHWC[place], order.settings.transform.input)
    return replace(
        decoded,
        source_bytes=num_bytes,
        busy_s=time.perf_counter() - started,
        storage_retries=num_retries() - retries_before,
    )


def _decode_pictures(order: DecodeOrder, decoded: DecodedRows) -> int:
    """Fill in all pictures, read together to save requests; return the bytes read."""
    pictures = _pictures(order.rows)
    if not pictures:
        return 0
    sources = list(dict.fromkeys(order.rows[places[0]].source for places in pictures))
    with time_limit(READ_TIME_LIMITS * order.settings.time_limit_s):
        payloads = dict(zip(sources, read_sources(order.corpus, sources), strict=True))
    digests: dict[SourceRef, bytes] = {}
    for places in pictures:
        source = order.rows[places[0]].source
        payload = payloads[source]
        if isinstance(payload, MediaError):
            _reject_unread(order, places, payload, decoded)
            continue
        if source not in digests:
            digests[source] = blake2b(payload, digest_size=SOURCE_DIGEST_BYTES).digest()
        decoded.source_digests.update({order.rows[place].row: digests[source] for place in places})
        _fill(order, places, (BytesIO(payload), len(payload)), decoded)
    return sum(len(payload) for payload in payloads.values() if not isinstance(payload, MediaError))


def _pictures(rows: Sequence[DecodeRow]) -> list[list[int]]:
    """Return the places of pictures, those that one decode serves together."""
    pictures: dict[tuple[SourceRef, tuple[int, ...]], list[int]] = {}
    for place, each in enumerate(rows):
        if each.start_s is None and not each.is_retired:
            pictures.setdefault((each.source, each.geometry.uncut), []).append(place)
    return list(pictures.values())


def _videos(rows: Sequence[DecodeRow]) -> list[list[int]]:
    """Return the places of clips, those of one video together."""
    videos: dict[SourceRef, list[int]] = {}
    for place, each in enumerate(rows):
        if each.start_s is not None and not each.is_retired:
            videos.setdefault(each.source, []).append(place)
    return list(videos.values())


def _decode_video(order: DecodeOrder, places: list[int], decoded: DecodedRows) -> int:
    """Fill in the clips of one video, which may be larger than memory; return its bytes."""
    with ExitStack() as opened:
        try:
            # A limit for each stretch of the file, however long it is.
            with time_limit(READ_TIME_LIMITS * order.settings.time_limit_s):
                file, size_bytes, digest = opened.enter_context(
                    open_source(
                        order.corpus, order.rows[places[0]].source, on_progress=extend_time_limit
                    )
                )
        except MediaError as error:
            _reject_unread(order, places, error, decoded)
            return 0
        decoded.source_digests.update({order.rows[place].row: digest for place in places})
        _fill(order, places, (file, size_bytes), decoded)
        return size_bytes


def _reject_unread(
    order: DecodeOrder, places: Sequence[int], error: MediaError, decoded: DecodedRows
) -> None:
    # The scan has read it, so what is missing now may come back.
    reject = replace(classify(error, stage="decode"), is_transient=True)
    decoded.rejects.update({order.rows[place].row: reject for place in places})


def _fill(
    order: DecodeOrder, places: Sequence[int], opened: tuple[BinaryIO, int], decoded: DecodedRows
) -> None:
    """Put the pixels of one file's rows in their places, or note why there are none."""
    rows = [order.rows[place] for place in places]
    missing = set(range(len(rows)))
    decode = _isolated if order.is_isolated else _in_this_process
    targets = [decoded.pixels_NTHWC[place] for place in places]
    try:
        for index, error in decode(order, rows, opened, targets):
            missing.discard(index)
            if error is not None:
                decoded.rejects[rows[index].row] = classify(error, stage="decode")
        assert not missing, "every row is answered for"
    except Exception as error:  # noqa: BLE001  a decoder may raise anything; it costs one file
        reject = classify(error, stage="decode")
        decoded.rejects.update({rows[index].row: reject for index in missing})


def _in_this_process(
    order: DecodeOrder,
    rows: Sequence[DecodeRow],
    opened: tuple[BinaryIO, int],
    targets: Sequence[Pixels],
) -> Iterator[tuple[int, MediaError | None]]:
    """Fill in one file's rows, each of T frames, and yield what became of them as they come."""
    file, size_bytes = opened
    settings, requests = order.settings, [each.clip(order) for each in rows]
    clips = [request for request in requests if request is not None]
    if not clips:
        cuts = decode_cuts(
            file.read(),
            order.bucket,
            [each.geometry for each in rows],
            transform=settings.transform.image,
            limits=settings.limits,
            reading=settings.transform.reading,
        )
        for index, target in enumerate(targets):
            with time_limit(settings.time_limit_s):  # of each cut
                target[:] = next(cuts)
            yield index, None
        return
    decoded = decode_clips(
        file, clips, size_bytes=size_bytes, transform=settings.video, into=targets
    )
    while True:
        with time_limit(settings.time_limit_s):  # of each clip
            found = next(decoded, None)
        if found is None:
            return
        index, pixels = found
        yield index, pixels if isinstance(pixels, MediaError) else None


def _isolated(
    order: DecodeOrder,
    rows: Sequence[DecodeRow],
    opened: tuple[BinaryIO, int],
    targets: Sequence[Pixels],
) -> Iterator[tuple[int, MediaError | None]]:
    settings = order.settings
    for index, each in enumerate(rows):
        clip = each.clip(order)
        sample = IsolatedSample(
            bucket=order.bucket,
            geometry=each.geometry,
            start_s=clip.start_s if clip else None,
            frame_rate_fps=clip.frame_rate_fps if clip else None,
            frame_numbers=order.frame_numbers,
        )
        try:
            targets[index][:] = decode_isolated(
                opened[0],
                sample,
                transform=settings.transform,
                limits=settings.limits,
                time_limit_s=settings.time_limit_s,
            )
        except MediaError as error:
            yield index, error
        else:
            yield index, None


def decode_rows_alone(order: DecodeOrder) -> DecodedRows:
    """Return what ``decode_rows`` returns, in a process that does nothing else."""
    _use_one_core()
    return decode_rows(order)


def decode_rows_to_measure(order: DecodeOrder) -> DecodedRows:
    """Return what ``decode_rows_alone`` returns, whatever libraries the transform names.

    Nothing of it may be stored.
    """
    _use_one_core()
    return _decode_rows(order)


def _use_one_core() -> None:
    """There is one decode worker per core already; the bits do not depend on it."""
    import torch  # noqa: PLC0415  whoever only makes orders does without

    torch.set_num_threads(1)


def split_rows(rows: Sequence[DecodeRow], bucket: Bucket) -> list[tuple[DecodeRow, ...]]:
    """Return ``rows`` cut into the runs that tasks take, in row order."""
    size = rows_per_task(bucket)
    return [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]
