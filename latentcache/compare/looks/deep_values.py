"""What needs the encoder again and again: storage, equivariance, smoothness; of some samples.

Equivariance as in EQ-VAE (arXiv 2502.09509): ``|E(tau x) - tau E(x)| / |E(x)|``, tau a turn by 90
degrees or halving with bilinear filtering, over latents as a model trains on them. Smoothness: the
latent plus noise of some standard deviations, decoded, against the latent decoded.

Dimension letters: T frames, C channels or colours, H height, W width, D draws, K values.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentcache.compare.looks.row_values import RowValues
from latentcache.compare.looks.sample_reading import (
    SampleReader,
    as_8_bit,
    decode,
    encode,
    has_grid,
)
from latentcache.compare.metrics.interval import Floats
from latentcache.compare.metrics.pixel_errors import psnr
from latentcache.core.errors import EncoderError
from latentcache.core.media import Bucket
from latentcache.core.seeds import keyed_uint64
from latentcache.encoders import DecodingEncoder, SampleMeta
from latentcache.evaluate import PlannedSample

NOISE_LEVELS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""In standard deviations of a channel, as trained on."""
_SHOWN_LEVEL = 2
SMOOTHNESS_PX = 192
"""Of the middle of a sample that noisy latents are decoded of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSample:
    """One sample to be encoded again.

    Attributes:
        sample: Where it is.
        fields: As stored.
        original_TCHW: float32, 0 to 255, whole.
        unrounded_TCHW: What the stored fields decode to, as the decoder gives it.
    """

    sample: PlannedSample
    fields: Mapping[str, Tensor]
    original_TCHW: Tensor
    unrounded_TCHW: Tensor


def at_shown_level(means_DK: Floats) -> Floats:
    """Return the PSNR at the noise level that tables show [D]."""
    return means_DK[:, _SHOWN_LEVEL]


def deep_values(reader: SampleReader, deep: DeepSample, rows: RowValues, place: int) -> None:
    """Measure one sample.

    Raises:
        EncoderError: The encoder fails on it.
    """
    encoder = reader.space.encoder
    assert encoder is not None, "asked only where there is one"
    bucket = reader.bucket(deep.sample)
    meta = SampleMeta(
        key=deep.sample.key,
        frame_rate_fps=deep.sample.frame_rate_fps or 0.0,
        seed=keyed_uint64(0, deep.sample.key) >> 1,
    )
    if len(deep.original_TCHW) == bucket.num_frames:
        began = time.perf_counter()
        encoded = encode(encoder, deep.original_TCHW, meta)
        rows.put(place, "encode_ms", 1e3 * (time.perf_counter() - began))
        _storage(encoder, deep, encoded, rows, place)
        for name, error in _equivariance(reader, deep, encoded, bucket, meta).items():
            rows.put(place, name, error)
    latent = reader.latent(deep.fields)
    if (
        latent is not None
        and has_grid(reader.field.axes)
        and len(deep.original_TCHW) == bucket.num_frames
    ):
        rows.put(place, "smoothness", _smoothness(reader, deep, _middle(latent, bucket)))


def _storage(
    encoder: DecodingEncoder,
    deep: DeepSample,
    encoded: Mapping[str, Tensor],
    rows: RowValues,
    place: int,
) -> None:
    """Hold what is stored against what the encoder gives, where one is the other rounded."""
    names = [name for name in deep.fields if name in encoded]
    if len(names) != len(deep.fields):
        return  # a draw was stored, which cannot be made again unrounded
    whole = {name: encoded[name].reshape(deep.fields[name].shape) for name in names}
    if any(not each.is_floating_point() for each in deep.fields.values()):
        return
    unrounded = decode(encoder, whole).clamp(0, 255)
    stored = deep.unrounded_TCHW.clamp(0, 255)
    whole_db, stored_db = (psnr(deep.original_TCHW, as_8_bit(each)) for each in (unrounded, stored))
    rows.put(place, "storage_loss_db", whole_db - stored_db)
    rows.put(place, "storage_limit_db", psnr(unrounded, stored))


def _equivariance(
    reader: SampleReader,
    deep: DeepSample,
    encoded: Mapping[str, Tensor],
    bucket: Bucket,
    meta: SampleMeta,
) -> dict[str, float]:
    """Return errors by name; a change that the encoder does not take has none."""
    found: dict[str, float] = {}
    latent = reader.latent(encoded) if reader.field.name in encoded else None
    if latent is None or not has_grid(reader.field.axes):
        return found
    encoder = reader.space.encoder
    assert encoder is not None
    turned = replace(bucket, height_px=bucket.width_px, width_px=bucket.height_px)
    halved = replace(bucket, height_px=bucket.height_px // 2, width_px=bucket.width_px // 2)
    for name, tau, shape in (
        ("rotation_error", _turn, turned),
        ("scale_error", _halve, halved),
    ):
        if encoder.spec.refusal(shape) is not None:
            continue
        changed = encode(encoder, tau(deep.original_TCHW).clamp(0, 255), meta)
        ours, theirs = reader.latent(changed), tau(latent)
        if ours is None or ours.shape != theirs.shape:
            continue
        found[name] = float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))
    return found


def _turn(values: Tensor) -> Tensor:
    return values.rot90(1, dims=(-2, -1)).contiguous()


def _halve(values: Tensor) -> Tensor:
    return F.interpolate(values, scale_factor=0.5, mode="bilinear", antialias=True)


def _middle(latent_CTHW: Tensor, bucket: Bucket) -> Tensor:
    """Return the middle of a latent, of up to ``SMOOTHNESS_PX`` pixels a side.

    Noise is the same everywhere: a middle says what the whole says, at a share of its decodes.
    """
    for dim, edge_px in ((-2, bucket.height_px), (-1, bucket.width_px)):
        size = latent_CTHW.shape[dim]
        kept = min(size, max(1, SMOOTHNESS_PX * size // edge_px))
        latent_CTHW = latent_CTHW.narrow(dim, (size - kept) // 2, kept)
    return latent_CTHW.contiguous()


def _smoothness(reader: SampleReader, deep: DeepSample, latent: Tensor) -> Floats:
    """Return the PSNR at each noise level against the clean decode."""
    encoder = reader.space.encoder
    assert encoder is not None
    clean = as_8_bit(decode(encoder, reader.stored_of(latent, deep.fields)))
    generator = torch.Generator().manual_seed(keyed_uint64(1, deep.sample.key) >> 1)
    noise = torch.randn(latent.shape, generator=generator)
    spread = latent.flatten(1).std(dim=1).view(-1, 1, 1, 1) if reader.normalizer is None else 1.0
    found = []
    for level in NOISE_LEVELS:
        noisy = reader.stored_of(latent + level * spread * noise, deep.fields)
        try:
            found.append(psnr(clean, as_8_bit(decode(encoder, noisy))))
        except EncoderError:
            found.append(math.nan)
    return np.array(found)
