"""Checkpoints: one safetensors file, JSON in its header, no pickle, replaced whole.

Tensors are named ``model.*``, ``ema.*`` and ``optimizer.<slot>.*``; the rest (step, options,
the model's description, the normalization by value, the loader's state) is JSON text under
``latentcache`` in the file's metadata.
"""

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from latentcache.core.errors import ConfigError, RunError
from latentcache.core.seeds import new_write_id
from latentcache.loader import Normalizer
from latentcache.train.dit import DiT, DiTConfig
from latentcache.train.objectives.masked_tokens import MaskedTransformer
from latentcache.train.trained_weights import part_of

CHECKPOINT_FORMAT = 1
_JSON = "latentcache"

_RENAMED = {
    "normalise": "normalizer",  # what earlier releases wrote
    "beside_channels": "conditioning_channels",  # of the model, in earlier releases
    "has_places": "has_position_embedding",  # of the model, in earlier releases
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        tensors: By name, on the CPU.
        facts: Plain values.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def normalizer(self) -> Normalizer:
        """Return what was done to the latents that the model was trained on."""
        return Normalizer.from_json(self.facts["normalizer"])


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a file that is there whole or not at all; one that was there stays until then.

    Raises:
        RunError: It cannot be written.
    """
    target = Path(path)
    # A copy of its own: safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()
    }
    sums = {name: _checksum(tensor) for name, tensor in tensors.items()}
    facts = {**checkpoint.facts, "format": CHECKPOINT_FORMAT, "crc32": sums}
    temporary = target.with_name(f".{target.name}.{new_write_id()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata={_JSON: json.dumps(facts, allow_nan=False)})
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink()
        raise RunError(
            f"checkpoint must be written whole, got {error} ({target}); the one before is kept"
        ) from None


def read_loader_state(path: str | Path) -> dict[str, Any]:
    """Return where a checkpoint's loader stood, from the header alone; empty where it is damaged.

    Whoever reads the whole checkpoint is told what is wrong with it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(_JSON, "{}"))
    except (OSError, SafetensorError, ValueError):
        return {}
    state = facts.get("loader")
    return state if isinstance(state, dict) else {}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Return a checkpoint, every byte of it compared with its checksum.

    Raises:
        ConfigError: There is none, or it is damaged or of another format.
    """
    where = Path(path)
    if not where.is_file():
        raise ConfigError(f"checkpoint must be a file, got none ({where}); name one that was saved")
    try:
        with safe_open(where, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(_JSON, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(
            f"checkpoint must be a whole safetensors file, got {error} ({where}); "
            f"use an earlier one"
        ) from None
    if facts.get("format") != CHECKPOINT_FORMAT:
        raise ConfigError(
            f"checkpoint must be of format {CHECKPOINT_FORMAT}, got {facts.get('format')!r} "
            f"({where}); name one that this trainer saved"
        )
    for name, tensor in tensors.items():
        if facts["crc32"].get(name) != _checksum(tensor):
            raise ConfigError(
                f"checkpoint must hold what was saved, got other bytes in {name} ({where}); use an "
                f"earlier one"
            )
    facts = _renamed(facts)
    if isinstance(facts.get("model"), dict):
        facts["model"] = _renamed(facts["model"])
    return Checkpoint(tensors, facts)


def _renamed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts by the names of this release."""
    return {_RENAMED.get(name, name): value for name, value in facts.items()}


def load_weights(
    path: str | Path, *, weights: Literal["ema", "model"] = "ema"
) -> tuple[DiT | MaskedTransformer, Normalizer]:
    """Return the model of a checkpoint and the normalization to invert before decoding.

    Args:
        path: Of a checkpoint.
        weights: The averaged ones or those of the last step.

    Raises:
        ConfigError: There is no such checkpoint, or it holds another kind of model.
    """
    checkpoint = read_checkpoint(path)
    described = dict(checkpoint.facts["model"])
    kind = described.pop("kind")
    if kind not in ("dit", "masked"):
        raise ConfigError(
            f"checkpoint must hold a dit or a masked model, got {kind} ({path}); build "
            f"the model yourself and take its weights from read_checkpoint"
        )
    size = described.pop("codebook_size", 0)
    config = DiTConfig(**{**described, "patch": tuple(described["patch"])})
    model = DiT(config) if kind == "dit" else MaskedTransformer(config, codebook_size=size)
    model.load_state_dict(part_of(checkpoint.tensors, weights))
    return model.eval(), checkpoint.normalizer()


def _checksum(tensor: Tensor) -> int:
    if not tensor.numel():
        return 0
    values: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return zlib.crc32(values)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
