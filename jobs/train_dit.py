"""Train a DiT, or Wan's transformer, from a store: here, under torchrun, or on a Ray cluster.

    python jobs/train_dit.py jobs/configs/train_photos.toml
    torchrun --nproc-per-node 8 jobs/train_dit.py jobs/configs/train_photos.toml
    ray job submit --working-dir . -- python jobs/train_dit.py jobs/configs/train_photos.toml

Progress goes to stderr, the result as JSON to stdout. Exit codes are those of the command
line: 0 done, 1 failed, 2 wrong recipe, 130 stopped (with a checkpoint).
"""

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from latentcache.cli.entry import STOPPED, exit_code_of, sentence_of
from latentcache.core.config import config_from_mapping, read_toml
from latentcache.core.errors import ConfigError, LatentCacheError
from latentcache.core.media import Bucket
from latentcache.evaluate import load_recorded_encoder
from latentcache.loader.select import as_sources
from latentcache.loader.transform import primary_field
from latentcache.report import latent_picture, png_bytes
from latentcache.runner import lay_over, parse_setting
from latentcache.train import Condition, SessionResult, Trainer, TrainRecipe, train_here

MAX_FRAMES = 5


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override.")
@click.option("--model", type=click.Choice(["dit", "wan"]), help="Override the recipe's model.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint, if there is one.")
@click.option("--ray", "on_ray", is_flag=True, help="Run on Ray; so does a submitted job.")
def main(
    recipe: Path, settings: tuple[str, ...], model: str | None, resume: bool, on_ray: bool
) -> None:
    """Train the model that RECIPE describes."""
    rank = int(os.environ.get("RANK", "0"))
    try:
        overrides = dict(parse_setting(text) for text in settings)
        chosen = read_recipe(recipe, overrides | ({"model": model} if model else {}))
        result = run(chosen, resume=resume, on_ray=on_ray)
    except (LatentCacheError, OSError) as error:
        print(f"error: {sentence_of(error)}" + f" (rank {rank})" * bool(rank), file=sys.stderr)
        sys.exit(exit_code_of(error))
    if rank == 0:
        print(json.dumps(asdict(result), indent=2))
    if result.is_stopped:
        if rank == 0:
            tell("stopped; run the same command with --resume to go on")
        sys.exit(STOPPED)


def read_recipe(path: Path, overrides: dict[str, Any]) -> TrainRecipe:
    """Return the recipe in a file with overrides laid over it."""
    values = read_toml(path)
    for key, value in overrides.items():
        lay_over(values, key, value)
    return config_from_mapping(TrainRecipe, values, where=str(path))


def run(recipe: TrainRecipe, *, resume: bool, on_ray: bool) -> SessionResult:
    """Return what came of it, here or on the cluster that this runs on."""
    is_submitted = "RAY_ADDRESS" in os.environ and "RANK" not in os.environ
    if not (on_ray or is_submitted):
        return train_here(recipe, resume=resume, tell=tell, draw=make_draw(recipe))
    from latentcache.runner import train_on_cluster  # noqa: PLC0415  loads Ray

    if is_submitted:
        recipe = on_cluster(recipe)
    return train_on_cluster(recipe, resume=resume, tell=tell, draw=make_draw(recipe))


def on_cluster(recipe: TrainRecipe) -> TrainRecipe:
    """Return the recipe as a submitted job runs it: on the cluster it was submitted to.

    Raises:
        ConfigError: A path is relative; a job's working folder is a copy that goes away.
    """
    stores = [recipe.store, *(str(one.store) for one in recipe.sources)]
    for name, url in [("out", recipe.out), *(("store", url) for url in stores)]:
        if url and "://" not in url and not Path(url).is_absolute():
            raise ConfigError(
                f"{name} must be an absolute path or a URL in a submitted job, got {url!r} "
                "(recipe); name a folder that every node sees"
            )
    address = recipe.ray.address
    return replace(
        recipe, ray=replace(recipe.ray, address="auto" if address == "local" else address)
    )


def tell(line: str) -> None:
    """Show a line of progress."""
    print(line, file=sys.stderr, flush=True)


def make_draw(recipe: TrainRecipe) -> Callable[[Trainer, Path], None]:
    """Return what draws a sheet of samples: decoded, or else three channels of the latents."""
    decoders: list[Callable[[torch.Tensor], torch.Tensor] | None] = []

    def draw(trainer: Trainer, path: Path) -> None:
        if not decoders:
            decoders.append(load_decoder(recipe))
        output = recipe.output
        shapes = trainer.shapes()
        latents = trainer.sample(
            conditions(trainer, output.num_samples),
            guidance=output.guidance if recipe.condition else 1.0,
            num_steps=output.sample_steps,
            num_samples=output.num_samples,
            # Of images and clips, clips.
            bucket=max(shapes, key=lambda bucket: Bucket.parse(bucket).num_frames),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_bytes(sheet(latents.float().cpu(), decoders[0])))

    return draw


def conditions(trainer: Trainer, num_samples: int) -> Condition | None:
    """Return what samples are told: the classes in turn, or the last batch's texts."""
    told, num_classes = trainer.last_told, getattr(trainer.model, "num_classes", None)
    if isinstance(told, tuple):
        return told[0][:num_samples], told[1][:num_samples]
    return torch.arange(num_samples) % num_classes if told is not None and num_classes else None


def load_decoder(recipe: TrainRecipe) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return what turns latents into pixels in [0, 1], or None where it cannot be had."""
    view = as_sources(list(recipe.sources) or recipe.store)[0].open().columns["latents"]
    try:
        encoder = load_recorded_encoder(view.record)
    except (LatentCacheError, KeyError) as error:
        tell(f"samples are drawn as latents: {error}")
        return None
    low, high = encoder.spec.input_range
    name = primary_field(view).name

    def decode(latents: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            pixels = encoder.decode({name: latents.to(encoder.device)}).float().cpu()
        return ((pixels - low) / (high - low)).clamp(0, 1)

    return decode


def sheet(
    latents: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor] | None
) -> npt.NDArray[np.uint8]:
    """Return samples in a square, uint8 HWC; of a clip, some frames beside each other."""
    cells = []
    for latent in latents:
        values = decode(latent[None])[0] if decode else latent
        frames = values[:, None] if values.ndim == 3 else values
        chosen = torch.linspace(0, frames.shape[1] - 1, min(MAX_FRAMES, frames.shape[1])).round()
        pictures = [frames[:, int(at)].numpy() for at in chosen]
        cells.append(np.concatenate([picture_of(one, decode) for one in pictures], axis=1))
    num_columns = math.ceil(math.sqrt(len(cells))) if latents.ndim == 4 else 1
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % num_columns)
    lines = [cells[at : at + num_columns] for at in range(0, len(cells), num_columns)]
    return np.concatenate([np.concatenate(line, axis=1) for line in lines])


def picture_of(values: npt.NDArray[np.float32], decode: object) -> npt.NDArray[np.uint8]:
    """Return one frame, uint8 HWC, of pixels in [0, 1] or of a latent."""
    if decode is None:
        return latent_picture(values)
    return np.ascontiguousarray(np.rint(values * 255).astype(np.uint8).transpose(1, 2, 0))


if __name__ == "__main__":
    main()
