"""``AutoencoderKLCosmos`` (CV8x8x8): deterministic, normalized per channel and latent frame."""

from typing import Any

import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders.autoencoder import Family
from latentcache.encoders.published_normalizer import channel_figures, scaled
from latentcache.encoders.spec import Normalizer, NormalizerOp
from latentcache.encoders.weights import LoadedModel

SIGMA_DATA = 0.5
"""Of the pipelines' scheduler, ``EDMEulerScheduler``; the VAE's config does not hold it."""


def read_identity(output: Any) -> dict[str, torch.Tensor]:
    """Return ``z``: the class wraps a point in a distribution without mean or variance."""
    return {"z": output.latent_dist.mode()}


def cosmos_normalizer(model: LoadedModel) -> Normalizer | None:
    """Return ``(z - mean) * sigma_data / std`` with a table of channels x latent frames.

    A config.json that is silent leaves the class's table, as in the pipelines; one that says
    null has none.

    The released table ends at 16 latent frames: longer clips cannot be normalized by it.

    Raises:
        EncoderError: The table has another shape.
    """
    figures = channel_figures(model, or_of_class=True)
    if figures is None:
        return scaled(SIGMA_DATA, source="preset")
    mean, std, source = figures
    channels = int(model.module.config.latent_channels)
    if len(mean) % channels:
        raise EncoderError(
            f"latents_mean and latents_std must be tables of {channels} channels, got "
            f"{len(mean)} and {len(std)} values (config.json); download it again"
        )
    table = len(mean) // channels
    return Normalizer(
        ops=(
            NormalizerOp(op="subtract", values=mean, axis="CT", size=table),
            NormalizerOp(op="multiply", values=(SIGMA_DATA,)),
            NormalizerOp(op="divide", values=std, axis="CT", size=table),
        ),
        source=source,
    )


FAMILY = Family(
    read_normalizer=cosmos_normalizer,
    read_output=read_identity,
)
