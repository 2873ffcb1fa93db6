"""Does the probe rank latent spaces whose order is known by construction?

Crops of real photos are taken into the space of `dct` and made worse in four ways, each in steps,
so that within a way every pair has a known order: noise that stays in the latents, spatial high
frequencies boosted, channels scrambled from cell to cell, channels dropped. The probe of
`latentcache compare` is trained on each; Kendall's tau counts pairs ranked as they were made.

    python tests/benchmarks/compare_order.py PHOTOS [--seeds 3] [--steps 250] [--width 96]
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from latentcache.compare import ProbeOptions
from latentcache.compare.metrics.judge import judge_features
from latentcache.compare.metrics.probe import run_probe
from latentcache.compare.metrics.spectrum import dct_2d, rings
from latentcache.encoders import EncoderOptions, SampleMeta, dct_matrix, load_encoder

CELL_PX, CROPS_OF_A_PHOTO = 8, 8
WAYS = {
    "noise": (0.0, 0.25, 0.5, 1.0),
    "boosted": (1.0, 4.0, 16.0),
    "scrambled": (0.0, 0.5, 1.0),
    "dropped": (0, 8, 12, 15),
}
"""Each from the clean space on, ever worse."""

Decode = Callable[[torch.Tensor], torch.Tensor]


def photo_crops(folder: Path, crop_px: int) -> torch.Tensor:
    """Return crops of photos whose shorter side is 160 px [N, 3, H, W], 0 to 255."""
    generator, found = torch.Generator().manual_seed(0), []
    for path in sorted(folder.glob("*.[jJ][pP]*[gG]")):
        with Image.open(path) as image:
            scale = 160 / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
        picture = torch.from_numpy(pixels.copy()).movedim(-1, 0).float()
        for _ in range(CROPS_OF_A_PHOTO):
            top, left = (
                int(torch.randint((n - crop_px) // CELL_PX + 1, (), generator=generator)) * CELL_PX
                for n in picture.shape[1:]
            )
            found.append(picture[:, top : top + crop_px, left : left + crop_px])
    order = torch.randperm(len(found), generator=generator)
    return torch.stack(found)[order]


def made_worse(way: str, level: float, z: torch.Tensor) -> tuple[torch.Tensor, Decode]:
    """Return latents of mean 0 and deviation 1 made worse, and what leads back to them."""
    generator = torch.Generator().manual_seed(7)
    if way == "noise":
        return z + level * torch.randn(z.shape, generator=generator), lambda latents: latents
    if way == "dropped":
        kept = torch.ones(z.shape[1])
        if level:
            kept[-int(level) :] = 0
        return z * kept.view(1, -1, 1, 1), lambda latents: latents * kept.view(1, -1, 1, 1)
    if way == "scrambled":
        places = torch.stack(
            [
                torch.randperm(z.shape[1], generator=generator)
                if torch.rand((), generator=generator) < level
                else torch.arange(z.shape[1])
                for _ in range(z.shape[2] * z.shape[3])
            ],
            dim=1,
        ).view(1, z.shape[1], *z.shape[2:])
        back = places.argsort(dim=1)
        return z.gather(1, places.expand_as(z)), lambda x: x.gather(1, back.expand_as(x))
    radius = rings(*z.shape[2:]).clamp(min=0).double() / 15
    gain = level**radius
    height, width = (dct_matrix(n) for n in z.shape[2:])

    def filtered(values: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        return (height.T @ (dct_2d(values) * by) @ width).float()

    return filtered(z, gain), lambda latents: filtered(latents, 1 / gain)


def spaces(z: torch.Tensor, decode: Decode) -> Iterator[tuple[str, float, torch.Tensor, Decode]]:
    """Yield each space as a training run would see it: every channel of mean 0, deviation 1."""
    for way, levels in WAYS.items():
        for level in levels[1:] if way != "noise" else levels:
            worse, back = made_worse(way, level, z)
            mean = worse.mean(dim=(0, 2, 3), keepdim=True)
            std = worse.std(dim=(0, 2, 3), keepdim=True).clamp(min=1e-6)

            def whole(
                latents: torch.Tensor,
                mean: torch.Tensor = mean,
                std: torch.Tensor = std,
                back: Decode = back,
            ) -> torch.Tensor:
                return decode(back(latents * std + mean))

            yield way, level, (worse - mean) / std, whole


def tau(found: dict[tuple[str, float], float]) -> tuple[float, int]:
    """Return Kendall's tau over pairs whose order is known, and how many there are."""
    signs = []
    for way, levels in WAYS.items():
        values = [found["noise", 0.0], *(found[way, level] for level in levels[1:])]
        signs += [np.sign(b - a) for a, b in itertools.combinations(values, 2)]
    return float(np.mean(signs)), len(signs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=ProbeOptions().num_steps)
    parser.add_argument("--width", type=int, default=ProbeOptions().width)
    asked = parser.parse_args()
    options = ProbeOptions(num_steps=asked.steps, width=asked.width, num_seeds=asked.seeds)
    pixels = photo_crops(asked.photos, options.crop_px)
    encoder = load_encoder("dct", EncoderOptions(device="cpu"))
    metas = [SampleMeta(key="")] * len(pixels)
    rows = encoder.encode(pixels / 127.5 - 1, metas)
    native = torch.stack([row["z"] for row in rows])
    mean = native.mean(dim=(0, 2, 3), keepdim=True)
    std = native.std(dim=(0, 2, 3), keepdim=True)

    def decode(z: torch.Tensor) -> torch.Tensor:
        return (encoder.decode({"z": z * std + mean}) + 1) * 127.5  # type: ignore[attr-defined]

    real = judge_features(pixels)
    print(f"{len(pixels)} crops, {options}", flush=True)
    distances: dict[tuple[str, float], np.ndarray] = {}
    losses: dict[tuple[str, float], float] = {}
    for way, level, crops, back in spaces((native - mean) / std, decode):
        began = time.perf_counter()
        found = run_probe(crops, real, options.token_px // CELL_PX, back, options)
        distances[way, level] = found.distance.reshape(asked.seeds, -1).mean(axis=1)
        ratio = found.loss.mean(axis=0)
        losses[way, level] = float(ratio[0] / ratio[1])
        row = {
            "way": way,
            "level": level,
            "distance": [round(float(each), 4) for each in distances[way, level]],
            "loss_over_gaussian": round(losses[way, level], 3),
            "seconds": round(time.perf_counter() - began, 1),
        }
        print(json.dumps(row), flush=True)
    for seed in range(asked.seeds):
        agreement, pairs = tau({key: float(each[seed]) for key, each in distances.items()})
        print(f"seed {seed}: tau {agreement:.3f} over {pairs} pairs")
    agreement, pairs = tau({key: float(each.mean()) for key, each in distances.items()})
    print(f"mean of seeds: tau {agreement:.3f} over {pairs} pairs")
    print(f"loss over the Gaussian's alone: tau {tau(losses)[0]:.3f}")


if __name__ == "__main__":
    main()
