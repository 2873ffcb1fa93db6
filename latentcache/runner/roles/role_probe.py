"""Looking into media of roles: what each is and how large, before any pixel is decoded.

A role's size is asked when it is encoded and not when it is planned: a plan of any number of roles
opens no more files than one of none, and a medium that is broken costs its row in one column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from latentcache.core.media import SourceRef
from latentcache.core.rejects import Reject, RejectCode
from latentcache.decode import (
    ImageLimits,
    VideoInfo,
    classify,
    extend_time_limit,
    probe_medium,
    time_limit,
)
from latentcache.plan import ListedMedia, is_cell, is_named_as_video, peek_source
from latentcache.runner.decode.pixel_stream import KILLS_ITS_READER
from latentcache.runner.messages.calls import Calls, WorkerLostError
from latentcache.storage import Folder

_ROWS_PER_CALL = 32
_MAX_REPEATS = 5

ABSENT = Reject(
    code=RejectCode.ABSENT.word, stage="decode", reason="the sample has no medium of this role"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFacts:
    """What one medium of a role is.

    Attributes:
        width_px: Upright.
        height_px: Upright.
        is_video: A video, not a picture.
        reject: Why it cannot be used, if so.
    """

    width_px: int = 0
    height_px: int = 0
    is_video: bool = False
    reject: Reject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleProbe:
    """What one call is asked.

    Attributes:
        corpus: Root of the paths.
        sources: To look into.
        limits: What is refused.
        time_limit_s: Per medium.
    """

    corpus: Folder
    sources: tuple[SourceRef, ...]
    limits: ImageLimits
    time_limit_s: float


def probe_roles(asked: RoleProbe) -> list[RoleFacts]:
    """Return what each medium is; one that is broken costs itself alone."""
    return [_probed(asked, source) for source in asked.sources]


def _probed(asked: RoleProbe, source: SourceRef) -> RoleFacts:
    try:
        with (
            time_limit(asked.time_limit_s),
            peek_source(asked.corpus, source, on_progress=extend_time_limit) as (file, size_bytes),
        ):
            info = probe_medium(
                file,
                size_bytes=size_bytes,
                limits=asked.limits,
                is_named_as_video=is_named_as_video(ListedMedia(source=source)),
            )
    except Exception as error:  # noqa: BLE001  a header may raise anything; it costs one medium
        reject = classify(error, stage="decode")
        if reject.code == RejectCode.EMPTY.word and is_cell(source):
            reject = ABSENT  # a null in a column of bytes
        return RoleFacts(reject=reject)
    is_video = isinstance(info, VideoInfo)
    return RoleFacts(width_px=info.width_px, height_px=info.height_px, is_video=is_video)


def look_into(probe: RoleProbe, calls: Calls) -> list[RoleFacts]:
    """Return what each medium is, found out by other processes, one of which may die of it."""
    sources = probe.sources
    runs = [
        _of(probe, sources[start : start + _ROWS_PER_CALL])
        for start in range(0, len(sources), _ROWS_PER_CALL)
    ]
    refs = [calls.submit(probe_roles, run) for run in runs]
    found: list[RoleFacts] = []
    for run, ref in zip(runs, refs, strict=True):
        found += _collected(run, ref, calls)
    return found


def _collected(run: RoleProbe, ref: object, calls: Calls) -> Sequence[RoleFacts]:
    for _ in range(_MAX_REPEATS):
        try:
            answers: list[RoleFacts] = calls.get(ref)
        except WorkerLostError as error:
            if error.is_strike and len(run.sources) == 1:
                break
            if error.is_strike:
                return [one for each in run.sources for one in look_into(_of(run, (each,)), calls)]
            ref = calls.submit(probe_roles, run)
        else:
            return answers
    return [RoleFacts(reject=KILLS_ITS_READER)] * len(run.sources)


def _of(probe: RoleProbe, sources: Sequence[SourceRef]) -> RoleProbe:
    return RoleProbe(
        corpus=probe.corpus,
        sources=tuple(sources),
        limits=probe.limits,
        time_limit_s=probe.time_limit_s,
    )
