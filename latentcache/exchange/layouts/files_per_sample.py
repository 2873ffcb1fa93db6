"""SimpleTuner, musubi-tuner, sd-scripts and ai-toolkit: a file per picture, named after it.

Sources, read for names, keys and value spaces: SimpleTuner ``helpers/caching/vae.py``;
musubi-tuner ``dataset/cache_io.py``; sd-scripts ``library/strategy_*.py``; ai-toolkit
``toolkit/dataloader_mixins.py``.
"""

import io
import json
import posixpath
import re
import struct
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from latentcache.core.errors import MediaError
from latentcache.exchange.formats.simpletuner_folder import simpletuner_name
from latentcache.exchange.layouts.foreign import (
    Found,
    Reading,
    Tensors,
    Unreadable,
    broken,
    checked,
    read_pt,
    read_safetensors,
    sample_of,
)
from latentcache.storage import Folder

_MUSUBI_NAME = re.compile(
    r"(.+?)(?:_(\d{5,})-(\d{3,}))?_(\d{4,})x(\d{4,})_([a-z0-9]+)\.safetensors"
)
_SD_NAME = re.compile(r"(.+)_(\d{4,})x(\d{4,})_(sd|sdxl|sd3|flux|lumina|hi|anima)\.npz")
_SD_KEY = re.compile(r"latents(?:_(\d+)x(\d+))?")
_HASH = re.compile(r"[0-9a-f]{64}")


def read_simpletuner(reading: Reading) -> Iterator[Found]:
    """Yield SimpleTuner's: ``SUBFOLDER/SHA256(stem).pt``, a bare tensor or one in a dict."""
    by_hash = {simpletuner_name(path): path for path in reading.pictures.values()}
    for name in reading.names(".pt"):
        stem = posixpath.splitext(name)[0]
        picture = by_hash.get(name) or reading.pictures.get(stem)
        is_hashed = _HASH.fullmatch(posixpath.basename(stem)) is not None
        yield sample_of(
            picture or stem,
            partial(read_pt, reading.root, name),
            partial(_bare_or_named, name),
            is_picture_known=picture is not None or not is_hashed,
        )


def _bare_or_named(name: str, found: Any) -> torch.Tensor:
    return checked(found.get("latents") if isinstance(found, dict) else found, where=name)


def read_musubi(reading: Reading) -> Iterator[Found]:
    """Yield musubi-tuner's: ``STEM_WxH_ARCH.safetensors`` with ``latents_FxHxW_DTYPE``."""
    for name in reading.names(".safetensors"):
        if name.endswith("_te.safetensors"):
            reading.left_out["text embeddings"] += 1
            continue
        folder, base = posixpath.split(name)
        match = _MUSUBI_NAME.fullmatch(base)
        if match is None:
            yield Unreadable(name, f"{name} has no name STEM_WWWWxHHHH_ARCH")
            continue
        stem, first, count, width, height, _ = match.groups()
        at = posixpath.join(folder, stem)
        told: dict[str, Any] = {"source_size_px": (int(width), int(height))}
        if first is not None:
            at, told["num_frames"] = f"{at}#{int(first)}", int(count)
        picture = reading.pictures.get(posixpath.join(folder, stem))
        is_clip = first is not None
        yield sample_of(
            picture if picture and not is_clip else at,
            partial(read_safetensors, reading.root, name),
            partial(_musubi_latents, name),
            **told,
        )


def _musubi_latents(name: str, tensors: Tensors) -> torch.Tensor:
    beside = ("latents_control", "latents_image", "latents_clean")
    found = [
        value
        for key, value in tensors.items()
        if key.startswith("latents_") and not key.startswith(beside)
    ]
    if len(found) != 1:
        raise broken(name, ValueError(f"{len(found)} tensors named latents_FxHxW_DTYPE"))
    return checked(found[0], where=name)


