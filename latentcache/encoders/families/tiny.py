"""``AutoencoderTiny`` (TAESD and kin): deterministic, any number of channels.

``scale_latents`` of the class is a helper for 8-bit storage that clamps; it is not used.
"""

from typing import Any

import torch

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.spec import Normalizer, NormalizerOp
from latentcache.encoders.weights import LoadedModel


def tiny_normalizer(model: LoadedModel) -> Normalizer:
    """Return ``(z - shift_factor) * scaling_factor``; mostly nothing: z is in the DiT's space."""
    shift = float(model.config.get("shift_factor") or 0.0)
    scale = float(model.config.get("scaling_factor") or 1.0)
    ops = []
    if shift != 0.0:
        ops.append(NormalizerOp(op="subtract", values=(shift,)))
    if scale != 1.0:
        ops.append(NormalizerOp(op="multiply", values=(scale,)))
    return Normalizer(ops=tuple(ops), source="config")


def read_latents(output: Any) -> dict[str, torch.Tensor]:
    """Return ``z`` of an output with ``latents``."""
    return {"z": output.latents}


FAMILY = Family(read_normalizer=tiny_normalizer, read_output=read_latents)
