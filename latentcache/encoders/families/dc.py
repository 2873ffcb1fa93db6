"""``AutoencoderDC`` (SANA's DC-AE): deterministic, 32 px a latent cell."""

from functools import partial
from typing import Any

import torch

from latentcache.encoders.diffusers_encoder import DiffusersEncoder, Family, build_encoder
from latentcache.encoders.load_options import EncoderOptions
from latentcache.encoders.spec import Normalizer, NormalizerOp
from latentcache.encoders.weights import LoadedModel

SPRINT_SIGMA_DATA = 0.5
"""Of SANA-Sprint's scheduler, ``SCMScheduler``; the VAE's config does not hold it."""


def dc_normalizer(name: str, model: LoadedModel) -> Normalizer | None:
    """Return ``z * scaling_factor`` (1 / RMS of the latents), if the config publishes it.

    SANA-Sprint multiplies by its scheduler's ``sigma_data`` too
    (``pipeline_sana_sprint_img2img.py``); SANA-Video on this class takes latents as they are
    (``pipeline_sana_video_i2v.py``).
    """
    if name == "sana-video-dc":
        return Normalizer(ops=(), source="preset")
    scale = model.config.get("scaling_factor")
    if scale is None:
        return None
    factor = float(scale) * (SPRINT_SIGMA_DATA if name == "sana-sprint" else 1.0)
    return Normalizer(ops=(NormalizerOp(op="multiply", values=(factor,)),), source="config")


def read_latent(output: Any) -> dict[str, torch.Tensor]:
    """Return ``z`` of an output with ``latent`` (no ``s``, unlike AutoencoderTiny)."""
    return {"z": output.latent}


def load_dc_preset(name: str, options: EncoderOptions) -> DiffusersEncoder:
    """Return the ``AutoencoderDC`` at ``options.location`` under preset ``name``."""
    family = Family(
        class_name="AutoencoderDC",
        read_output=read_latent,
        read_normalizer=partial(dc_normalizer, name),
    )
    return build_encoder(name, family, options)


load_dc = partial(load_dc_preset, "dc")
load_sana_sprint = partial(load_dc_preset, "sana-sprint")
load_sana_video_dc = partial(load_dc_preset, "sana-video-dc")
