"""``AutoencoderDC`` (SANA's DC-AE): deterministic, 32 px a latent cell."""

from functools import partial
from typing import Any

import torch

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.published_normalizer import scaled
from latentcache.encoders.spec import Normalizer
from latentcache.encoders.weights import LoadedModel

SPRINT_SIGMA_DATA = 0.5
"""Of SANA-Sprint's scheduler, ``SCMScheduler``; the VAE's config does not hold it."""


def dc_normalizer(model: LoadedModel, *, sigma_data: float = 1.0) -> Normalizer | None:
    """Return ``z * scaling_factor`` (1 / RMS of the latents), if the config publishes it.

    SANA-Sprint multiplies by its scheduler's ``sigma_data`` too
    (``pipeline_sana_sprint_img2img.py``).
    """
    scale = model.config.get("scaling_factor")
    return None if scale is None else scaled(float(scale) * sigma_data)


def as_it_is(_model: LoadedModel) -> Normalizer:
    """Return no step: SANA-Video takes latents as they are (``pipeline_sana_video_i2v.py``)."""
    return Normalizer(ops=(), source="preset")


def read_latent(output: Any) -> dict[str, torch.Tensor]:
    """Return ``z`` of an output with ``latent`` (no ``s``, unlike AutoencoderTiny)."""
    return {"z": output.latent}


FAMILY = Family(
    read_normalizer=dc_normalizer,
    preset_normalizers={
        "sana-sprint": partial(dc_normalizer, sigma_data=SPRINT_SIGMA_DATA),
        "sana-video-dc": as_it_is,
    },
    read_output=read_latent,
)
