"""Weights of published judges, read from files that a user has: nothing is downloaded."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentcache.core.errors import ConfigError, first_line
from latentcache.core.fingerprint import fingerprint

Weights = dict[str, Tensor]


def read_weights(path: Path, *, what: str) -> Weights:
    """Return tensors by name, float32, of ``.safetensors`` or of what ``torch.save`` wrote.

    Args:
        path: Of the file; no code in it is run.
        what: It holds, for the sentence where it does not.

    Raises:
        ConfigError: It is not there, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"{what} must be a file of weights, got none at {path}") from None
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{what} must be .safetensors or a .pth of tensors alone, got {path}: "
            f"{first_line(error)}"
        ) from None
    except Exception as error:  # noqa: BLE001  whatever unpickling a foreign file may raise
        raise ConfigError(
            f"{what} must hold tensors and no code, got {path}: {type(error).__name__}"
        ) from None
    if not isinstance(found, dict):
        raise ConfigError(f"{what} must hold tensors by name, got {type(found).__name__} ({path})")
    return {name: each.float() for name, each in found.items() if isinstance(each, Tensor)}


def named(weights: Weights, name: str, path: Path, *, what: str) -> Tensor:
    """Return one tensor.

    Raises:
        ConfigError: It is not there.
    """
    if name not in weights:
        shown = ", ".join(sorted(weights)[:3]) or "nothing"
        raise ConfigError(f"{what} must hold {name}, got {shown} ... ({path})")
    return weights[name]


def weights_digest(weights: Weights) -> str:
    """Return what tells these weights from others: names, shapes and sums."""
    sums = {name: [*each.shape, float(each.double().sum())] for name, each in weights.items()}
    return fingerprint(sums)
