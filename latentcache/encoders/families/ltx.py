"""``AutoencoderKLLTXVideo`` and ``AutoencoderKLLTX2Video``: 128 channels, 32 px and 8 frames.

Both are causal but have no way to carry state, so a stream lends them one: while a group is
encoded, every causal convolution starts from the frames that the last group left behind
instead of copies of its first frame. Whole clips take the same way, so that both have the
same bits in every dtype; one pass of the model over the clip differs by the order of sums,
1e-6 of the largest value in float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders.autoencoder import Family
from latentcache.encoders.frame_chunks import Fields, GroupCoder
from latentcache.encoders.posterior import gaussian_fields
from latentcache.encoders.published_normalizer import standardized
from latentcache.encoders.spec import Normalizer
from latentcache.encoders.weights import LoadedModel

Tails = dict[torch.nn.Module, torch.Tensor]


@dataclass(slots=True)
class LtxCoder(GroupCoder):
    """Encodes groups with one carried tail per causal convolution."""

    module: Any
    first_frames: int = field(default=1, init=False)
    group_frames: int = field(default=8, init=False)

    def start(self) -> Tails:
        """Return no tails."""
        return {}

    def encode_group(self, frames_BCTHW: torch.Tensor, state: Tails) -> Fields:
        """Return mean and log-variance of one latent frame."""
        encoder = self.module.encoder
        with _lent_forwards(encoder, state, is_first=not state):
            return gaussian_fields(encoder(frames_BCTHW))


@contextmanager
def _lent_forwards(encoder: torch.nn.Module, tails: Tails, *, is_first: bool) -> Iterator[None]:
    """Replace ``forward`` of what looks back in time, for as long as one group takes."""
    lent: list[Any] = []
    try:
        for part in encoder.modules():
            forward = _lent_forward(part, tails, is_first=is_first)
            if forward is not None:
                part.forward = forward
                lent.append(part)
        yield
    finally:
        for part in lent:
            del part.forward


def _lent_forward(
    part: torch.nn.Module, tails: Tails, *, is_first: bool
) -> Callable[..., torch.Tensor] | None:
    kind = type(part).__name__
    if kind.endswith("CausalConv3d"):
        return partial(_convolve, part, tails)
    if kind.endswith("Downsampler3d") and not is_first:
        return partial(_downsample, part)
    return None


def _convolve(part: Any, tails: Tails, hidden_BCTHW: torch.Tensor, **_causal: bool) -> torch.Tensor:
    """Return what the causal convolution ``part`` makes of the frames that follow its tail."""
    tail = tails.get(part)
    if tail is None:
        tail = hidden_BCTHW[:, :, :1].repeat(1, 1, part.kernel_size[0] - 1, 1, 1)
    joined = torch.cat([tail, hidden_BCTHW], dim=2)
    out: torch.Tensor = part.conv(joined)
    tails[part] = joined[:, :, out.shape[2] * part.conv.stride[0] :].clone()
    return out


def _downsample(part: Any, hidden_BCTHW: torch.Tensor, **_causal: bool) -> torch.Tensor:
    """Return what the downsampler ``part`` does, without its copies of the clip's first frame.

    Source: ``LTXVideoDownsampler3d.forward`` in diffusers.
    """

    def fold(values: Any) -> Any:
        step_t, step_y, step_x = part.stride
        values = values.unflatten(4, (-1, step_x)).unflatten(3, (-1, step_y))
        values = values.unflatten(2, (-1, step_t))
        return values.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)

    residual = fold(hidden_BCTHW).unflatten(1, (-1, part.group_size)).mean(dim=2)
    out: torch.Tensor = fold(part.conv(hidden_BCTHW)) + residual
    return out


def ltx_normalizer(model: LoadedModel) -> Normalizer:
    """Return ``(z - latents_mean) * scaling_factor / latents_std``; the figures are buffers.

    Raises:
        EncoderError: The encoder looks ahead in time, as no released one does.
    """
    module = model.module
    if not module.config.encoder_causal:
        raise EncoderError(
            "weights must have encoder_causal, got an encoder that looks ahead; write an adapter"
        )
    buffers = dict(module.named_buffers())
    mean, std = (buffers[name].double().tolist() for name in ("latents_mean", "latents_std"))
    return standardized(mean, std, scale=float(module.config.scaling_factor), source="buffer")


FAMILY = Family(read_normalizer=ltx_normalizer, make_coder=LtxCoder)
