"""Figures per channel and position: measured in the store, or read from a published ``stat.pt``.

RAE's file holds ``mean`` and ``var`` (C, H, W), and its code divides by ``sqrt(var + 1e-5)``. SVG's
holds ``dinov3_sp_mean`` and ``dinov3_sp_std`` (1, 1, C). Source: bytetriper/RAE ``stage1/rae.py``;
shiml20/SVG ``train_svg.py``.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.stats import ColumnStatistics
from latentcache.store import ColumnView

SUFFIX = ".pt"
_EPSILON = 1e-5
_FORMS = (("mean", "var"), ("mean", "std"), ("dinov3_sp_mean", "dinov3_sp_std"))

Ops = tuple[dict[str, Any], ...]


def published_ops(path: str, axes: str, channels: int | None) -> Ops:
    """Return the operations of a file of statistics, by value.

    Args:
        path: Of the file; it is read with ``weights_only``.
        axes: Of the column's field.
        channels: Of the same.

    Raises:
        ConfigError: It is no such file, or of another shape.
    """
    try:
        found = torch.load(Path(path).expanduser(), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  whatever unpickling a foreign file may raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"normalize must name a readable file of statistics, got {path} ({first[:120]}); "
            "download it again"
        ) from None
    known = found if isinstance(found, dict) else {}
    form = next((form for form in _FORMS if all(name in known for name in form)), None)
    if form is None:
        raise ConfigError(
            f"statistics must hold mean and var, mean and std, or dinov3_sp_mean and "
            f"dinov3_sp_std, got {', '.join(map(str, known)) or type(found).__name__} ({path}); "
            "give operations"
        )
    mean, spread = (_placed(known[name], axes, channels, where=f"{path}: {name}") for name in form)
    scale = np.sqrt(spread[1] + _EPSILON) if form[1] == "var" else spread[1]
    if not (np.isfinite(mean[1]).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ConfigError(
            f"statistics must be finite, and deviations above 0, got others ({path}); download it "
            "again"
        )
    return (
        {"op": "subtract", "values": mean[1].ravel().tolist(), "axis": mean[0]},
        {"op": "divide", "values": scale.ravel().tolist(), "axis": spread[0]},
    )


def _placed(
    value: Any, axes: str, channels: int | None, *, where: str
) -> tuple[str, "np.ndarray[Any, Any]"]:
    """Return figures in the order of the field's axes, and the axes that they are of."""
    array = torch.as_tensor(value).double().numpy()
    while array.ndim > len(axes) and array.shape[0] == 1:
        array = array[0]
    if array.size == channels:  # (C), (C, 1, 1), (1, 1, C)
        return "C", array.ravel()
    if array.ndim == 3 and array.shape[0] == channels and axes in ("CHW", "NC"):
        grid = array if axes == "CHW" else array.reshape(array.shape[0], -1).T
        return axes, np.ascontiguousarray(grid)
    raise ConfigError(
        f"statistics must be of {channels} channels, each one number or a grid, got shape "
        f"{tuple(array.shape)} ({where}); name the file of this encoder"
    )


def measured_ops(statistics: ColumnStatistics, views: Sequence[ColumnView], axes: str) -> Ops:
    """Return the operations of what was measured per channel and position.

    Raises:
        ConfigError: It was not measured, or the column has grids of several sizes.
    """
    name, primary = views[0].name, statistics.primary
    positions = {} if primary is None else primary.pooled.positions
    counted = sum(int(each.count[0]) for each in positions.values())
    if primary is None or not positions:
        raise ConfigError(
            f"normalize must not be measured-position for {name}, of which nothing was measured "
            "per position; it is of columns of vision features that this version has encoded"
        )
    if len(positions) > 1:
        grids = ", ".join("x".join(map(str, grid)) for grid in sorted(positions))
        raise ConfigError(
            f"normalize must not be measured-position for {name}, which has grids of {grids}; it "
            "takes a store of one resolution and aspect, or use measured"
        )
    if counted != primary.pooled.num_samples:
        raise ConfigError(
            f"normalize must not be measured-position for {name}, measured over {counted:,} of "
            f"{primary.pooled.num_samples:,} samples, as older versions did not; encode it again, "
            "or use measured"
        )
    (moments,) = positions.values()
    mean, std = moments.mean, moments.std
    # A place that never varies is shifted by its mean and not scaled.
    scale = np.where(std > 1e-6 * math.sqrt(float(np.square(std).mean()) or 1.0), std, 1.0)
    if axes == "NC":
        mean, scale = mean.T, scale.T
    return (
        {"op": "subtract", "values": mean.ravel().tolist(), "axis": axes},
        {"op": "divide", "values": scale.ravel().tolist(), "axis": axes},
    )
