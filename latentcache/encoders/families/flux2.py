"""``AutoencoderKLFlux2``: 32 channels, normalised as 2x2 patches by batch-norm buffers."""

import torch

from latentcache.encoders.diffusers_encoder import (
    DiffusersEncoder,
    Family,
    build_encoder,
    read_gaussian,
)
from latentcache.encoders.load_options import EncoderOptions
from latentcache.encoders.spec import Normalizer, NormalizerOp
from latentcache.encoders.weights import LoadedModel

PATCH = 2


def flux2_normalizer(model: LoadedModel) -> Normalizer:
    """Return patchify, then ``(z - running_mean) / sqrt(running_var + eps)`` of ``bn``.

    The buffers are part of the state dict, not of the config, and hold 4 values a channel.
    """
    buffers = model.module.bn
    eps = float(model.module.config.batch_norm_eps)
    std = torch.sqrt(buffers.running_var.double() + eps)
    return Normalizer(
        ops=(
            NormalizerOp(op="patchify", size=PATCH),
            NormalizerOp(op="subtract", values=tuple(buffers.running_mean.double().tolist())),
            NormalizerOp(op="divide", values=tuple(std.tolist())),
        ),
        source="buffer",
    )


FAMILY = Family(
    class_name="AutoencoderKLFlux2",
    read_output=read_gaussian,
    read_normalizer=flux2_normalizer,
    pixel_patch=PATCH,
)


def load_flux2(options: EncoderOptions) -> DiffusersEncoder:
    """Return the ``AutoencoderKLFlux2`` at ``options.location``."""
    return build_encoder("flux2", FAMILY, options)
