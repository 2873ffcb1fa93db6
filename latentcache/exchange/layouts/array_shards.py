"""LightningDiT's shards, EDM2's and REPA's arrays: ImageNet caches, numbered and labelled.

Sources: LightningDiT ``extract_features.py``; EDM2 ``dataset_tool.py encode`` and
``training/encoders.py``; REPA ``preprocessing/dataset_tools.py``.
"""

import io
import struct
from collections.abc import Iterator
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from latentcache.core.errors import MediaError
from latentcache.exchange.layouts.foreign import (
    SAMPLES_PER_RUN,
    ForeignSample,
    Found,
    Reading,
    Tensors,
    Unreadable,
    broken,
    checked,
    read_json,
    read_pt,
    read_safetensors,
    sample_of,
)
from latentcache.storage import Folder

_STATISTICS = "latents_stats.pt"


def read_lightningdit(reading: Reading) -> Iterator[Found]:
    """Yield LightningDiT's: ``latents`` (N, C, H, W) and ``labels`` of each shard, by number.

    ``latents_stats.pt`` becomes the published figures; flipped latents are left out and counted.
    """
    reading.normalizer = _published(reading)
    for name in reading.names(".safetensors"):
        shard = _Shard(reading.root, name)
        try:
            latents, labels = shard.tensor("latents"), shard.tensor("labels")
        except (MediaError, KeyError) as error:
            yield Unreadable(name, str(error))
            continue
        reading.left_out["flipped latents"] += shard.num("latents_flip")
        for number in range(latents.shape[0]):
            yield ForeignSample(
                name=f"{name.removesuffix('.safetensors')}/{number:06d}",
                shape=tuple(latents.shape[1:]),
                dtype=latents.dtype,
                load=partial(shard.row, number),
                label=int(labels[number]),
                is_picture_known=False,
                run=f"{name}/{number // SAMPLES_PER_RUN}",
            )


class _Shard:
    """One safetensors file, mapped where it is local; a remote one is read for each run of rows."""

    def __init__(self, root: Folder, name: str) -> None:
        self._root, self._name = root, name
        self._path = root.local_path(name)

    def tensor(self, key: str) -> torch.Tensor:
        try:
            if self._path is not None:
                with safe_open(self._path, framework="pt") as file:
                    found: torch.Tensor = file.get_tensor(key)
                    return found
        except (SafetensorError, OSError, struct.error) as error:
            raise broken(self._name, error) from None
        with _READS_ONE:
            return _read_whole(self._root, self._name)[key]

    def num(self, key: str) -> int:
        try:
            return int(self.tensor(key).shape[0])
        except (MediaError, KeyError):
            return 0

    def row(self, number: int) -> torch.Tensor:
        try:
            if self._path is not None:
                with safe_open(self._path, framework="pt") as file:
                    found: torch.Tensor = file.get_slice("latents")[number : number + 1][0]
                    return found
            return self.tensor("latents")[number].clone()
        except (SafetensorError, OSError) as error:
            raise broken(self._name, error) from None


_READS_ONE = Lock()
"""Rows are loaded side by side; the first of a shard reads it for all of them."""


@lru_cache(maxsize=2)
def _read_whole(root: Folder, name: str) -> Tensors:
    return read_safetensors(root, name)


def _published(reading: Reading) -> dict[str, Any] | None:
    if reading.root.stat(_STATISTICS) is None:
        return None
    found = read_pt(reading.root, _STATISTICS)
    mean, std = (torch.as_tensor(found[key]).double().flatten().tolist() for key in ("mean", "std"))
    ops = [
        {"op": "subtract", "values": mean, "axis": "C"},
        {"op": "divide", "values": std, "axis": "C"},
    ]
    return {"ops": ops, "source": _STATISTICS}


def read_edm2(reading: Reading) -> Iterator[Found]:
    """Yield EDM2's and REPA's: ``NNNNN/img-mean-std-N.npy``, mean and std one after the other."""
    labels: dict[str, int] = {}
    if reading.root.stat("dataset.json") is not None:
        told = read_json(reading.root, "dataset.json").get("labels") or []
        labels = {name: int(label) for name, label in told}
    for name in reading.names(".npy"):
        yield sample_of(
            name.removesuffix(".npy"),
            partial(_array, reading.root, name),
            partial(checked, where=name),
            label=labels.get(name),
            is_picture_known=False,
        )


def _array(root: Folder, name: str) -> torch.Tensor:
    try:
        found = np.load(io.BytesIO(root.read(name)), allow_pickle=False)
        return torch.from_numpy(found)
    except (ValueError, OSError, TypeError) as error:
        raise broken(name, error) from None
