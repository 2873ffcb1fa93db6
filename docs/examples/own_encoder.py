"""An encoder of one's own, from ``nn.Module`` to store.

PYTHONPATH=docs/examples latentcache build PHOTOS STORE --encoder own_encoder:OwnEncoder:WEIGHTS
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from latentcache.core.fields import Field
from latentcache.core.fingerprint import sha256_hex
from latentcache.encoders import (
    EncoderOptions,
    EncoderSpec,
    SampleMeta,
    check_batch,
    choose_device,
)


class Pyramid(nn.Module):
    """Any model: here one strided convolution from 3 channels to 8, a sixteenth of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, 8, kernel_size=16, stride=16)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Return latents [B, 8, H / 16, W / 16]."""
        return self.project(pixels_BCHW)


class OwnEncoder:
    """What latentcache runs: a spec, ``encode`` and ``reset``."""

    def __init__(self, options: EncoderOptions) -> None:
        weights = Path(options.location or "")
        self.device = choose_device(options.device)
        self.model = Pyramid()
        self.model.load_state_dict(load_file(weights))
        self.model.eval().to(self.device)
        self.spec = EncoderSpec(
            name="own",
            impl="own_encoder.OwnEncoder",
            impl_version=1,  # raise it whenever the code gives other values for the same weights
            modality="image",
            fields=(Field(name="z", kind="point", axes="CHW", channels=8, dtype="float16"),),
            posterior="point",
            input_range=(-1.0, 1.0),
            spatial_factor=(16, 16),
            multiple_of=(16, 16),
            compute_dtype="float32",
            weights_digest=sha256_hex(weights.read_bytes()),
        )

    def encode(self, pixels: Tensor, metas: Sequence[SampleMeta]) -> list[dict[str, Tensor]]:
        """Return ``z`` of each sample; pixels are float32 [B, 3, H, W] in -1 to 1."""
        check_batch(self.spec, pixels, metas)
        with torch.inference_mode():
            z_BCHW = self.model(pixels.to(self.device))
        return [{"z": z_CHW} for z_CHW in z_BCHW]

    def reset(self) -> None:
        """Drop mutable state; called after every error. There is none."""


if __name__ == "__main__":  # weights to try it with
    torch.manual_seed(0)
    save_file(Pyramid().state_dict(), "own.safetensors")
