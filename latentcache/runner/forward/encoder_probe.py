"""The probe: one fixed picture through an encoder, to know its geometry and recognise it again."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latentcache.core.errors import EncoderError, StoreError
from latentcache.core.media import Bucket
from latentcache.encoders import EncoderSpec
from latentcache.runner.forward.batch_encoder import BatchEncoder, EncodeBatch

_PROBE_SIZE_PX = 128
_NUM_VALUES = 64
"""Values kept per field: enough to tell encoders apart, few enough to read."""

_TOLERANCE = {"float32": 1e-3, "float64": 1e-3}
_HALF_TOLERANCE = 5e-2
"""Relative distance allowed between two machines: convolution algorithms differ in last bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What came out of the probe.

    Attributes:
        values: JSON for ``encoding.json``: per field its shape, norm and a few values.
        bytes_per_pixel: Stored bytes of all fields per source pixel.
        bytes_per_sample: Most that a sample stores, where pixels do not decide it; else None.
    """

    values: dict[str, Any]
    bytes_per_pixel: float
    bytes_per_sample: int | None = None


def probe_bucket(spec: EncoderSpec) -> Bucket:
    """Return the smallest legal bucket of at least 128 px, or the encoder's only size."""
    if spec.fixed_size is not None:
        height, width = spec.fixed_size
    else:
        height, width = (
            math.ceil(_PROBE_SIZE_PX / multiple) * multiple for multiple in spec.multiple_of
        )
    return Bucket(spec.frame_rule.first, height, width)


def probe(encoder: BatchEncoder) -> ProbeResult:
    """Return what ``encoder`` makes of the fixed picture.

    Raises:
        EncoderError: The output is not finite, or its geometry is not the declared one.
    """
    spec = encoder.encoder.spec
    bucket = probe_bucket(spec)
    batch = EncodeBatch(pixels_BTHWC=_picture(bucket)[None], keys=("probe",))
    encoded = encoder.submit(batch).result()
    if not encoded.positions:
        reason = encoded.rejects[0].reason
        raise EncoderError(
            f"encoder must encode a plain picture, got a failure ({spec.name}: {reason}); "
            "check its weights and dtype"
        )
    ((fields, _),) = encoded.stacks()
    num_bytes = sum(values[0].numel() * values.element_size() for values in fields.values())
    _check_geometry(spec, bucket, fields)
    return ProbeResult(
        values={
            "bucket": str(bucket),
            "fields": {name: summary(values[0]) for name, values in fields.items()},
        },
        bytes_per_pixel=num_bytes / bucket.num_pixels,
    )


def check_same_probe(recorded: dict[str, Any], measured: dict[str, Any], *, dtype: str) -> None:
    """Refuse an encoder whose probe differs from the one that began the encoding.

    Raises:
        StoreError: A field is missing, has another shape, or other values beyond tolerance.
    """
    tolerance = _TOLERANCE.get(dtype, _HALF_TOLERANCE)
    if set(recorded["fields"]) != set(measured["fields"]):
        raise StoreError(
            f"probe must have fields {sorted(recorded['fields'])}, got "
            f"{sorted(measured['fields'])}; this is not the encoder that began the encoding"
        )
    for name, then in recorded["fields"].items():
        now = measured["fields"][name]
        if then["shape"] != now["shape"]:
            raise StoreError(
                f"probe field {name} must have shape {then['shape']}, got {now['shape']}; "
                "this is not the encoder that began the encoding"
            )
        old, new = np.asarray(then["values"]), np.asarray(now["values"])
        distance = float(np.linalg.norm(old - new) / max(float(np.linalg.norm(old)), 1e-6))
        if not distance <= tolerance:
            raise StoreError(
                f"probe field {name} must agree within {tolerance:g}, got a relative distance of "
                f"{distance:.3g} ({old[:3].tolist()} then, {new[:3].tolist()} now); "
                "its weights may be drawn anew each time it is loaded, and then it must load or "
                "seed them; or this machine's library or device computes something else, and then "
                "use another store"
            )


def _picture(bucket: Bucket) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return gradients, an edge and keyed noise: (T, H, W, 3) uint8, the same on every machine."""
    shape = (bucket.num_frames, bucket.height_px, bucket.width_px, 3)
    noise = np.frombuffer(
        hashlib.shake_256(b"latentcache probe 1").digest(math.prod(shape)), dtype=np.uint8
    ).reshape(shape)
    rows = np.linspace(0, 200, bucket.height_px)[None, :, None, None]
    columns = np.linspace(0, 200, bucket.width_px)[None, None, :, None]
    mixed = 0.6 * rows + 0.3 * columns + 0.2 * noise
    mixed[:, :, bucket.width_px // 2 :, 0] *= 0.5
    return np.clip(mixed, 0, 255).astype(np.uint8)


def summary(values: torch.Tensor) -> dict[str, Any]:
    """Return shape, norm and a few values of a tensor, as JSON keeps them."""
    flat = values.to(torch.float64).flatten()
    index = torch.linspace(0, flat.numel() - 1, min(_NUM_VALUES, flat.numel())).long()
    return {
        "shape": list(values.shape),
        "norm": float(f"{float(flat.norm()):.7g}"),
        "values": [float(f"{value:.7g}") for value in flat[index].tolist()],
    }


def _check_geometry(spec: EncoderSpec, bucket: Bucket, fields: dict[str, torch.Tensor]) -> None:
    """Compare the latent grid with the declared compression factors."""
    expected = (
        bucket.height_px // spec.spatial_factor[0],
        bucket.width_px // spec.spatial_factor[1],
    )
    for field in spec.fields:
        if field.name not in fields or not field.axes.endswith("HW"):
            continue
        grid = tuple(fields[field.name].shape[-2:])
        if grid != expected:
            raise EncoderError(
                f"latent grid must be {expected[0]}x{expected[1]} for {bucket}, got "
                f"{grid[0]}x{grid[1]} ({spec.name}, field {field.name}); its declared "
                "compression factor is wrong"
            )
