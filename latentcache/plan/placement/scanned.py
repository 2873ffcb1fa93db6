"""What a scan adds to a listing: sizes from headers, captions from sidecars, refusals."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from latentcache.core.errors import MediaError
from latentcache.core.media import MediaInfo
from latentcache.core.rejects import Reject
from latentcache.plan.clips import STILL_FRAMES, Clip, ClipRules, VideoLength, clip_within, clips_of
from latentcache.plan.listing import (
    ListedMedia,
    file_name,
    is_named_as_video,
    text_of,
)
from latentcache.plan.read_sources import NUM_REMOTE_READERS
from latentcache.storage import Folder

MAX_CAPTION_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedMedia:
    """A sample with its size in pixels, or with the reason it was refused.

    Attributes:
        listed: Where it is.
        width_px: Upright.
        height_px: Upright.
        is_animated: A picture with further frames.
        clip: Which stretch of a video it is; None for a picture.
        reject: Why it is refused, if so.
    """

    listed: ListedMedia
    width_px: int = 0
    height_px: int = 0
    is_animated: bool = False
    clip: Clip | None = None
    reject: Reject | None = None

    @classmethod
    def of(
        cls, listed: ListedMedia, outcome: MediaInfo | Reject, *, has_clips: bool = False
    ) -> "ScannedMedia":
        """Return ``listed`` with what probing it gave.

        Args:
            listed: The file.
            outcome: Of it.
            has_clips: The plan takes videos too.
        """
        if isinstance(outcome, Reject):
            reject = outcome if has_clips else _about_videos(listed, outcome)
            return cls(listed=_as_refused(listed), reject=reject)
        return cls(
            listed=listed,
            width_px=outcome.width_px,
            height_px=outcome.height_px,
            is_animated=outcome.is_animated,
        )

    @classmethod
    def of_video(
        cls, listed: ListedMedia, size_px: tuple[int, int], video: VideoLength, rules: ClipRules
    ) -> "list[ScannedMedia]":
        """Return the clips of a video, or why it has none.

        Args:
            listed: The video; a window that a manifest gives is its one clip.
            size_px: (width, height), upright.
            video: How long it is.
            rules: How it is cut.
        """
        try:
            if listed.start_s is not None or listed.end_s is not None:
                clips = [clip_within(video, rules, listed.start_s or 0.0, listed.end_s)]
            else:
                clips = clips_of(video, rules)
        except MediaError as error:
            reject = Reject(code=error.code, stage="scan", reason=str(error))
            return [cls(listed=_as_refused(listed), reject=reject)]
        return [
            cls(
                listed=replace(listed, window=clip.window),
                width_px=size_px[0],
                height_px=size_px[1],
                clip=clip,
            )
            for clip in clips
        ]

    def as_still(self) -> "ScannedMedia":
        """Return a clip as one that the plan's options leave out because it stands still."""
        reason = f"one picture stands for {STILL_FRAMES} frames of the clip or more"
        return replace(self, reject=Reject(code="stands_still", stage="scan", reason=reason))

    @property
    def key(self) -> str:
        """The sample's 20 hex digits."""
        return self.listed.key


def _as_refused(listed: ListedMedia) -> ListedMedia:
    """Return a refused record under a key of its own: a film has one for each of its windows."""
    if listed.window or (listed.start_s is None and listed.end_s is None):
        return listed
    bounds = ("" if each is None else f"{each:.6f}" for each in (listed.start_s, listed.end_s))
    return replace(listed, window="-".join(bounds))


def _about_videos(listed: ListedMedia, reject: Reject) -> Reject:
    """Return a reject that says "video" where only the name shows that it is one."""
    if reject.code == "not_media" and is_named_as_video(listed):
        return replace(reject, code="not_an_image", reason="a video, and the plan is of images")
    return reject


@dataclass(frozen=True, slots=True)
class Captioned:
    """A sample with the caption of its sidecar file.

    Attributes:
        media: With the caption among its annotations, if it has one.
        sidecar: Name, size in bytes and version of the file that was read; None without one.
        problem: Kind of the finding, if the caption is left out.
    """

    media: ScannedMedia
    sidecar: tuple[str, int, str] | None = None
    problem: str = ""


def read_captions(root: Folder, media: Sequence[ScannedMedia]) -> list[Captioned]:
    """Return ``media`` with the captions of their sidecar files among the annotations.

    A sidecar that cannot be read, or is no text, costs its caption, not the sample.
    """
    if root.is_local:
        return [_with_caption(root, each) for each in media]
    with ThreadPoolExecutor(NUM_REMOTE_READERS) as pool:
        return list(pool.map(lambda each: _with_caption(root, each), media))


def _with_caption(root: Folder, media: ScannedMedia) -> Captioned:
    listed = media.listed
    if not listed.sidecar:
        return Captioned(media)
    media = replace(media, listed=replace(listed, sidecar=""))
    name = file_name(listed.sidecar)
    try:
        facts = root.stat(name)
        data = root.read(name, start=0, end=MAX_CAPTION_BYTES)
    except OSError:
        return Captioned(media, problem="caption_unreadable")
    found = (listed.sidecar, facts.size_bytes, facts.version) if facts else None
    text = text_of(data)
    if text is None:
        return Captioned(media, found, problem="caption_not_text")
    fields = {**listed.annotations, "caption": text.strip()} if text.strip() else listed.annotations
    return Captioned(replace(media, listed=replace(media.listed, annotations=fields)), found)
