"""Whether model, loader, device and checkpoint fit each other: asked before any work starts."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader
from latentcache.loader.transform import primary_field
from latentcache.train.rank_group import world


def find_device(device: str | torch.device) -> torch.device:
    """Return the device, checked to be there.

    Raises:
        ConfigError: It is not.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"device must be one of this machine, got {device} ({reason}); use cpu"
        ) from None
    return found


def latents_column(model: nn.Module, loader: LatentLoader) -> str:
    """Return the column that is trained on: ``latents``, or else the first encoded one.

    Raises:
        ConfigError: The model takes another number of channels, or of indices, or no indices.
    """
    columns = next(iter(loader.shapes().values()))
    name = "latents" if "latents" in columns else next(iter(columns))
    field, shape = primary_field(loader.view_of(name)), columns[name]
    if field.kind == "indices" and len(shape) == 1 + len(field.axes):
        _check_indices(model, loader, name)
        return name
    for bucket, shapes in loader.shapes().items():
        channels = getattr(model, "channels", shapes[name][1])
        if shapes[name][1] != channels:
            raise ConfigError(
                f"channels of the model must be {shapes[name][1]}, got {channels} ({name} of "
                f"bucket {bucket}); build it for this store"
            )
    return name


def _check_indices(model: nn.Module, loader: LatentLoader, name: str) -> None:
    size = (loader.view_of(name).record.spec.get("codebook") or {}).get("size")
    takes = getattr(model, "codebook_size", None)
    if takes is None:
        raise ConfigError(
            f"model must be one of indices for column {name}, got {type(model).__name__}; train a "
            'MaskedTransformer (recipe: model = "masked"), or give the loader '
            "LoaderOptions(indices='vectors')"
        )
    if size is not None and takes != size:
        raise ConfigError(
            f"codebook_size of the model must be {size}, got {takes} ({name}); build it for this "
            "store"
        )


def parts_of(loader: LatentLoader) -> tuple[int, int]:
    """Return ranks and micro-batches of the loader.

    Raises:
        ConfigError: The ranks are not those of the process group.
    """
    ranks, micro_batches = loader.state["parts"]
    if ranks != world()[1]:
        raise ConfigError(
            f"world_size of the loader must be that of the process group, got {ranks} and "
            f"{world()[1]}; leave it out, and the loader asks torch.distributed"
        )
    return ranks, micro_batches


def described(model: nn.Module) -> dict[str, Any]:
    """Return what must be equal for a checkpoint's weights to fit, as plain values."""
    describe = getattr(model, "describe", None)
    if callable(describe):
        return dict(describe())
    shapes = {name: list(one.shape) for name, one in model.state_dict().items()}
    return {"kind": type(model).__name__, "shapes": shapes}


def check_equal(what: str, theirs: Any, ours: Any, path: str | Path) -> None:
    """Refuse a checkpoint of something else, and show in what it differs.

    Raises:
        ConfigError: A value differs.
    """
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    if names:
        mine, its = ({name: one.get(name) for name in names[:4]} for one in (ours, theirs))
        raise ConfigError(
            f"{what} must be those of the checkpoint, got {mine} where it has {its} ({path}); "
            f"use the run's, or start a new run"
        )


def check_length(step: int, num_steps: int, path: str | Path) -> None:
    """Refuse to go on beyond the end.

    Raises:
        ConfigError: The checkpoint is of a later step than the last.
    """
    if step > num_steps:
        raise ConfigError(
            f"num_steps must be at least the checkpoint's step, {step}, got {num_steps} ({path}); "
            f"raise train.num_steps"
        )
