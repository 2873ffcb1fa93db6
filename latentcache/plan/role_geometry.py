"""How a medium of a role is cut: as its sample, or by its own aspect and budget."""

from functools import lru_cache

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.core.rejects import RejectCode
from latentcache.core.roles import RoleRule
from latentcache.plan.placement.buckets import bucket_table, choose_bucket, fit
from latentcache.plan.plan_options import PlanOptions

_ASPECT_TOLERANCE = 0.01
"""Largest share by which the height may be off once the width is that of the sample."""


@lru_cache(maxsize=8)
def own_buckets(rule: RoleRule) -> tuple[Bucket, ...]:
    """Return the buckets that media of their own geometry may have, one frame each."""
    return bucket_table(_options(rule))


def _options(rule: RoleRule) -> PlanOptions:
    is_coarse = rule.resolution_px >= 512 and not rule.resolution_px % 64
    return PlanOptions(resolution_px=rule.resolution_px, step_px=64 if is_coarse else 32)


def cut_role(
    size_px: tuple[int, int], rule: RoleRule, target: Geometry, bucket: Bucket, *, is_video: bool
) -> tuple[Bucket, Geometry]:
    """Return the shape of a medium's pixels, and how it becomes that.

    A picture is one frame also beside a clip; a video has the frames of its clip.

    Args:
        size_px: Width and height of the medium, upright.
        rule: Of the role.
        target: How the sample's own medium is cut.
        bucket: Of the sample.
        is_video: Whether the medium is a video.

    Raises:
        MediaError: It cannot be cut so.
    """
    if is_video and bucket.num_frames == 1:
        raise _misfit("the medium is a video and its sample a picture")
    num_frames = bucket.num_frames if is_video else 1
    if rule.geometry == "as_target":
        geometry = _as_target(size_px, target)
        return Bucket(num_frames, bucket.height_px, bucket.width_px), geometry
    chosen = choose_bucket(*size_px, own_buckets(rule))
    geometry = fit(*size_px, chosen, _options(rule))
    return Bucket(num_frames, chosen.height_px, chosen.width_px), geometry


def _as_target(size_px: tuple[int, int], target: Geometry) -> Geometry:
    width_px, height_px = size_px
    as_wide_px = height_px * target.source_width_px / width_px
    allowed_px = max(1.0, _ASPECT_TOLERANCE * target.source_height_px)
    if abs(as_wide_px - target.source_height_px) > allowed_px:
        raise _misfit(
            f"the medium is {width_px}x{height_px} px, another aspect than its sample's "
            f"{target.source_width_px}x{target.source_height_px} px; make it fit, or encode it "
            "with --role-geometry own"
        )
    return Geometry(
        source_width_px=width_px,
        source_height_px=height_px,
        resized_width_px=target.resized_width_px,
        resized_height_px=target.resized_height_px,
        crop_left_px=target.crop_left_px,
        crop_top_px=target.crop_top_px,
        is_flipped=target.is_flipped,
    )


def _misfit(reason: str) -> MediaError:
    return MediaError(RejectCode.SIZE_MISMATCH.word, reason)
