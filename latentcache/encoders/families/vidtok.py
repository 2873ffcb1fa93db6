"""``AutoencoderVidTok``, causal: the first frame as four equal ones, then four at a time.

The class pads clips in ``forward`` alone: its ``encode`` drops what is beyond the last four frames,
so that 17, 18 and 19 frames would be 16 without a word, while its ``decode`` takes the padding away
that ``encode`` has not added. Here clips are padded as ``forward`` pads them, as it was trained.
"""

from typing import Any

import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders.autoencoder import Family
from latentcache.encoders.weights import LoadedModel


def vidtok_normalizer(model: LoadedModel) -> None:
    """Return nothing: VidTok publishes no figures.

    Raises:
        EncoderError: The weights look ahead in time, or leave indices.
    """
    check_causal(model)
    if model.module.config.regularizer != "kl":
        raise EncoderError(
            f"weights must have regularizer kl for vidtok, got "
            f"{model.module.config.regularizer!r}; use vidtok-fsq"
        )


def check_causal(model: LoadedModel) -> None:
    """Refuse weights whose clips have another rule.

    Raises:
        EncoderError: They look ahead in time.
    """
    if not model.module.config.is_causal:
        raise EncoderError(
            "weights must have is_causal, got a VidTok that looks ahead; write an adapter"
        )


def pad_first(module: Any, frames_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return clips with copies of their first frame before it, as ``forward`` of the class does."""
    copies = frames_BCTHW[:, :, :1].repeat(1, 1, module.temporal_compression_ratio - 1, 1, 1)
    return torch.cat([copies, frames_BCTHW], dim=2)


def decode_clip(module: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return pixels: this class's ``decode`` gives a tensor."""
    pixels: torch.Tensor = module.decode(latents)
    return pixels


FAMILY = Family(read_normalizer=vidtok_normalizer, prepare=pad_first, decode=decode_clip)
