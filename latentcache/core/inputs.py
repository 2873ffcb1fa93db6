"""What of a sample an encoder sees: all of it, or its first frame, for conditioning columns."""

from typing import Literal

from latentcache.core.media import Bucket

Input = Literal["all", "first_frame", "first_frame+zeros"]
"""``first_frame`` is that frame as a picture; with ``+zeros``, zeros *in the encoder's input range*
stand for the rest of the clip, as Wan's image-to-video models are conditioned (source: diffusers,
``WanImageToVideoPipeline.prepare_latents``)."""

INPUTS: tuple[Input, ...] = ("all", "first_frame", "first_frame+zeros")


def decoded_bucket(bucket: Bucket, asked: Input) -> Bucket:
    """Return the shape of the pixels that are decoded of a sample of ``bucket``."""
    return bucket if asked == "all" else Bucket(1, bucket.height_px, bucket.width_px)


def encoded_bucket(bucket: Bucket, asked: Input) -> Bucket:
    """Return the shape of the pixels that the encoder is given of a sample of ``bucket``."""
    return decoded_bucket(bucket, asked) if asked == "first_frame" else bucket


def num_zero_frames(bucket: Bucket, asked: Input) -> int:
    """Return how many frames of zeros follow the decoded ones."""
    return encoded_bucket(bucket, asked).num_frames - decoded_bucket(bucket, asked).num_frames
