"""The encoder that made a column, loaded again to go back from latents to pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from latentcache.core.errors import EncoderError, StoreError
from latentcache.core.fields import Field
from latentcache.core.inputs import parse_input, recorded_input
from latentcache.encoders import DecodingEncoder, EncoderOptions, load_encoder
from latentcache.store import EncodingRecord, TensorBytes

_COMPARED = ("impl", "weights_digest", "knobs", "input_range")
"""What decides how latents become pixels; the compute dtype may differ between devices."""


def load_recorded_encoder(
    record: EncodingRecord,
    *,
    encoder: str | None = None,
    device: str = "auto",
    is_offline: bool = False,
) -> DecodingEncoder:
    """Return the encoder of an encoding, checked to be the one that made it.

    Args:
        record: The encoding.
        encoder: As on the command line, where its weights have moved.
        device: To decode on.
        is_offline: Never ask a model hub.

    Raises:
        EncoderError: It cannot be loaded, or cannot decode.
        StoreError: It is another one; both are shown.
    """
    asked = recorded_input(record.transform)
    if parse_input(asked).modality != "pixels":
        raise StoreError(
            f"column must be of pixels to be looked at, got one of {asked}; name another with "
            "--column"
        )
    _check_imported(record, encoder)
    text = encoder or record.spec.get("source") or record.spec.get("name", "")
    recorded = record.identity["encoder"]
    options = EncoderOptions(
        device=device, dtype=_dtype(recorded, device, record), is_offline=is_offline
    )
    loaded = load_encoder(text, options)
    identity = loaded.spec.identity()
    for name in _COMPARED:
        if name == "weights_digest" and recorded.get(name) in loaded.spec.former_digests:
            continue  # as an earlier release named the same weights
        if name == "weights_digest" and "imported" in record.identity and not recorded[name]:
            continue  # the cache did not tell
        if name in recorded and identity[name] != recorded[name]:
            raise StoreError(
                f"{name} of the encoder must be {recorded[name]!r} as in the store's "
                f"{record.column} ({record.fingerprint}), got {identity[name]!r} ({text}); "
                "name the weights that made it with --encoder"
            )
    if not isinstance(loaded, DecodingEncoder):
        raise EncoderError(
            f"encoder must be able to decode, got {text} which has no decode method; "
            "verify without --decode"
        )
    return loaded


def _check_imported(record: EncodingRecord, encoder: str | None) -> None:
    """Refuse to decode what another trainer cached, unless it is raw and its weights are named.

    Raises:
        StoreError: It is scaled, or nobody says which weights made it.
    """
    imported = record.identity.get("imported")
    if imported is None or (imported["values"] == "raw" and encoder):
        return
    raw = imported["values"] == "raw"
    way = "name the weights that made them with --encoder" if raw else "look at its statistics"
    raise StoreError(
        f"latents must be raw and of known weights to be decoded, got {imported['values']} ones "
        f"that were imported from {imported['layout']} (column {record.column}); {way}"
    )


def _dtype(recorded: Mapping[str, Any], device: str, record: EncodingRecord) -> str | None:
    """Return the recorded compute dtype, unless this is a CPU that would crawl in it."""
    dtype: str = recorded["compute_dtype"]
    is_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    return None if is_cpu and record.device_type != "cpu" and dtype != "float32" else dtype


def first_latent_frames(
    fields: Mapping[str, Any], stored: Sequence[Field], count: int
) -> dict[str, torch.Tensor]:
    """Return the stored fields of a clip, cut to its first ``count`` latent frames."""
    axes = {field.name: field.axes for field in stored}
    tensors = {name: as_tensor(value) for name, value in fields.items()}
    return {
        name: value.narrow(axes[name].index("T"), 0, count) if "T" in axes[name] else value
        for name, value in tensors.items()
    }


def decode_fields(encoder: DecodingEncoder, fields: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the pixels of one sample's stored fields: uint8 (H, W, 3), of clips (T, H, W, 3)."""
    decoded = decode_batch(encoder, {name: as_tensor(each)[None] for name, each in fields.items()})[
        0
    ]
    if decoded.ndim == 4 and decoded.shape[1] == 1:
        decoded = decoded[:, 0]
    scaled = decoded.clamp(0.0, 255.0).round()
    pixels: npt.NDArray[np.uint8] = scaled.to(torch.uint8).movedim(0, -1).contiguous().numpy()
    return pixels


def decode_batch(encoder: DecodingEncoder, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return pixels on the scale 0 to 255, float32, as the encoder gives them: BCHW or BCTHW.

    Neither rounded nor clamped.
    """
    with torch.inference_mode():
        decoded = encoder.decode({name: each.to(encoder.device) for name, each in fields.items()})
    low, high = encoder.spec.input_range
    return (decoded.float().cpu() - low) / (high - low) * 255.0


def as_tensor(value: Any) -> torch.Tensor:
    """Return a stored field as a tensor in its storage dtype."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, TensorBytes):
        dtype: torch.dtype = getattr(torch, value.dtype)
        return torch.frombuffer(bytearray(value.data), dtype=dtype).reshape(value.shape)
    return torch.from_numpy(np.array(value))
