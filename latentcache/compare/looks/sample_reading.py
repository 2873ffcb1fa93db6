"""One sample of a space: stored fields, latent as a model trains on it, pixels and their decode.

Dimension letters: B batch, C channels, T frames, H height, W width.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from latentcache.compare.spaces import Space
from latentcache.core.errors import EncoderError
from latentcache.core.inputs import encoded_bucket, recorded_input
from latentcache.core.media import Bucket
from latentcache.encoders import DecodingEncoder, SampleMeta
from latentcache.evaluate import (
    PlannedSample,
    as_tensor,
    decode_batch,
    first_latent_frames,
    num_compared,
    read_pixels,
    read_stored,
)
from latentcache.loader import Normalizer
from latentcache.loader.transform import primary_field

_MOVES_VALUES = ("pack", "permute")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelPair:
    """A sample's pixels, before and after.

    Attributes:
        original_TCHW: float32, 0 to 255.
        unrounded_TCHW: What it decodes to, float32, as the decoder gives it; None where it is not
            decoded.
        why_not: A sentence; "" if it was decoded or was not to be.
        decode_s: What decoding took.
        digest: Of the original's bytes: two spaces are compared where it is the same.
    """

    original_TCHW: Tensor
    unrounded_TCHW: Tensor | None = None
    why_not: str = ""
    decode_s: float = 0.0
    digest: str

    @property
    def decoded_TCHW(self) -> Tensor | None:
        """The decode as it is shown and scored: clamped and rounded as 8-bit RGB."""
        return None if self.unrounded_TCHW is None else as_8_bit(self.unrounded_TCHW)


class SampleReader:
    """Reads samples of one space."""

    def __init__(self, space: Space, *, corpus_url: str | None = None) -> None:
        self.space, self._corpus_url = space, corpus_url
        self.field = primary_field(space.view)
        self.normalizer = unpacked(space.normalizer)

    def bucket(self, sample: PlannedSample) -> Bucket:
        """Return the shape of the pixels that were encoded."""
        return encoded_bucket(sample.bucket, recorded_input(self.space.view.record.transform))

    def fields(self, sample: PlannedSample) -> dict[str, Tensor]:
        """Return the stored fields; of a clip too long to be decoded whole, all of them."""
        stored = read_stored(self.space.view, sample)
        return {name: as_tensor(value) for name, value in stored.items()}

    def latent(self, fields: Mapping[str, Tensor], *, is_trained: bool = True) -> Tensor | None:
        """Return the latent as float32 CTHW, or None of codes.

        Args:
            fields: Of one sample.
            is_trained: As a model trains on it, normalized; else as stored.
        """
        if self.field.kind == "indices":
            return None
        value = fields[self.field.name].float()
        if is_trained and self.normalizer is not None:
            value = self.normalizer.apply(value[None])[0]
        return as_cthw(value, self.field.axes)

    def stored_of(self, latent_CTHW: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return fields to decode, from a latent as trained on, float32: inverse of ``latent``."""
        value = from_cthw(latent_CTHW, self.field.axes)
        if self.normalizer is not None:
            value = self.normalizer.invert(value[None])[0]
        return {**fields, self.field.name: value}

    def original(self, sample: PlannedSample) -> Tensor:
        """Return what the encoder saw, float32 TCHW, 0 to 255.

        Raises:
            MediaError: The source cannot be had any more, or has changed.
        """
        num_frames = None
        if self.space.encoder is not None:
            num_frames = num_compared(self.bucket(sample), self.space.encoder.spec)
        pixels = read_pixels(
            sample, self.space.view.record, corpus_url=self._corpus_url, num_frames=num_frames
        )
        frames = pixels if pixels.ndim == 4 else pixels[None]
        return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float()

    def pair(
        self, sample: PlannedSample, fields: Mapping[str, Tensor], *, is_decoded: bool = True
    ) -> PixelPair:
        """Return a sample's pixels and what its stored latent decodes to.

        Args:
            sample: Of this space.
            fields: As stored.
            is_decoded: Else the pixels alone, which cost little.

        Raises:
            MediaError: The source cannot be had any more, or has changed.
        """
        original = self.original(sample)
        digest = blake2b(original.byte().numpy().tobytes(), digest_size=16).hexdigest()
        encoder = self.space.encoder
        if encoder is None or not is_decoded:
            why = self.space.why_no_encoder if is_decoded else ""
            return PixelPair(original_TCHW=original, why_not=why, digest=digest)
        bucket = self.bucket(sample)
        if len(original) < bucket.num_frames:
            count = encoder.spec.frame_rule.num_latent_frames(len(original))
            fields = first_latent_frames(fields, self.space.view.record.fields, count)
        began = time.perf_counter()
        try:
            decoded, why = decode(encoder, fields), ""
        except EncoderError as error:
            decoded, why = None, str(error)
        return PixelPair(
            original_TCHW=original,
            unrounded_TCHW=decoded,
            why_not=why,
            decode_s=time.perf_counter() - began,
            digest=digest,
        )


