"""The scan: what every listed file holds, found out by other processes.

Of a picture the header is read and no pixel is decoded, whatever size a manifest claims. Of a
video all packets are read, and its first frame is decoded.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import BinaryIO

from latentcache.core.errors import MediaError, RunError
from latentcache.core.findings import Findings
from latentcache.core.media import MediaInfo, SourceRef
from latentcache.core.rejects import Reject, RejectCode
from latentcache.decode import (
    OF_ANOTHER_KIND,
    ImageLimits,
    Timeline,
    VideoInfo,
    classify,
    extend_time_limit,
    probe_image,
    probe_video,
    time_limit,
)
from latentcache.plan import (
    STILL_FRAMES,
    Captioned,
    ClipRules,
    ListedMedia,
    ScannedMedia,
    VideoLength,
    is_cell,
    is_named_as_video,
    peek_source,
    read_captions,
)
from latentcache.runner.messages.calls import Calls, Ref, WorkerLostError
from latentcache.runner.run_progress import Reporter, RunProgress
from latentcache.runner.video_totals import VideoFacts, VideoTotals
from latentcache.storage import Folder

_TASKS_PER_CPU = 4
_MAX_REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSettings:
    """What all probes of a scan share."""

    corpus: Folder
    limits: ImageLimits
    time_limit_s: float
    clips: ClipRules | None = None
    """How videos are cut; None refuses them."""
    skip_still: bool = False
    """Whether clips that stand still are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedFile:
    """What one listed file holds.

    Attributes:
        source: Where it is.
        samples: One, or the clips of a video; refused ones among them. None of a row without
            bytes.
        video: What is to be said of a video that has clips.
        findings: Kind and example of what was left out or differs.
        sidecars: Name, size in bytes and version of the caption files read.
    """

    source: SourceRef
    samples: list[ScannedMedia]
    video: VideoFacts | None = None
    findings: tuple[tuple[str, str], ...] = ()
    sidecars: tuple[tuple[str, int, str], ...] = ()


@dataclass(slots=True)
class ScanTotals:
    """What one scan found besides samples; complete once it has ended.

    Attributes:
        videos: Counts.
        findings: Counted into; not the listing's, whose place in the corpus is another.
        sidecars: Takes name, size in bytes and version of every caption file read.
    """

    findings: Findings
    sidecars: Callable[[Sequence[tuple[str, int, str]]], None]
    videos: VideoTotals = field(default_factory=VideoTotals)

    def add(self, file: ScannedFile) -> None:
        """Count one file."""
        for kind, example in file.findings:
            self.findings.add(kind, example)
        if file.video is not None:
            self.videos.add(file.video)
            for kind, count in file.video.findings.items():
                self.findings.add(kind, file.source.label, count)
        if file.sidecars:
            self.sidecars(file.sidecars)


def probe_media(settings: ScanSettings, media: list[ListedMedia]) -> list[ScannedFile]:
    """Return what each file holds, or why it cannot be told."""
    remembered: dict[SourceRef, VideoInfo | MediaInfo] = {}
    files = [_probe_one(settings, each, remembered) for each in media]
    samples = [sample for file in files for sample in file.samples]
    told = iter(read_captions(settings.corpus, samples))
    return [_captioned(file, [next(told) for _ in file.samples]) for file in files]


def _captioned(file: ScannedFile, found: list[Captioned]) -> ScannedFile:
    """Return ``file`` with captions; clips of one video share theirs."""
    findings = {
        (each.problem, each.sidecar[0] if each.sidecar else each.media.listed.source.label)
        for each in found
        if each.problem
    }
    return replace(
        file,
        samples=[each.media for each in found],
        findings=(*file.findings, *sorted(findings)),
        sidecars=tuple({each.sidecar for each in found if each.sidecar}),
    )


_Remembered = dict[SourceRef, VideoInfo | MediaInfo]


