"""The further media of one sample as pictures, to be shown beside it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry, SourceRef
from latentcache.core.roles import RoleEntry, role_of_annotation
from latentcache.decode import (
    ClipRequest,
    ImageTransform,
    VideoTransform,
    decode_clip,
    decode_image,
)
from latentcache.evaluate.planned import PlannedSample
from latentcache.evaluate.role_media import ANY_SIZE, medium_facts
from latentcache.plan import open_source
from latentcache.storage import Folder
from latentcache.store import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePicture:
    """One medium.

    Attributes:
        role: E.g. ``control``.
        label: Where it lies, or why it is not shown.
        picture: Whole, uint8 (H, W, 3), of a video its frame at the sample's start; None of none.
    """

    role: str
    label: str
    picture: npt.NDArray[np.uint8] | None


def role_pictures(
    snapshot: Snapshot, sample: PlannedSample, *, corpus_url: str | None, height_px: int
) -> list[RolePicture]:
    """Return the media of all roles that the plan has, in the order of their names.

    Args:
        snapshot: Says where they lie.
        sample: Whose media.
        corpus_url: Where the corpus lies now, if it has moved.
        height_px: Of all pictures.
    """
    root = Folder.open(corpus_url or sample.corpus_url)
    unit = sample.unit.unit
    found = []
    for name in sorted(snapshot.record.annotations):
        if not (role := role_of_annotation(name)):
            continue
        annotation = snapshot.annotation(name, unit.generation)
        text = None if annotation is None else annotation.value(unit.unit.shard, sample.row)
        if text is None:
            found.append(RolePicture(role=role, label="none", picture=None))
            continue
        source = RoleEntry.from_text(text).source
        try:
            picture = _picture(root, sample, source, height_px)
            found.append(RolePicture(role=role, label=source.label, picture=picture))
        except MediaError as error:
            found.append(RolePicture(role=role, label=f"{source.label}: {error}", picture=None))
    return found


def _picture(
    root: Folder, sample: PlannedSample, source: SourceRef, height_px: int
) -> npt.NDArray[np.uint8]:
    (width, height), is_video = medium_facts(root, source)
    bucket = Bucket(1, height_px, max(1, round(width * height_px / height)))
    geometry = Geometry(
        source_width_px=width,
        source_height_px=height,
        resized_width_px=bucket.width_px,
        resized_height_px=bucket.height_px,
        crop_left_px=0,
        crop_top_px=0,
    )
    with open_source(root, source) as (file, size_bytes, _):
        if not is_video:
            rules = ImageTransform()
            return decode_image(file.read(), bucket, geometry, transform=rules, limits=ANY_SIZE)
        request = ClipRequest.of_sample(
            bucket, geometry, start_s=sample.start_s or 0.0, frame_rate_fps=1.0, numbers=()
        )
        assert request is not None, "a video is asked for a clip"
        frames = decode_clip(file, request, size_bytes=size_bytes, transform=VideoTransform())
        first: npt.NDArray[np.uint8] = frames[0]
        return first
