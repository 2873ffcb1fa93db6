"""``AutoencoderKLFlux2``: 32 channels, normalized as 2x2 patches by batch-norm buffers.

Several models share the class and its weights' form, and apply the buffers each in its way.
"""

from functools import partial

import torch

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.spec import Normalizer, NormalizerOp
from latentcache.encoders.weights import LoadedModel

PATCH = 2
ERNIE_EPS = 1e-5
"""Whatever the config says; source: diffusers' ``pipeline_ernie_image.py``."""


def flux2_normalizer(
    model: LoadedModel, *, eps: float | None = None, order: str = ""
) -> Normalizer:
    """Return patchify, then ``(z - running_mean) / sqrt(running_var + eps)`` of ``bn``.

    The buffers are part of the state dict, not of the config, and hold 4 values a channel.

    Args:
        model: Loaded, not yet cast.
        eps: Instead of the config's.
        order: Of the values in a patch, and so of the buffers: ``HWC``, or ``CHW`` if "".
    """
    buffers = model.module.bn
    added = float(model.module.config.batch_norm_eps) if eps is None else eps
    std = torch.sqrt(buffers.running_var.double() + added)
    return Normalizer(
        ops=(
            NormalizerOp(op="patchify", size=PATCH, axes=order),
            NormalizerOp(op="subtract", values=tuple(buffers.running_mean.double().tolist())),
            NormalizerOp(op="divide", values=tuple(std.tolist())),
        ),
        source="buffer",
    )


FAMILY = Family(
    read_normalizer=flux2_normalizer,
    preset_normalizers={
        "ernie-image": partial(flux2_normalizer, eps=ERNIE_EPS),
        # Its tokens are (y, x, channel): diffusers' pipeline_ideogram4.py.
        "ideogram4": partial(flux2_normalizer, order="HWC"),
    },
)