def _probe_one(settings: ScanSettings, media: ListedMedia, remembered: _Remembered) -> ScannedFile:
    """Return what one file holds.

    Args:
        settings: Of the scan.
        media: As listed.
        remembered: The last file, changed here: a manifest may list many captions of one picture
            or windows of one video in a row, and all packets of a video are read to know it.
    """
    if media.reject is not None:
        return _single(settings, media, media.reject)
    takes_clips = settings.clips is not None and is_named_as_video(media)
    if (known := remembered.get(media.source)) is not None:
        return _of_known(settings, media, known)
    probe_clips = partial(_probe_clips, remembered=remembered)
    probe_picture = partial(_probe_picture, remembered=remembered)
    probes = (probe_clips, probe_picture) if takes_clips else (probe_picture, probe_clips)
    try:
        with (
            time_limit(settings.time_limit_s),
            peek_source(settings.corpus, media.source, on_progress=extend_time_limit) as (
                file,
                size_bytes,
            ),
        ):
            try:
                return probes[0](settings, media, file, size_bytes)
            except MediaError as error:
                # Names lie: a video may be called .jpg, and a picture .mp4.
                if settings.clips is None or error.code not in OF_ANOTHER_KIND:
                    raise
                return _other_kind(probes[1], settings, media, (file, size_bytes), error)
    except Exception as error:  # noqa: BLE001  a header may raise anything; it costs one file
        return _of_refused(settings, media, error)


def _of_known(
    settings: ScanSettings, media: ListedMedia, known: VideoInfo | MediaInfo
) -> ScannedFile:
    if isinstance(known, MediaInfo):
        return _single(settings, media, known)
    return _clips_of(settings, media, known)


def _of_refused(settings: ScanSettings, media: ListedMedia, error: Exception) -> ScannedFile:
    reject = classify(error, stage="scan")
    if reject.code == RejectCode.EMPTY.word and is_cell(media.source):
        # img2dataset keeps a row for what it could not download.
        found = ("row_without_medium", media.source.label)
        return ScannedFile(source=media.source, samples=[], findings=(found,))
    return _single(settings, media, reject)


def _single(settings: ScanSettings, media: ListedMedia, outcome: MediaInfo | Reject) -> ScannedFile:
    has_clips = settings.clips is not None
    findings: tuple[tuple[str, str], ...] = ()
    claimed = {(media.width_px, media.height_px), (media.height_px, media.width_px)}
    # A claim that differs by a turn was made before EXIF.
    if (
        media.width_px
        and isinstance(outcome, MediaInfo)
        and (outcome.width_px, outcome.height_px) not in claimed
    ):
        findings = (("claim_differs", media.source.label),)
    return ScannedFile(
        source=media.source,
        samples=[ScannedMedia.of(media, outcome, has_clips=has_clips)],
        findings=findings,
    )


def _other_kind(
    probe: "Callable[[ScanSettings, ListedMedia, BinaryIO, int], ScannedFile]",
    settings: ScanSettings,
    media: ListedMedia,
    opened: tuple[BinaryIO, int],
    first: MediaError,
) -> ScannedFile:
    try:
        return probe(settings, media, *opened)
    except MediaError:
        raise first from None


def _probe_picture(
    settings: ScanSettings,
    media: ListedMedia,
    file: BinaryIO,
    size_bytes: int,
    *,
    remembered: _Remembered,
) -> ScannedFile:
    info = probe_image(file, size_bytes=size_bytes, limits=settings.limits)
    remembered.clear()
    remembered[media.source] = info
    return _single(settings, media, info)


def _probe_clips(
    settings: ScanSettings,
    media: ListedMedia,
    file: BinaryIO,
    size_bytes: int,
    *,
    remembered: _Remembered,
) -> ScannedFile:
    info = probe_video(file, size_bytes=size_bytes, limits=settings.limits)
    remembered.clear()
    remembered[media.source] = info
    return _clips_of(settings, media, info)


