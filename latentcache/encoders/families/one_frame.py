"""Classes that are shaped like those of clips and used for pictures: one frame, without its axis.

``AutoencoderKLQwenImage21`` takes red, green, blue and alpha; its pipeline turns every picture into
RGBA, an opaque one of a picture without alpha. Its config names 8 frames a latent, but a second
frame is dropped or raises: it is an encoder of pictures. ``AutoencoderKLHunyuanImageRefiner`` is
that of HunyuanVideo 1.5 under another name, given one frame.
"""

from typing import Any

import torch

from latentcache.encoders.autoencoder import DiffusersKnobs, Family
from latentcache.encoders.published_normalizer import channel_figures, config_scale, standardized
from latentcache.encoders.spec import PLAIN_SCALAR, Normalizer
from latentcache.encoders.weights import LoadedModel

_COLOURS = 3


def as_one_frame(module: Any, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """Return pictures as clips of one frame, opaque where the model wants an alpha channel."""
    frames = pixels_BCHW[:, :, None]
    if module.config.in_channels > _COLOURS:
        frames = torch.cat([frames, torch.ones_like(frames[:, :1])], dim=1)
    return frames


def read_one_frame(output: Any) -> dict[str, torch.Tensor]:
    """Return ``mean`` and ``logvar`` without the axis of time."""
    posterior = output.latent_dist
    return {"mean": posterior.mean[:, :, 0], "logvar": posterior.logvar[:, :, 0]}


def decode_one_frame(module: Any, latents_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the colours of pictures, without the alpha that some models decode too."""
    frames: torch.Tensor = module.decode(latents_BCHW[:, :, None]).sample
    return frames[:, :_COLOURS, 0]


def record_alpha(module: Any, _knobs: DiffusersKnobs) -> dict[str, PLAIN_SCALAR]:
    """Return the knob that says what the alpha channel is, where the model has one."""
    return {"alpha": "opaque"} if module.config.in_channels > _COLOURS else {}


def one_frame_normalizer(model: LoadedModel) -> Normalizer | None:
    """Return ``(z - latents_mean) / latents_std``, or ``z * scaling_factor`` of the refiner."""
    figures = channel_figures(model)
    return config_scale(model) if figures is None else standardized(*figures[:2])


FAMILY = Family(
    read_normalizer=one_frame_normalizer,
    prepare=as_one_frame,
    read_output=read_one_frame,
    decode=decode_one_frame,
    set_knobs=record_alpha,
)
