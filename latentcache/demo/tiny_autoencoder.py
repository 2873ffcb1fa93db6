"""The demo's own autoencoder: diffusers' AutoencoderTiny, small, trained on the demo's pictures.

Dimension letters: N pictures, B of a step, H height, W width.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LATENT_CHANNELS = 8
_WIDTH, _CROP_PX, _BATCH_SIZE, _RATE = 32, 32, 16, 2e-3


def train_autoencoder(
    folder: Path, corpus: Path, *, num_steps: int, seed: int = 0
) -> tuple[Path, float]:
    """Return where an autoencoder was saved, and its PSNR in dB over the last steps' crops.

    It has a factor of 8, learns by squared error alone, and sees crops: its layers have no
    notion of place.

    Args:
        folder: Made, of the model.
        corpus: Of PNGs of one size, in any depth.
        num_steps: Of 16 crops each.
        seed: Of weights and crops; torch's own random state is left alone.
    """
    pixels_NCHW = _read(corpus)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    errors = []
    for step in range(num_steps):
        rate = _RATE * min(1.0, (step + 1) / 20) * min(1.0, 2 * (1 - step / num_steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        crops = _crops(pixels_NCHW, generator)
        error = (model.decoder(model.encoder(crops)) - crops).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(error)
        optimizer.step()
        errors.append(error.item())
    model.save_pretrained(folder)
    _drop_unknown_key(folder / "config.json")
    last = float(np.mean(errors[-max(1, num_steps // 10) :]))
    return folder, float(10 * np.log10(4 / last))  # a range of 2, from -1 to 1


def _drop_unknown_key(config: Path) -> None:
    """Take out what the class writes into its configuration and warns of when it reads it."""
    facts = json.loads(config.read_text(encoding="utf-8"))
    facts.pop("block_out_channels", None)  # diffusers 0.42
    config.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _model() -> Any:
    from diffusers import AutoencoderTiny

    sizes = (_WIDTH,) * 4
    make: Any = AutoencoderTiny
    return make(
        encoder_block_out_channels=sizes,
        decoder_block_out_channels=sizes,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        latent_channels=LATENT_CHANNELS,
    )


def _read(corpus: Path) -> Tensor:
    pictures = []
    for path in sorted(corpus.rglob("*.png")):
        with Image.open(path) as image:
            pictures.append(torch.from_numpy(np.array(image.convert("RGB"))))
    return torch.stack(pictures).movedim(-1, 1).float() / 127.5 - 1


def _crops(pixels_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    rows = torch.randint(len(pixels_NCHW), (_BATCH_SIZE,), generator=generator)
    room = pixels_NCHW.shape[-1] - _CROP_PX + 1
    top, left = torch.randint(room, (2,), generator=generator).tolist()
    return pixels_NCHW[rows, :, top : top + _CROP_PX, left : left + _CROP_PX]
