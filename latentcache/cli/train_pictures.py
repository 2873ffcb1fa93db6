"""Samples drawn while a model trains: a sheet of pictures, decoded where the encoder can be had."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from latentcache.core.errors import LatentCacheError
from latentcache.core.media import Bucket
from latentcache.evaluate import load_recorded_encoder
from latentcache.loader.transform import primary_field
from latentcache.report import labelled_png, latent_picture
from latentcache.store import ColumnView
from latentcache.train import Condition, Trainer, TrainRecipe

MAX_FRAMES = 5
"""Of a clip, shown beside each other."""

Decode = Callable[[torch.Tensor], torch.Tensor]


def make_draw(recipe: TrainRecipe, tell: Callable[[str], None]) -> Callable[[Trainer, Path], None]:
    """Return what draws a sheet of samples: decoded, or else three channels of the latents."""
    decoders: list[Decode | None] = []

    def draw(trainer: Trainer, path: Path) -> None:
        if not decoders:
            decoders.append(load_decoder(trainer.encoding, tell))
        if decoders[0] is None and primary_field(trainer.encoding).kind == "indices":
            return  # numbers of a codebook are no picture; why there is no decoder was told
        output = recipe.output
        shapes = trainer.shapes()
        told = conditions(trainer, output.num_samples)
        guidance = output.guidance if recipe.condition else 1.0
        latents = trainer.sample(
            told,
            guidance=guidance,
            num_steps=output.sample_steps,
            num_samples=output.num_samples,
            # Of images and clips, clips.
            bucket=max(shapes, key=lambda bucket: Bucket.parse(bucket).num_frames),
        )
        title = f"step {trainer.step:,}" + (f", guidance {guidance:g}" if told is not None else "")
        labels = labels_of(trainer, told, len(latents))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sheet(latents.float().cpu(), decoders[0], labels, title=title))

    return draw


def conditions(trainer: Trainer, num_samples: int) -> Condition | None:
    """Return what samples are told: the classes in turn, or the last batch's texts."""
    told, num_classes = trainer.last_told, getattr(trainer.model, "num_classes", None)
    if isinstance(told, tuple):
        return told[0][:num_samples], told[1][:num_samples]
    return torch.arange(num_samples) % num_classes if told is not None and num_classes else None


def labels_of(trainer: Trainer, told: Condition | None, num_samples: int) -> list[str]:
    """Return what each sample was told, in words: its class, or its caption where there is one."""
    if told is None:
        return [""] * num_samples
    if isinstance(told, tuple):
        return [text or "" for text in trainer.last_captions[:num_samples]] or [""] * num_samples
    names = trainer.classes
    return [
        names[label] if names and label < len(names) else f"class {label}"
        for label in told.tolist()
    ]


def load_decoder(view: ColumnView, tell: Callable[[str], None]) -> Decode | None:
    """Return what turns latents into pixels in [0, 1], or None where it cannot be had.

    Args:
        view: Of the latents as the run reads them: a store may serve another encoding since.
        tell: Shows a line to a person.
    """
    try:
        encoder = load_recorded_encoder(view.record)
    except (LatentCacheError, KeyError) as error:
        is_of_indices = primary_field(view).kind == "indices"
        tell(f"samples are {'not drawn' if is_of_indices else 'drawn as latents'}: {error}")
        return None
    low, high = encoder.spec.input_range
    name = primary_field(view).name

    def decode(latents: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            pixels = encoder.decode({name: latents.to(encoder.device)}).float().cpu()
        return ((pixels - low) / (high - low)).clamp(0, 1)

    return decode


def sheet(
    latents: torch.Tensor, decode: Decode | None, labels: Sequence[str] = (), *, title: str = ""
) -> bytes:
    """Return samples in a square as a PNG; of a clip, some frames beside each other."""
    cells = []
    for latent in latents:
        values = decode(latent[None])[0] if decode else latent
        frames = values[:, None] if values.ndim == 3 else values
        chosen = torch.linspace(0, frames.shape[1] - 1, min(MAX_FRAMES, frames.shape[1])).round()
        cells.append([picture_of(frames[:, int(at)].numpy(), decode) for at in chosen])
    is_of_pictures = all(len(frames) == 1 for frames in cells)
    across = math.ceil(math.sqrt(len(cells))) if is_of_pictures else 1
    return labelled_png(cells, labels or [""] * len(cells), title=title, across=across)


def picture_of(values: npt.NDArray[np.float32], decode: object) -> npt.NDArray[np.uint8]:
    """Return one frame, uint8 HWC, of pixels in [0, 1] or of a latent."""
    if decode is None:
        return latent_picture(values)
    return np.ascontiguousarray(np.rint(values * 255).astype(np.uint8).transpose(1, 2, 0))
