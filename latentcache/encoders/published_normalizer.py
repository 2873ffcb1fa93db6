"""Published normalization: the forms in which models state it, read and checked."""

import math
from collections.abc import Iterable
from typing import Any

from latentcache.core.errors import EncoderError
from latentcache.encoders.spec import Normalizer, NormalizerOp, NormalizerSource
from latentcache.encoders.weights import LoadedModel


def scaled(scale: float, *, source: NormalizerSource = "config") -> Normalizer:
    """Return ``z * scale``."""
    return Normalizer(ops=(NormalizerOp(op="multiply", values=(scale,)),), source=source)


def config_scale(model: LoadedModel) -> Normalizer | None:
    """Return ``z * scaling_factor``, if the config publishes it."""
    scale = model.config.get("scaling_factor")
    return None if scale is None else scaled(float(scale))


def standardized(
    mean: Iterable[float],
    std: Iterable[float],
    *,
    scale: float = 1.0,
    source: NormalizerSource = "config",
) -> Normalizer:
    """Return ``(z - mean) * scale / std``, per channel."""
    subtract = NormalizerOp(op="subtract", values=tuple(float(value) for value in mean))
    divide = NormalizerOp(op="divide", values=tuple(float(value) / scale for value in std))
    return Normalizer(ops=(subtract, divide), source=source)


def channel_figures(
    model: LoadedModel, *, or_of_class: bool = False
) -> tuple[tuple[float, ...], tuple[float, ...], NormalizerSource] | None:
    """Return ``latents_mean``, ``latents_std`` and where they stand; None where they don't.

    Args:
        model: Loaded.
        or_of_class: Take the class's own where config.json has none, as its pipelines do.

    Raises:
        EncoderError: They are no lists of numbers, of unlike lengths, or divide by 0.
    """
    config, source = model.config, "config"
    if or_of_class and not ("latents_mean" in config or "latents_std" in config):
        config, source = model.module.config, "class"
    mean, std = (flat_floats(config.get(f"latents_{name}"), name) for name in ("mean", "std"))
    if not mean or not std:
        return None
    if len(mean) != len(std) or not all(std):
        what = "a 0 among the latter" if len(mean) == len(std) else f"{len(mean)} and {len(std)}"
        raise EncoderError(
            f"latents_mean and latents_std must be as many numbers each, the latter not 0, got "
            f"{what} (config.json); download it again"
        )
    return mean, std, "class" if source == "class" else "config"


def flat_floats(values: Any, name: str) -> tuple[float, ...]:
    """Return the finite numbers of a number or of a list, nested or not; () of None.

    Raises:
        EncoderError: There is something else in it.
    """
    if values is None:
        return ()
    if isinstance(values, list | tuple):
        return tuple(number for value in values for number in flat_floats(value, name))
    if isinstance(values, bool) or not isinstance(values, int | float) or not math.isfinite(values):
        raise EncoderError(
            f"latents_{name} must be finite numbers, got {values!r} (config.json); correct it"
        )
    return (float(values),)
