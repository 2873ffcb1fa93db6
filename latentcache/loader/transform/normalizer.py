"""From the encoder's space to the model's, and back: a list of operations, carried by value.

Dimension letters: B batch.
"""

import logging
import math
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.transform.fused import Figures, FusedTransform, axes_after, fuse
from latentcache.loader.transform.position_figures import SUFFIX, measured_ops, published_ops
from latentcache.stats import ColumnStatistics, merge_arrays, published_misfit
from latentcache.store import ColumnView

logger = logging.getLogger(__name__)

NormalizeMode = Literal[
    "auto", "published", "measured", "measured-global", "measured-position", "none", "given"
]

Ops = tuple[Mapping[str, Any], ...]

_ARGUMENTS = {
    "subtract": "values",
    "divide": "values",
    "multiply": "values",
    "add": "values",
    "patchify": "size",
    "pack": "size",
    "permute": "axes",
}
"""Operations there are, and what each must be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalizer:
    """What is done to a column's latents; plain values, so that it can be kept beside weights.

    Attributes:
        mode: How the operations were found.
        source: Where their numbers came from.
        axes: Letters of the stored latent's dimensions.
        ops: ``op`` with ``values`` and ``axis``, ``size`` or ``axes``; in order, as an
            encoder publishes them (docs/encoders.md).
    """

    mode: NormalizeMode
    source: str
    axes: str
    ops: Ops

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "mode": self.mode,
            "source": self.source,
            "axes": self.axes,
            "ops": [dict(op) for op in self.ops],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Normalizer":
        """Return what ``to_json`` wrote."""
        return cls(
            mode=values["mode"],
            source=values["source"],
            axes=values["axes"],
            ops=tuple(values["ops"]),
        )

    def fused(self, shape: Sequence[int], device: torch.device | None = None) -> FusedTransform:
        """Return what is done to stored samples of one shape.

        Raises:
            ConfigError: The operations do not fit that shape.
        """
        return fuse(self.ops, self.axes, shape, device)

    def apply(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents (B, *axes) in the model's space; float32 if there is any operation."""
        if not self.ops:
            return latents
        fused = self.fused(latents.shape[1:], latents.device)
        shape = (len(latents), *fused.shape)
        return fused.write(latents, latents.new_empty(shape, dtype=torch.float32))

    def invert(self, latents: torch.Tensor, *, shape: Sequence[int] | None = None) -> torch.Tensor:
        """Return latents in the encoder's own space, to decode them.

        Args:
            latents: (B, ...) as ``apply`` returns them.
            shape: Of one stored latent, as ``axes`` names its dimensions; needed where
                tokens were packed, whose number does not tell height from width.

        Raises:
            ConfigError: Tokens were packed, and no shape that fits them is given.
        """
        if not self.ops:
            return latents
        if any(op["op"] == "pack" for op in self.ops):
            if shape is None or len(shape) != len(self.axes):
                raise ConfigError(
                    f"shape must be that of one stored latent ({self.axes}) to unpack tokens, got "
                    f"{shape}; pass for example normalizer.invert(latents, shape=(16, 64, 64))"
                )
        else:
            shape = self._stored_shape(tuple(latents.shape[1:]))
        fused = self.fused(shape, latents.device)
        if tuple(latents.shape[1:]) != fused.shape:
            raise ConfigError(
                f"latents of stored shape {shape} must be {fused.shape} each to be brought back, "
                f"got {tuple(latents.shape[1:])}; pass the shape they were stored in"
            )
        return fused.invert(latents)

    def _stored_shape(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the stored shape of what was not packed."""
        before = [self.axes]
        for op in self.ops:
            before.append(axes_after(op, before[-1]))
        for op, axes in zip(reversed(self.ops), reversed(before[:-1]), strict=True):
            if op["op"] == "patchify":
                edge = int(op["size"])
                channels, *frames, height, width = sizes
                sizes = (channels // edge**2, *frames, height * edge, width * edge)
            elif op["op"] == "permute":
                sizes = tuple(sizes[str(op["axes"]).index(letter)] for letter in axes)
        return sizes


def resolve_normalizer(
    views: Sequence[ColumnView],
    mode: NormalizeMode | Sequence[Mapping[str, Any]],
    *,
    is_sampled: bool,
    warn: Callable[[str], None] = logger.warning,
) -> Normalizer:
    """Return a column's normalization, its numbers resolved.

    Args:
        views: The column in each source, of one encoding; measured figures are those of all.
        mode: ``auto`` takes published figures where there are any and else measured ones;
            ``measured-global`` has a mean per channel and one scale for all; ``measured-position``
            has both per channel and position; or operations, or a file of statistics, ``stat.pt``.
        is_sampled: Whether the posterior is sampled, which widens the measured variance.
        warn: Takes what a person should know.

    Raises:
        ConfigError: There are no such figures.
    """
    view = views[0]
    axes = primary_field(view).axes
    if not isinstance(mode, str):
        given = _checked_ops(mode)
        return Normalizer(mode="given", source="given", axes=axes, ops=given)
    ops: Ops
    if mode.endswith(SUFFIX):
        ops = published_ops(mode, axes, primary_field(view).channels)
        return Normalizer(mode="given", source=posixpath.basename(mode), axes=axes, ops=ops)
    if mode == "measured-position":
        merged = ColumnStatistics.from_arrays(merge_arrays(one.statistics() for one in views))
        ops = measured_ops(merged, views, axes)
        return Normalizer(mode=mode, source="measured", axes=axes, ops=ops)
    published = view.record.normalizer
    if mode == "none":
        return Normalizer(mode=mode, source="none", axes=axes, ops=())
    if mode == "published" or (mode == "auto" and published is not None):
        if published is None:
            raise ConfigError(
                f"normalize must not be published for {view.name}, whose encoder publishes "
                f"nothing; use measured"
            )
        ops = tuple(_plain(op) for op in published["ops"])
        source = f"published ({published.get('source', 'unknown')})"
        measured = ColumnStatistics.from_arrays(merge_arrays(one.statistics() for one in views))
        if said := published_misfit(measured, ops, column=view.name):
            warn(said)
        return Normalizer(mode=mode, source=source, axes=axes, ops=ops)
    if mode not in ("auto", "measured", "measured-global"):
        raise ConfigError(
            f"normalize must be auto, published, measured, measured-global, measured-position, "
            f"none, operations or a file of statistics that ends in {SUFFIX}, got {mode!r}"
        )
    return _measured(views, mode, axes, is_sampled=is_sampled, warn=warn)


def primary_field(view: ColumnView) -> Any:
    """Return the field that a model trains on: ``mean``, ``z`` or ``sample``, else the first."""
    fields = {field.name: field for field in view.record.fields}
    for name in ("mean", "z", "sample"):
        if name in fields:
            return fields[name]
    return view.record.fields[0]


def _measured(
    views: Sequence[ColumnView],
    mode: NormalizeMode,
    axes: str,
    *,
    is_sampled: bool,
    warn: Callable[[str], None],
) -> Normalizer:
    view = views[0]
    merged = merge_arrays(one.statistics() for one in views)
    statistics = ColumnStatistics.from_arrays(merged).primary
    if statistics is None or not int(statistics.pooled.moments.count.sum()):
        raise ConfigError(
            f"normalize must be none or operations for {view.name}, whose statistics hold no "
            f"latents; use none"
        )
    pooled = statistics.pooled
    variance = pooled.moments.variance
    if is_sampled and pooled.posterior is not None:
        variance = pooled.latent_variance(is_sampled=statistics.is_sampled)
    if mode == "measured-global":
        # The root mean square about the channels' means keeps their relative sizes.
        scales = [math.sqrt(float(variance.mean())) or 1.0]
    else:
        moments = pooled.moments
        largest = np.maximum(np.abs(moments.minimum), np.abs(moments.maximum))
        is_noise = rounding_noise(variance, largest, dtype=primary_field(view).dtype)
        scales = np.where(is_noise, 1.0, np.sqrt(variance)).tolist()
        if is_noise.any():
            channels = np.flatnonzero(is_noise)
            deviation = math.sqrt(float(variance[channels[0]]))
            warn(
                f"column {view.name}: {len(channels)} of {len(scales)} channels hold one value, or "
                f"rounding noise about it (first: channel {channels[0]}, standard deviation "
                f"{deviation:.3g}): they are shifted by their mean and not scaled"
            )
    if not all(math.isfinite(scale) for scale in scales):
        raise ConfigError(
            f"normalize must not be {mode} for {view.name}, a channel of which holds no finite "
            f"value; use operations"
        )
    means = [float(value) for value in pooled.moments.mean]
    ops = (
        {"op": "subtract", "values": means, "axis": "C"},
        {"op": "divide", "values": scales, "axis": "C"},
    )
    return Normalizer(mode=mode, source="measured", axes=axes, ops=ops)


_NOISE_SHARE = 1e-6
"""Of the channels' typical standard deviation: what float32 arithmetic leaves of a zero."""


def rounding_noise(variance: Figures, largest: Figures, *, dtype: str) -> "np.ndarray[Any, Any]":
    """Return which channels hold a constant up to rounding, bool (C).

    A standard deviation below half a step of the storage dtype at the channel's largest value is
    rounding to storage; one a million times below the channels' root mean square is what
    arithmetic leaves of a zero. Dividing by either would blow noise up to the size of latents.

    Args:
        variance: Per channel.
        largest: Magnitude per channel.
        dtype: Of storage.
    """
    std = np.sqrt(variance)
    step = torch.finfo(getattr(torch, dtype)).eps * np.exp2(
        np.floor(np.log2(np.maximum(largest, np.finfo(np.float64).tiny)))
    )
    typical = np.sqrt(variance.mean())
    found: np.ndarray[Any, Any] = (std <= 0.5 * step) | (std <= _NOISE_SHARE * typical)
    return found


def _checked_ops(given: Any) -> Ops:
    """Return operations a user gave, as plain values; those that lose latents are refused."""
    is_list = isinstance(given, Sequence) and all(isinstance(op, Mapping) for op in given)
    if not is_list:
        raise ConfigError(
            f"normalize must be True, False, a mode or a list of operations, got {given!r}; write "
            f'for example [{{"op": "divide", "values": [0.18215]}}]'
        )
    for op in given:
        _check_op(op)
    return tuple(_plain(op) for op in given)


def _check_op(op: Mapping[str, Any]) -> None:
    kind = op.get("op")
    if kind not in _ARGUMENTS:
        raise ConfigError(
            f"op must be {', '.join(_ARGUMENTS)}, got {kind!r}; give the operations yourself"
        )
    name = _ARGUMENTS[kind]
    value = op.get(name)
    if name == "values":
        numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
        is_right = bool(numbers) and all(
            isinstance(one, int | float) and math.isfinite(one) for one in numbers
        )
        # What cannot be undone cannot be decoded.
        is_right &= kind not in ("multiply", "divide") or all(numbers)
        rule = "finite numbers, not 0 where they multiply or divide"
    elif name == "size":
        is_right, rule = isinstance(value, int) and value > 0, "a positive whole number"
    else:
        is_right, rule = isinstance(value, str), "letters of the latent's dimensions"
    if not is_right:
        raise ConfigError(f"{name} of {kind} must be {rule}, got {value!r}; correct them")


def _plain(op: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in op.items() if value not in ("", 0, (), [])}
    return {**kept, **({"values": list(kept["values"])} if "values" in kept else {})}
