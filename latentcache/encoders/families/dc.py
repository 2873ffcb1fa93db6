"""``AutoencoderDC`` (SANA's DC-AE): deterministic, 32 px a latent cell."""

from typing import Any

import torch

from latentcache.encoders.diffusers_encoder import DiffusersEncoder, Family, build_encoder
from latentcache.encoders.load_options import EncoderOptions
from latentcache.encoders.spec import Normalizer, NormalizerOp
from latentcache.encoders.weights import LoadedModel


def dc_normalizer(model: LoadedModel) -> Normalizer | None:
    """Return ``z * scaling_factor`` (1 / RMS of the latents), if the config publishes it."""
    scale = model.config.get("scaling_factor")
    if scale is None:
        return None
    op = NormalizerOp(op="multiply", values=(float(scale),))
    return Normalizer(ops=(op,), source="config")


def read_latent(output: Any) -> dict[str, torch.Tensor]:
    """Return ``z`` of an output with ``latent`` (no ``s``, unlike AutoencoderTiny)."""
    return {"z": output.latent}


FAMILY = Family(class_name="AutoencoderDC", read_output=read_latent, read_normalizer=dc_normalizer)


def load_dc(options: EncoderOptions) -> DiffusersEncoder:
    """Return the ``AutoencoderDC`` at ``options.location``."""
    return build_encoder("dc", FAMILY, options)
