"""The medium of a role that a stored latent was made of: where it lies, and how it was cut."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentcache.core.errors import StoreError
from latentcache.core.inputs import parse_input, recorded_input
from latentcache.core.media import Bucket, Geometry, SourceRef
from latentcache.core.roles import RoleEntry, RoleRule, role_annotation
from latentcache.decode import ImageLimits, VideoInfo, probe_medium
from latentcache.plan import cut_role, open_source
from latentcache.storage import Folder
from latentcache.store import ColumnView, Generation
from latentcache.store.rows import open_annotation

ANY_SIZE = ImageLimits(max_pixels=2**40)
"""It was looked into under the limit of its run; asking again is no reason to refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleMedium:
    """How one medium is read.

    Attributes:
        source: Its bytes.
        bucket: Of its pixels, before frames are chosen.
        geometry: How it becomes that.
        is_video: A video, not a picture.
    """

    source: SourceRef
    bucket: Bucket
    geometry: Geometry
    is_video: bool


def role_texts(
    column: ColumnView, generation: Generation, shard: int, rows: Sequence[int]
) -> list[str]:
    """Return where the media of a column's role lie, as the plan says it now; "" of no role."""
    role = parse_input(recorded_input(column.record.transform)).role
    if not role:
        return [""] * len(rows)
    found = open_annotation(column.folder, generation, role_annotation(role))
    if found is None:
        return [""] * len(rows)
    values = found.take(np.full(len(rows), shard), np.array(rows, np.int64)).to_pylist()
    return [each or "" for each in values]


def role_medium(
    root: Folder, text: str, rule: RoleRule, *, target: Geometry, bucket: Bucket
) -> RoleMedium:
    """Return how a medium is read.

    Args:
        root: Of the corpus.
        text: As ``role_texts`` gives it.
        rule: Of the role.
        target: How the sample's own medium is cut.
        bucket: Of the sample.

    Raises:
        MediaError: It cannot be read.
        StoreError: The plan says no more where it lies.
    """
    if not text:
        raise StoreError("medium of the role must be known to the plan, got none any more")
    source = RoleEntry.from_text(text).source
    size_px, is_video = medium_facts(root, source)
    of_role, geometry = cut_role(size_px, rule, target, bucket, is_video=is_video)
    return RoleMedium(source=source, bucket=of_role, geometry=geometry, is_video=is_video)


def medium_facts(root: Folder, source: SourceRef) -> tuple[tuple[int, int], bool]:
    """Return width and height, and whether it is a video."""
    with open_source(root, source) as (file, size_bytes, _):
        info = probe_medium(file, size_bytes=size_bytes, limits=ANY_SIZE)
        return (info.width_px, info.height_px), isinstance(info, VideoInfo)
