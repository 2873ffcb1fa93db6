"""The scan: every listed file's header, read by Ray tasks; no pixel is decoded.

A file that a manifest measured is believed and not opened; decode checks the size.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import ray
from ray.exceptions import RayError, WorkerCrashedError

from latentcache.core.errors import MediaError, RunError
from latentcache.core.media import MediaInfo
from latentcache.core.rejects import Reject, RejectCode
from latentcache.decode import ImageLimits, classify, probe_image, time_limit
from latentcache.plan import ListedMedia, ScannedMedia, open_source, read_captions
from latentcache.runner.progress import Reporter, RunProgress
from latentcache.storage import Folder

_TASKS_PER_CPU = 4
_MAX_REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSettings:
    """What all probes of a scan share."""

    corpus: Folder
    limits: ImageLimits
    time_limit_s: float


def probe_media(settings: ScanSettings, media: list[ListedMedia]) -> list[ScannedMedia]:
    """Return what each header says, or why it says nothing."""
    scanned = [ScannedMedia.of(each, each.reject or _probe_one(settings, each)) for each in media]
    return read_captions(settings.corpus, scanned)


def _probe_one(settings: ScanSettings, media: ListedMedia) -> MediaInfo | Reject:
    if media.width_px and media.height_px:
        return MediaInfo(
            width_px=media.width_px, height_px=media.height_px, format="claimed", mode="claimed"
        )
    try:
        with (
            time_limit(settings.time_limit_s),
            open_source(settings.corpus, media.source) as (file, size_bytes),
        ):
            return probe_image(file, size_bytes=size_bytes, limits=settings.limits)
    except Exception as error:  # noqa: BLE001  a header may raise anything; it costs one sample
        return classify(error, stage="scan")


_probe_task = ray.remote(num_cpus=1, max_retries=0)(probe_media)


def scan(
    settings: ScanSettings,
    chunks: Iterable[list[ListedMedia]],
    *,
    num_cpus: int,
    reporter: Reporter,
) -> Iterator[list[ScannedMedia]]:
    """Yield the scanned media of each chunk, in listing order, with bounded memory."""
    started_s = time.monotonic()
    waiting: deque[tuple[list[ListedMedia], ray.ObjectRef[list[ScannedMedia]]]] = deque()
    done = rejected = 0
    source = iter(chunks)
    exhausted = False
    while not exhausted or waiting:
        while not exhausted and len(waiting) < max(2, num_cpus * _TASKS_PER_CPU):
            chunk = next(source, None)
            if chunk is None:
                exhausted = True
            else:
                waiting.append((chunk, _probe_task.remote(settings, chunk)))
        if not waiting:
            break
        chunk, ref = waiting.popleft()
        scanned = _collect(settings, chunk, ref)
        done += len(scanned)
        rejected += sum(each.reject is not None for each in scanned)
        reporter.update(
            RunProgress(
                stage="scan",
                done=done,
                total=done + sum(len(each) for each, _ in waiting) if exhausted else None,
                quarantined=rejected,
                elapsed_s=time.monotonic() - started_s,
            )
        )
        yield scanned


def _collect(
    settings: ScanSettings, chunk: list[ListedMedia], ref: "ray.ObjectRef[list[ScannedMedia]]"
) -> list[ScannedMedia]:
    """Return the chunk's answers; if its worker died, halve until the deadly file is alone."""
    for _ in range(_MAX_REPEATS):
        try:
            answers: list[ScannedMedia] = ray.get(ref)
        except WorkerCrashedError:
            return _halved(settings, chunk)
        except RayError:
            ref = _probe_task.remote(settings, chunk)
        else:
            assert [each.key for each in answers] == [each.key for each in chunk]
            return answers
    raise RunError(
        f"scan tasks must survive, got {_MAX_REPEATS} losses of one task; look at Ray's logs"
    )


def _halved(settings: ScanSettings, chunk: list[ListedMedia]) -> list[ScannedMedia]:
    if len(chunk) == 1:
        error = MediaError(
            RejectCode.CRASHED.word,
            "reading its header kills or hangs the decoder",
            is_transient=True,
        )
        return [ScannedMedia.of(chunk[0], classify(error, stage="scan"))]
    middle = len(chunk) // 2
    halves = [chunk[:middle], chunk[middle:]]
    refs = [_probe_task.remote(settings, half) for half in halves]
    return [
        each
        for half, ref in zip(halves, refs, strict=True)
        for each in _collect(settings, half, ref)
    ]
