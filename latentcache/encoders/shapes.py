"""Shapes: what one sample's fields measure, and the refusal of a batch that does not fit."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from latentcache.core.errors import EncoderError
from latentcache.core.fields import DTYPE_BYTES, Field
from latentcache.core.inputs import ALL_PIXELS, Modality, parse_input
from latentcache.core.media import Bucket
from latentcache.core.seeds import keyed_uint64
from latentcache.encoders.spec import EncoderSpec, SampleMeta

if TYPE_CHECKING:
    import torch


def field_shape(spec: EncoderSpec, field: Field, bucket: Bucket) -> tuple[int, ...]:
    """Return the shape in which ``field`` of one sample of ``bucket`` is stored.

    An axis that ``field.broadcast`` names is stored with size 1.

    Raises:
        EncoderError: The axes hold a letter whose size only a probe can tell (tokens,
            codebooks without a ``Codebook``, mel bins).
    """
    sizes = {
        "C": field.channels,
        "T": spec.frame_rule.num_latent_frames(bucket.num_frames),
        "H": bucket.height_px // spec.spatial_factor[0],
        "W": bucket.width_px // spec.spatial_factor[1],
        "Q": spec.codebook.num_codebooks if spec.codebook else None,
    }
    shape = []
    for letter in field.axes:
        size = 1 if letter in field.broadcast else sizes.get(letter)
        if size is None:
            raise EncoderError(
                f"axes of field {field.name!r} must be known from the bucket, got "
                f"{field.axes!r} ({spec.name}); measure {letter} with a probe"
            )
        shape.append(size)
    return tuple(shape)


def sample_bytes(spec: EncoderSpec, fields: Sequence[Field], bucket: Bucket) -> int:
    """Return the payload bytes of one sample: all ``fields`` in their storage dtype."""
    return sum(
        prod(field_shape(spec, field, bucket)) * DTYPE_BYTES[field.dtype] for field in fields
    )


def member_bytes(spec: EncoderSpec, fields: Sequence[Field], bucket: Bucket) -> int:
    """Return what one sample takes in a tar, headers and padding included.

    Raises:
        EncoderError: Only a probe can tell.
    """
    from latentcache.store import format as tars  # noqa: PLC0415  loads numpy, a listing has none

    return tars.member_bytes({f.name: (f.dtype, field_shape(spec, f, bucket)) for f in fields})


def bucket_of(pixels: "torch.Tensor") -> Bucket:
    """Return the bucket of a pixel batch, BCHW or BCTHW."""
    num_frames = pixels.shape[2] if pixels.ndim == 5 else 1
    return Bucket(num_frames, pixels.shape[-2], pixels.shape[-1])


_TAKEN: dict[Modality, tuple[str, ...]] = {"pixels": ("image", "video"), "text": ("text",)}
"""What an encoder may be, to be given pixels or a text."""


def check_can_feed(spec: EncoderSpec, asked: str = ALL_PIXELS) -> None:
    """Refuse an encoder that does not take its input.

    Args:
        spec: Of the encoder.
        asked: The input, as ``core.inputs`` writes it.

    Raises:
        EncoderError: It takes something else.
    """
    taken = _TAKEN[parse_input(asked).modality]
    if spec.modality in taken:
        return
    if spec.modality == "text":
        way_out = "give it a text, for instance with --input text:caption"
    elif spec.modality in _TAKEN["pixels"]:
        way_out = "give it pixels by leaving out --input, or name an encoder of texts"
    else:
        way_out = "encoders are given pixels or texts, and nothing else yet"
    raise EncoderError(
        f"modality of an encoder of {asked} must be {' or '.join(taken)}, got {spec.modality!r} "
        f"({spec.name}); {way_out}"
    )


def make_metas(
    keys: Sequence[str], frame_rates_fps: Sequence[float], *, seed: int
) -> list[SampleMeta]:
    """Return what an encoder may know of the rows of its batch.

    Args:
        keys: One per row; "" for a filler row.
        frame_rates_fps: Of the first rows; the others are pictures.
        seed: Of the run; each row's own is keyed by it and the row's key.
    """
    rates = [*frame_rates_fps, *[0.0] * len(keys)]
    return [
        SampleMeta(
            key=key,
            frame_rate_fps=rate,
            seed=keyed_uint64(seed, "encoder", key) >> 1 if key else 0,
        )
        for key, rate in zip(keys, rates, strict=False)
    ]


def check_batch(spec: EncoderSpec, pixels: "torch.Tensor", metas: Sequence[SampleMeta]) -> None:
    """Refuse a batch before the model sees it; every adapter's ``encode`` starts here.

    Models trim odd sizes and trailing frames in silence (docs/encoders.md, "Declared is
    not measured"), so the rule must be kept on our side.

    Raises:
        EncoderError: Wrong modality, rank, channels, geometry, batch size or number of metas.
    """
    check_can_feed(spec)
    num_axes = 5 if spec.modality == "video" else 4
    if pixels.ndim != num_axes or pixels.shape[1] != spec.input_channels:
        layout = "BCTHW" if num_axes == 5 else "BCHW"
        raise EncoderError(
            f"pixels must be {layout} with C={spec.input_channels}, got "
            f"{tuple(pixels.shape)} ({spec.name}); check the encoder's modality"
        )
    refusal = spec.refusal(bucket_of(pixels))
    if refusal is not None:
        raise EncoderError(f"bucket must fit the encoder, got a misfit ({refusal}); plan others")
    if len(metas) != len(pixels):
        raise EncoderError(
            f"metas must be one per row, got {len(metas)} for {len(pixels)} rows ({spec.name}); "
            "pass an empty key for filler rows"
        )
    if spec.max_batch is not None and len(pixels) > spec.max_batch:
        raise EncoderError(
            f"batch must be at most {spec.max_batch}, got {len(pixels)} ({spec.name}); "
            "use a smaller batch"
        )
