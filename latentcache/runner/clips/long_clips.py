"""Which clips are too long for an encoder. Every encoder is asked, so this loads no Ray."""

from latentcache.core.media import LONG_CLIP_BYTES, Bucket
from latentcache.encoders import EncoderSpec

_MAX_LATENT_BYTES = 8 * 2**30 - 2**20
"""A member of a tar is smaller than 8 GiB; its header takes some of it."""


def can_stream(spec: EncoderSpec) -> bool:
    """Whether clips of any length can be encoded in pieces and their latents joined."""
    is_joined = all("T" in field.axes and "T" not in field.broadcast for field in spec.fields)
    return spec.streaming != "none" and is_joined


def long_clip_refusal(spec: EncoderSpec, bucket: Bucket, *, bytes_per_pixel: float) -> str | None:
    """Return why a clip of ``bucket`` cannot be encoded for its length, or None if it can.

    Args:
        spec: Of the encoder, which takes the bucket as far as its frame rule goes.
        bucket: As the encoder sees it.
        bytes_per_pixel: Stored, of the shortest legal clip.
    """
    if bucket.num_frames == 1:
        return None
    if bucket.rgb_bytes > LONG_CLIP_BYTES and not can_stream(spec):
        why = spec.streaming_refusal or "its latents have no time axis to be joined along"
        return (
            f"{bucket} has {bucket.rgb_bytes / 2**20:.0f} MiB of pixels, more than the "
            f"{LONG_CLIP_BYTES // 2**20} that are encoded whole, and {spec.name} takes no clip in "
            f"pieces: {why}"
        )
    rule = spec.frame_rule
    shortest = bytes_per_pixel * bucket.height_px * bucket.width_px * rule.first
    stored = shortest * rule.num_latent_frames(bucket.num_frames) / rule.latent_first
    if stored > _MAX_LATENT_BYTES:
        return (
            f"{bucket} would have {stored / 2**30:.1f} GiB of latents, more than the 8 GiB that a "
            f"member of a tar can hold; cut it into clips, or store less of the posterior"
        )
    return None
