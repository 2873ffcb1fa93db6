"""OneTrainer, the LTX-2 trainer and NeMo Automodel: folders of ``torch.save`` with a table beside.

Sources: OneTrainer with mgds ``pipelineModules/DiskCache.py``; LTX-2
``ltx-trainer/process_videos.py``; Automodel ``tools/diffusion/preprocessing``.
"""

import posixpath
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from latentcache.core.errors import MediaError
from latentcache.exchange.layouts.foreign import (
    Found,
    Reading,
    Unreadable,
    below,
    broken,
    checked,
    read_pt,
    sample_of,
)


def read_onetrainer(reading: Reading) -> Iterator[Found]:
    """Yield OneTrainer's: ``GROUP/variation-0/N.pt``; only ``aggregate.pt`` names the pictures."""
    for table in reading.names("/aggregate.pt"):
        folder = posixpath.dirname(table)
        variation = posixpath.basename(folder)
        if variation != "variation-0":
            reading.left_out["further variations"] += 1
            continue
        try:
            rows = read_pt(reading.root, table)
        except MediaError as error:
            yield Unreadable(table, str(error))
            continue
        for number, row in enumerate(rows):
            if "image_path" not in row or f"{folder}/text/" in table:
                reading.left_out["text embeddings"] += 1
                continue
            name = posixpath.join(folder, f"{number}.pt")
            yield sample_of(
                below(row["image_path"], reading),
                partial(read_pt, reading.root, name),
                partial(_named_latents, name, ("latent_image",)),
            )


def read_ltx2(reading: Reading) -> Iterator[Found]:
    """Yield the LTX-2 trainer's: ``latents/REL.pt`` with ``latents`` and latent sizes."""
    for name in reading.names(".pt"):
        parts = name.split("/")
        if "latents" not in parts[:-1]:
            reading.left_out[f"files of {parts[0] if len(parts) > 1 else 'the root'}"] += 1
            continue
        at = "/".join(parts[parts.index("latents") + 1 :]).removesuffix(".pt")
        told: dict[str, Any] = {}
        try:
            found = read_pt(reading.root, name)
            if isinstance(found, dict) and found.get("fps"):
                told["frame_rate_fps"] = float(found["fps"])
        except MediaError as error:
            yield Unreadable(name, str(error))
            continue
        yield sample_of(
            reading.pictures.get(at, at),
            partial(read_pt, reading.root, name),
            partial(_ltx_latents, name),
            opened=found,
            **told,
        )


def _ltx_latents(name: str, found: Any) -> torch.Tensor:
    if not isinstance(found, dict) or not isinstance(found.get("latents"), torch.Tensor):
        raise broken(name, ValueError("no tensor under latents"))
    latents = found["latents"]
    if latents.ndim == 2:  # older files: (F * H * W, C)
        sizes = [int(found[key]) for key in ("num_frames", "height", "width")]
        latents = latents.reshape(*sizes, latents.shape[-1]).permute(3, 0, 1, 2)
    return checked(latents, where=name)


def read_automodel(reading: Reading) -> Iterator[Found]:
    """Yield Automodel's: ``WxH/MD5.pt`` with ``latent`` or ``video_latents`` and their source."""
    for name in reading.names(".pt"):
        try:
            found = read_pt(reading.root, name)
        except MediaError as error:
            yield Unreadable(name, str(error))
            continue
        if not isinstance(found, dict):
            yield Unreadable(name, f"{name} holds no dict")
            continue
        path = found.get("image_path") or found.get("video_path")
        told: dict[str, Any] = {}
        for key in ("prompt", "caption"):
            if isinstance(found.get(key), str):
                told["caption"] = found[key]
        stem = posixpath.splitext(name)[0]
        at = below(path, reading) if isinstance(path, str) else stem
        yield sample_of(
            at,
            partial(read_pt, reading.root, name),
            partial(_named_latents, name, ("latent", "video_latents")),
            opened=found,
            is_picture_known=isinstance(path, str),
            **told,
        )


def _named_latents(name: str, keys: tuple[str, ...], found: Any) -> torch.Tensor:
    if isinstance(found, dict):
        for key in keys:
            if key in found:
                return checked(found[key], where=name)
    raise broken(name, ValueError(f"no {' or '.join(keys)}"))