def _clips_of(settings: ScanSettings, media: ListedMedia, info: VideoInfo) -> ScannedFile:
    assert settings.clips is not None, "asked for only where a plan has clips"
    line = info.timeline
    video = VideoLength(
        last_s=line.time_s(line.num_frames - 1),
        frame_s=line.frame_s,
        frame_rate_fps=line.frame_rate_fps,
    )
    size_px = (info.width_px, info.height_px)
    samples = ScannedMedia.of_video(media, size_px, video, settings.clips)
    is_still = [_stands_still(line, each) for each in samples]
    if settings.skip_still:
        pairs = zip(samples, is_still, strict=True)
        samples = [each.as_still() if still else each for each, still in pairs]
    taken = [each.clip for each in samples if each.clip is not None and each.reject is None]
    if not taken and not any(is_still):
        return ScannedFile(source=media.source, samples=samples)
    facts = VideoFacts.of(line, taken, num_still=sum(is_still))
    return ScannedFile(source=media.source, samples=samples, video=facts)


def _stands_still(line: Timeline, sample: ScannedMedia) -> bool:
    return sample.clip is not None and line.longest_stand(sample.clip.times_s()) >= STILL_FRAMES


def scan(
    settings: ScanSettings,
    chunks: Iterable[list[ListedMedia]],
    *,
    calls: Calls,
    num_cpus: int,
    reporter: Reporter,
    totals: ScanTotals,
) -> Iterator[list[ScannedMedia]]:
    """Yield the samples of each chunk, in listing order, with bounded memory.

    Args:
        settings: Of all probes.
        chunks: Listed files.
        calls: Run the probes.
        num_cpus: To keep busy.
        reporter: Told of progress.
        totals: Counted into.
    """
    started_s = time.monotonic()
    waiting: deque[tuple[list[ListedMedia], Ref]] = deque()
    done = rejected = 0
    source = iter(chunks)
    exhausted = False
    while not exhausted or waiting:
        while not exhausted and len(waiting) < max(2, num_cpus * _TASKS_PER_CPU):
            chunk = next(source, None)
            if chunk is None:
                exhausted = True
            else:
                waiting.append((chunk, calls.submit(_probe, (settings, chunk))))
        if not waiting:
            break
        chunk, ref = waiting.popleft()
        files = _collect(settings, chunk, ref, calls)
        for file in files:
            totals.add(file)
        scanned = [sample for file in files for sample in file.samples]
        done += len(files)
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


def _probe(asked: tuple[ScanSettings, list[ListedMedia]]) -> list[ScannedFile]:
    return probe_media(*asked)


def _collect(
    settings: ScanSettings, chunk: list[ListedMedia], ref: Ref, calls: Calls
) -> list[ScannedFile]:
    """Return the chunk's answers; if its worker died, halve until the deadly file is alone."""
    for _ in range(_MAX_REPEATS):
        try:
            answers: list[ScannedFile] = calls.get(ref)
        except WorkerLostError as error:
            if error.is_strike:
                return _halved(settings, chunk, calls)
            ref = calls.submit(_probe, (settings, chunk))
        else:
            sources = [file.source for file in answers]
            assert sources == [each.source for each in chunk], "answers are of the files asked for"
            return answers
    raise RunError(
        f"scan tasks must survive, got {_MAX_REPEATS} losses of one task; look at Ray's logs"
    )


def _halved(settings: ScanSettings, chunk: list[ListedMedia], calls: Calls) -> list[ScannedFile]:
    if len(chunk) == 1:
        error = MediaError(
            RejectCode.CRASHED.word,
            "reading its header kills or hangs the decoder",
            is_transient=True,
        )
        return [_single(settings, chunk[0], classify(error, stage="scan"))]
    middle = len(chunk) // 2
    halves = [chunk[:middle], chunk[middle:]]
    refs = [calls.submit(_probe, (settings, half)) for half in halves]
    return [
        each
        for half, ref in zip(halves, refs, strict=True)
        for each in _collect(settings, half, ref, calls)
    ]
