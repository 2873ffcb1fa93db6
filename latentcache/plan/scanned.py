"""What a scan adds to a listing: sizes from headers, captions from sidecars, refusals."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from latentcache.core.media import MediaInfo
from latentcache.core.rejects import Reject
from latentcache.plan.listing import (
    VIDEO_EXTENSIONS,
    ListedMedia,
    extension_of,
    file_name,
    storable_text,
)
from latentcache.plan.reading import NUM_REMOTE_READERS
from latentcache.storage import Folder

logger = logging.getLogger(__name__)

MAX_CAPTION_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedMedia:
    """A listed sample with its size in pixels, or with the reason it was refused."""

    listed: ListedMedia
    width_px: int = 0
    height_px: int = 0
    is_animated: bool = False
    reject: Reject | None = None

    @classmethod
    def of(cls, listed: ListedMedia, outcome: MediaInfo | Reject) -> "ScannedMedia":
        """Return ``listed`` with what probing it gave."""
        if isinstance(outcome, Reject):
            return cls(listed=listed, reject=_about_videos(listed, outcome))
        return cls(
            listed=listed,
            width_px=outcome.width_px,
            height_px=outcome.height_px,
            is_animated=outcome.is_animated,
        )

    @property
    def key(self) -> str:
        """The sample's 20 hex digits."""
        return self.listed.key


def _about_videos(listed: ListedMedia, reject: Reject) -> Reject:
    """Return a reject that says "video" where only the name shows that it is one."""
    source = listed.source
    if reject.code == "not_media" and extension_of(source.member or source.path) in (
        VIDEO_EXTENSIONS
    ):
        return replace(reject, code="not_an_image", reason="a video, and the plan is of images")
    return reject


def read_captions(root: Folder, media: Sequence[ScannedMedia]) -> list[ScannedMedia]:
    """Return ``media`` with the captions of their sidecar files among the annotations.

    A sidecar that cannot be read costs its caption, not the sample.
    """
    if root.is_local:
        return [_with_caption(root, each) for each in media]
    with ThreadPoolExecutor(NUM_REMOTE_READERS) as pool:
        return list(pool.map(lambda each: _with_caption(root, each), media))


def _with_caption(root: Folder, media: ScannedMedia) -> ScannedMedia:
    listed = media.listed
    if not listed.sidecar:
        return media
    try:
        data = root.read(file_name(listed.sidecar), start=0, end=MAX_CAPTION_BYTES)
    except OSError as error:
        logger.warning("the caption of %s cannot be read: %s", listed.source.label, error.strerror)
        return media
    text = storable_text(data.decode("utf-8-sig", "replace")).strip()
    fields = {**listed.annotations, "caption": text} if text else listed.annotations
    return replace(media, listed=replace(listed, annotations=fields, sidecar=""))
