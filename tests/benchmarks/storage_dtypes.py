"""What a storage dtype costs: latents and decoded pictures after it, against float32.

    python -m tests.benchmarks.storage_dtypes PHOTOS --encoder dct "tiny:WEIGHTS" [--num 64]

Photos are cut to 256 px and encoded in float32. Each dtype is what ``--storage-dtype`` stores;
int8 is tried as an affine of each channel: by the smallest and largest of all samples or of each
one, and by the mean and four standard deviations. Printed are bytes a value, the root mean
square of the latents' error over their channel's standard deviation, and the PSNR of pictures
decoded from what was stored: against those of float32, and how much less it is against the photo.
Not a test.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from latentcache.core.fields import STATISTICS_FIELDS
from latentcache.encoders import DecodingEncoder, EncoderOptions, SampleMeta, load_encoder

Stored = Callable[[torch.Tensor], torch.Tensor]
"""Latents (N, C, H, W) in float32 as they come back from storage."""

SIDE_PX = 256
BATCH = 8


def photos(folder: Path, num: int) -> torch.Tensor:
    """Return pictures (N, 3, H, W) in [-1, 1], centre squares."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    squares = []
    for path in found[:num]:
        with Image.open(path) as opened:
            picture = ImageOps.fit(opened.convert("RGB"), (SIDE_PX, SIDE_PX))
        squares.append(torch.from_numpy(np.array(picture)).movedim(-1, 0))
    return torch.stack(squares).float() / 127.5 - 1


def int8(low: torch.Tensor, high: torch.Tensor) -> Stored:
    """Return 255 steps from ``low`` to ``high``, each (C)."""
    first, step = low.reshape(-1, 1, 1), ((high - low) / 255).reshape(-1, 1, 1)
    return lambda latents: ((latents - first) / step).round().clamp(0, 255) * step + first


def int8_of_sample(latents: torch.Tensor) -> torch.Tensor:
    """Return 255 steps between the smallest and the largest of each sample's channel."""
    flat = latents.flatten(2)
    low = flat.min(2).values[..., None, None]
    step = (flat.max(2).values[..., None, None] - low).clamp_min(1e-30) / 255
    return ((latents - low) / step).round() * step + low


def rounded(latents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return latents through a dtype that torch has."""
    return latents.to(dtype).float()


def psnr_db(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the PSNR (N) of pictures in [-1, 1]."""
    error = (one.clamp(-1, 1) - other.clamp(-1, 1)).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp_min(1e-20))


def ways(latents: torch.Tensor) -> dict[str, tuple[int, Stored]]:
    """Return, by name, bytes a value and what storage makes of latents (N, C, H, W)."""
    flat = latents.transpose(0, 1).flatten(1)
    mean, std = flat.mean(1), flat.std(1)
    return {
        "float16": (2, partial(rounded, dtype=torch.float16)),
        "bfloat16": (2, partial(rounded, dtype=torch.bfloat16)),
        "float8_e4m3fn": (1, partial(rounded, dtype=torch.float8_e4m3fn)),
        "float8_e5m2": (1, partial(rounded, dtype=torch.float8_e5m2)),
        "int8, range": (1, int8(flat.min(1).values, flat.max(1).values)),
        "int8, range of each sample": (1, int8_of_sample),
        "int8, 4 std": (1, int8(mean - 4 * std, mean + 4 * std)),
    }


def rows(name: str, pictures: torch.Tensor) -> Iterator[str]:
    """Yield a table row per way of storing what an encoder makes of the pictures."""
    encoder = load_encoder(name, EncoderOptions(device="cpu", dtype="float32"))
    assert isinstance(encoder, DecodingEncoder), "pictures are decoded"
    found = []
    for some in torch.split(pictures, BATCH):
        metas = [SampleMeta(key="") for _ in some]
        found += encoder.encode(some, metas)
    field = next(one for one in STATISTICS_FIELDS if one in found[0])
    latents = torch.stack([one[field] for one in found]).float()
    std = latents.transpose(0, 1).flatten(1).std(1).reshape(-1, 1, 1)

    def decode(values: torch.Tensor) -> torch.Tensor:
        return torch.cat([encoder.decode({field: some}) for some in torch.split(values, BATCH)])

    exact = decode(latents)
    apart = psnr_db(exact, pictures)
    for way, (num_bytes, stored) in ways(latents).items():
        values = stored(latents)
        error = ((values - latents) / std).square().mean().sqrt()
        decoded = decode(values)
        near = psnr_db(decoded, exact)
        lost = (apart - psnr_db(decoded, pictures)).mean()
        yield (
            f"| {name.partition(':')[0]} | {way} | {num_bytes} | {error:.5f} "
            f"| {near.median():.1f} | {near.min():.1f} | {lost:.3f} of {apart.mean():.2f} |"
        )


def main() -> None:
    """Encode, store, decode, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--encoder", nargs="+", required=True)
    parser.add_argument("--num", type=int, default=64)
    asked = parser.parse_args()
    pictures = photos(asked.photos, asked.num)
    print(
        "| encoder | stored | bytes | latent error / std | PSNR to float32, dB, median | worst "
        "| PSNR to the photo lost, dB |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in asked.encoder:
        with torch.inference_mode():
            for row in rows(name, pictures):
                print(row, flush=True)


if __name__ == "__main__":
    main()