def decode(encoder: DecodingEncoder, fields: Mapping[str, Tensor]) -> Tensor:
    """Return the pixels of one sample, float32 TCHW on the scale 0 to 255, not clamped.

    Raises:
        EncoderError: It fails, or gives values that are not finite.
    """
    try:
        decoded = decode_batch(encoder, {name: each[None] for name, each in fields.items()})[0]
    except (RuntimeError, ValueError) as error:
        encoder.reset()
        raise EncoderError(
            f"stored latents must be decodable, got {type(error).__name__} from "
            f"{encoder.spec.name}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        ) from None
    is_bad = ~torch.isfinite(decoded)
    if is_bad.any():
        raise EncoderError(
            f"decoded pixels must be finite, got {int(is_bad.sum()):,} of {is_bad.numel():,} that "
            f"are not, from {encoder.spec.name}; try --dtype or another device, or encode again"
        )
    return decoded[None] if decoded.ndim == 3 else decoded.movedim(0, 1)


def encode(encoder: DecodingEncoder, pixels_TCHW: Tensor, meta: SampleMeta) -> dict[str, Tensor]:
    """Return the fields of one sample, float32, before any rounding for storage.

    Args:
        encoder: Of the space.
        pixels_TCHW: float32, 0 to 255; one frame for an image encoder.
        meta: Of the sample.
    """
    low, high = encoder.spec.input_range
    scaled = pixels_TCHW / 255.0 * (high - low) + low
    is_video = encoder.spec.modality == "video"
    batch = scaled.movedim(1, 0)[None] if is_video else scaled[:1]
    with torch.inference_mode():
        found = encoder.encode(batch.to(encoder.device), [meta])[0]
    return {name: value.float().cpu() for name, value in found.items()}


def as_8_bit(pixels: Tensor) -> Tensor:
    """Return pixels as they are shown and scored: clamped and rounded."""
    return pixels.clamp(0.0, 255.0).round()


def as_cthw(value: Tensor, axes: str) -> Tensor:
    """Return a latent as CTHW: what has no time has one frame, tokens are one line."""
    if "H" not in axes:
        return value.movedim(axes.index("C"), 0).reshape(value.shape[axes.index("C")], 1, 1, -1)
    order = [axes.index(letter) for letter in "CTHW" if letter in axes]
    moved = value.permute(order)
    return moved if "T" in axes else moved[:, None]


def from_cthw(latent_CTHW: Tensor, axes: str) -> Tensor:
    """Return what ``as_cthw`` was given, of latents on a grid."""
    letters = [letter for letter in "CTHW" if letter in axes]
    value = latent_CTHW if "T" in axes else latent_CTHW[:, 0]
    return value.permute([letters.index(letter) for letter in axes])


def unpacked(normalizer: Normalizer | None) -> Normalizer | None:
    """Return a normalizer that keeps the latent a grid: tokens are packed from the same values."""
    if normalizer is None:
        return None
    kept = [op for op in normalizer.ops if op["op"] not in _MOVES_VALUES]
    names = [op["op"] for op in normalizer.ops]
    if "pack" in names and any(name not in _MOVES_VALUES for name in names[names.index("pack") :]):
        return None  # its figures are of packed channels
    return replace(normalizer, ops=tuple(kept))


def has_grid(axes: str) -> bool:
    """Whether a latent has height and width."""
    return "H" in axes and "W" in axes
