"""``AutoencoderKLKVAE``, ``AutoencoderKLKVAEVideo`` and ``Kandinsky6SRVAE`` of Kandinsky.

Those of clips take 17 frames, then 16 at a time, with a cache that we hand in: the segments and the
bits of the class, whole or in pieces.

``AutoencoderKLKVAEVideo`` throws its log-variance away and puts zeros in its place, so that a draw
of diffusers' is the mean plus noise of variance 1, whatever the encoder thinks: here it is a point.
The statistics of its norms are those of the first 17 frames, so that a shorter clip has other
latents. ``Kandinsky6SRVAE`` was trained on pixels / 128 - 1: 255 is 0.992, as the input range of
its preset says (source: ``pipeline_kandinsky6_sr.py``).
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from latentcache.encoders.autoencoder import Family, decode_whole
from latentcache.encoders.frame_chunks import Fields, GroupCoder
from latentcache.encoders.posterior import gaussian_fields
from latentcache.encoders.published_normalizer import config_scale
from latentcache.encoders.weights import LoadedModel


@dataclass(slots=True)
class SegmentCoder(GroupCoder):
    """Encodes segments with the cache that the encoder takes and changes."""

    module: Any
    is_point: bool
    first_frames: int = field(default=17, init=False)
    group_frames: int = field(default=16, init=False)

    def start(self) -> Any:
        """Return an empty cache."""
        make = getattr(self.module, "_make_encoder_cache", None) or self.module.encoder.make_cache
        return make()

    def encode_group(self, frames_BCTHW: torch.Tensor, state: Any) -> Fields:
        """Return mean and log-variance of a segment, or ``z`` where the latter is not used."""
        moments = self.module.encoder(frames_BCTHW, state)
        if self.is_point:
            return {"z": moments.chunk(2, dim=1)[0]}
        return gaussian_fields(moments)


def segment_coder(module: Any) -> SegmentCoder | None:
    """Return what encodes clips by segments; None of the class of pictures."""
    kind = type(module).__name__
    if kind == "AutoencoderKLKVAE":
        return None
    return SegmentCoder(module, is_point=kind == "AutoencoderKLKVAEVideo")


def none_published(_model: LoadedModel) -> None:
    """Return nothing: KVAE publishes no figures."""


FAMILY = Family(
    read_normalizer=none_published,
    preset_normalizers={"kandinsky6-sr": config_scale},
    make_coder=segment_coder,
    decode=decode_whole,
)