def read_sd_scripts(reading: Reading) -> Iterator[Found]:
    """Yield sd-scripts': ``STEM_WxH_MODEL.npz``, ``latents`` or ``latents_HxW``; the largest size.

    A flipped encoding beside it is left out and counted.
    """
    for name in reading.names(".npz"):
        folder, base = posixpath.split(name)
        if re.search(r"_(te|te_outputs)\.npz$", base):
            reading.left_out["text embeddings"] += 1
            continue
        match = _SD_NAME.fullmatch(base)
        stem = match[1] if match else posixpath.splitext(base)[0]
        at = posixpath.join(folder, stem)
        try:
            data = reading.root.read(name)
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                keys = [key for key in arrays.files if _SD_KEY.fullmatch(key)]
                if not keys:
                    raise ValueError(f"it has {', '.join(arrays.files[:5])} and no latents")
                key = max(keys, key=_cells)
                reading.left_out["latents of further sizes"] += len(keys) - 1
                suffix = key.removeprefix("latents")
                reading.left_out["flipped latents"] += f"latents_flipped{suffix}" in arrays.files
                told = _sd_facts(arrays, suffix)
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            yield Unreadable(name, str(broken(name, error)))
            continue
        yield sample_of(
            reading.pictures.get(at, at),
            partial(reading.root.read, name),
            partial(_npz_latents, name, key),
            opened=data,
            **told,
        )


def _cells(key: str) -> int:
    match = _SD_KEY.fullmatch(key)
    return int(match[1]) * int(match[2]) if match and match[1] else 0


def _sd_facts(arrays: Any, suffix: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if f"original_size{suffix}" in arrays.files:
        width, height = arrays[f"original_size{suffix}"].tolist()
        told["source_size_px"] = (int(width), int(height))
    if f"crop_ltrb{suffix}" in arrays.files:
        left, top, *_ = arrays[f"crop_ltrb{suffix}"].tolist()
        told["crop_px"] = (int(left), int(top))
    return told


def _npz_latents(name: str, key: str, data: bytes) -> torch.Tensor:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return checked(torch.from_numpy(arrays[key]), where=name)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise broken(name, error) from None


def read_ai_toolkit(reading: Reading) -> Iterator[Found]:
    """Yield ai-toolkit's: ``FOLDER/_latent_cache/STEM_HASH.safetensors`` with ``latent``."""
    for name in reading.names(".safetensors"):
        folder, base = posixpath.split(name)
        if posixpath.basename(folder) == "_t_e_cache":
            reading.left_out["text embeddings"] += 1
            continue
        stem = base.rpartition("_")[0]
        at = posixpath.join(posixpath.dirname(folder), stem)
        yield sample_of(
            reading.pictures.get(at, at),
            partial(read_safetensors, reading.root, name),
            partial(_toolkit_latents, name),
            **_toolkit_facts(reading.root, name),
        )


def _toolkit_latents(name: str, tensors: Tensors) -> torch.Tensor:
    if "latent" not in tensors:
        raise broken(name, ValueError(f"it has {', '.join(sorted(tensors)[:5])}, no latent"))
    return checked(tensors["latent"], where=name)


def _toolkit_facts(root: Folder, name: str) -> dict[str, Any]:
    """Return the crop that the file's metadata tells, if any."""
    try:
        (length,) = struct.unpack("<Q", root.read(name, start=0, end=8))
        header = json.loads(root.read(name, start=8, end=8 + min(length, 1 << 20)))
        told = {key: json.loads(value) for key, value in header.get("__metadata__", {}).items()}
    except (ValueError, OSError, struct.error, AttributeError, MediaError):
        return {}
    facts = {key: value for each in told.values() if isinstance(each, dict)
             for key, value in each.items()} | told  # fmt: skip
    if isinstance(facts.get("crop_x"), int) and isinstance(facts.get("crop_y"), int):
        return {"crop_px": (facts["crop_x"], facts["crop_y"])}
    return {}
