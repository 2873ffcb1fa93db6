"""From the encoder's space to the model's, and back: a list of operations, carried by value.

Dimension letters: B batch, C channels, T latent frames, H height, W width, N tokens.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.tokens import pack, patchify, unpack, unpatchify
from latentcache.stats import ColumnStatistics, merge_arrays
from latentcache.store import ColumnView

NormalizeMode = Literal["auto", "published", "measured", "measured-global", "none", "given"]

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

_Arithmetic = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_POINTWISE: dict[str, tuple[_Arithmetic, _Arithmetic]] = {
    "subtract": (torch.Tensor.sub_, torch.Tensor.add_),
    "divide": (torch.Tensor.div_, torch.Tensor.mul_),
    "multiply": (torch.Tensor.mul_, torch.Tensor.div_),
    "add": (torch.Tensor.add_, torch.Tensor.sub_),
}
"""What is done to each value, and what undoes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalise:
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
    def from_json(cls, values: Mapping[str, Any]) -> "Normalise":
        """Return what ``to_json`` wrote."""
        return cls(
            mode=values["mode"],
            source=values["source"],
            axes=values["axes"],
            ops=tuple(values["ops"]),
        )

    @property
    def is_pointwise(self) -> bool:
        """Whether every operation works value by value, so that it can be done in place."""
        return all(op["op"] in _POINTWISE for op in self.ops)

    def apply(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents (B, *axes) in the model's space; float32 if there is any operation."""
        # A copy of our own, so that arithmetic can be done in place.
        return self.apply_to(latents.to(torch.float32, copy=True)) if self.ops else latents

    def apply_to(self, latents: torch.Tensor) -> torch.Tensor:
        """Return what ``apply`` does; float32 latents that are written over."""
        axes = self.axes
        for op in self.ops:
            latents = _apply(latents, op, axes)
            axes = _axes_after(op, axes)
        return latents

    def invert(self, latents: torch.Tensor, *, shape: Sequence[int] | None = None) -> torch.Tensor:
        """Return latents in the encoder's own space, to decode them.

        Args:
            latents: (B, ...) as ``apply`` returns them.
            shape: Of one stored latent, as ``axes`` names its dimensions; needed where
                tokens were packed, whose number does not tell height from width.

        Raises:
            ConfigError: Tokens were packed, and no shape that fits them is given.
        """
        before = self._shapes_before(latents, shape)
        result = latents.to(torch.float32, copy=True) if self.ops else latents
        for op, (axes, sizes) in zip(reversed(self.ops), reversed(before), strict=True):
            result = _invert(result, op, axes, sizes)
        return result

    def _shapes_before(
        self, latents: torch.Tensor, shape: Sequence[int] | None
    ) -> list[tuple[str, tuple[int, ...]]]:
        """Return the axes, and their sizes if those are known, before each operation."""
        is_packed = any(op["op"] == "pack" for op in self.ops)
        if is_packed and (shape is None or len(shape) != len(self.axes)):
            raise ConfigError(
                f"shape must be that of one stored latent ({self.axes}) to unpack tokens, got "
                f"{shape}; pass for example normalise.invert(latents, shape=(16, 64, 64))"
            )
        axes, sizes, before = self.axes, tuple(shape or ()), []
        for op in self.ops:
            before.append((axes, sizes))
            if is_packed:
                sizes = _sizes_after(op, axes, sizes)
            axes = _axes_after(op, axes)
        if is_packed and tuple(latents.shape[1:]) != sizes:
            raise ConfigError(
                f"latents of stored shape {shape} must be {sizes} each to be brought back, got "
                f"{tuple(latents.shape[1:])}; pass the shape they were stored in"
            )
        return before


def resolve_normalise(
    views: Sequence[ColumnView],
    mode: NormalizeMode | Sequence[Mapping[str, Any]],
    *,
    is_sampled: bool,
) -> Normalise:
    """Return a column's normalisation, its numbers resolved.

    Args:
        views: The column in each source, of one encoding; measured figures are those of all.
        mode: ``auto`` takes published figures where there are any and else measured ones;
            ``measured-global`` has a mean per channel and one scale for all; or operations.
        is_sampled: Whether the posterior is sampled, which widens the measured variance.

    Raises:
        ConfigError: There are no such figures.
    """
    view = views[0]
    axes = primary_field(view).axes
    if not isinstance(mode, str):
        given = _checked_ops(mode)
        return Normalise(mode="given", source="given", axes=axes, ops=given)
    published = view.record.normalizer
    if mode == "none":
        return Normalise(mode=mode, source="none", axes=axes, ops=())
    if mode == "published" or (mode == "auto" and published is not None):
        if published is None:
            raise ConfigError(
                f"normalize must not be published for {view.name}, whose encoder publishes "
                f"nothing; use measured"
            )
        ops = tuple(_plain(op) for op in published["ops"])
        source = f"published ({published.get('source', 'unknown')})"
        return Normalise(mode=mode, source=source, axes=axes, ops=ops)
    if mode not in ("auto", "measured", "measured-global"):
        raise ConfigError(
            f"normalize must be auto, published, measured, measured-global, none or operations, "
            f"got {mode!r}"
        )
    return _measured(views, mode, axes, is_sampled=is_sampled)


def primary_field(view: ColumnView) -> Any:
    """Return the field that a model trains on: ``mean``, ``z`` or ``sample``, else the first."""
    fields = {field.name: field for field in view.record.fields}
    for name in ("mean", "z", "sample"):
        if name in fields:
            return fields[name]
    return view.record.fields[0]


def _measured(
    views: Sequence[ColumnView], mode: NormalizeMode, axes: str, *, is_sampled: bool
) -> Normalise:
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
        scales = [math.sqrt(float(variance.mean()))]
    else:
        scales = [math.sqrt(float(value)) for value in variance]
    if not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise ConfigError(
            f"normalize must not be {mode} for {view.name}, a channel of which is constant; "
            f"use measured-global or operations"
        )
    means = [float(value) for value in pooled.moments.mean]
    ops = (
        {"op": "subtract", "values": means, "axis": "C"},
        {"op": "divide", "values": scales, "axis": "C"},
    )
    return Normalise(mode=mode, source="measured", axes=axes, ops=ops)


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


def _axes_after(op: Mapping[str, Any], axes: str) -> str:
    if op["op"] == "pack":
        return "NC"
    return str(op["axes"]) if op["op"] == "permute" else axes


def _sizes_after(op: Mapping[str, Any], axes: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    if op["op"] == "permute":
        return tuple(sizes[axes.index(letter)] for letter in op["axes"])
    if op["op"] not in ("patchify", "pack"):
        return sizes
    edge = int(op.get("size", 1))
    channels, *frames, height, width = sizes
    grid = (*frames, height // edge, width // edge)
    channels *= edge * edge
    return (math.prod(grid), channels) if op["op"] == "pack" else (channels, *grid)


def _apply(latents: torch.Tensor, op: Mapping[str, Any], axes: str) -> torch.Tensor:
    kind = op["op"]
    if kind in _POINTWISE:
        return _POINTWISE[kind][0](latents, _spread(latents, op, axes))
    match kind:
        case "patchify":
            return patchify(latents, int(op["size"]))
        case "pack":
            return pack(latents, axes, int(op.get("size", 1)))
        case "permute":
            if sorted(op["axes"]) != sorted(axes):
                raise ConfigError(
                    f"axes of permute must be those of the latent, {axes}, got {op['axes']}; "
                    f"name each once"
                )
            return latents.permute(0, *(1 + axes.index(letter) for letter in op["axes"]))
    raise ConfigError(
        f"op must be {', '.join(_ARGUMENTS)}, got {kind!r}; give the operations yourself"
    )


def _invert(
    latents: torch.Tensor, op: Mapping[str, Any], axes: str, sizes: Sequence[int]
) -> torch.Tensor:
    kind = op["op"]
    if kind in _POINTWISE:
        return _POINTWISE[kind][1](latents, _spread(latents, op, axes))
    match kind:
        case "patchify":
            return unpatchify(latents, int(op["size"]))
        case "pack":
            return unpack(latents, sizes, int(op.get("size", 1)))
    return latents.permute(0, *(1 + str(op["axes"]).index(letter) for letter in axes))


def _spread(latents: torch.Tensor, op: Mapping[str, Any], axes: str) -> torch.Tensor:
    named, count = str(op.get("axis", "C")), int(op.get("size", 0))
    sizes = tuple(latents.shape[1 + at] if letter in named else 1 for at, letter in enumerate(axes))
    values = tuple(op["values"])
    found = _values(values, count if named == "CT" else 0, sizes, latents.device)
    if found is None:
        raise ConfigError(
            f"values of {op['op']} must be {math.prod(sizes)} for axis {named}, got "
            f"{len(values)} (latent {tuple(latents.shape[1:])}); use this encoder's figures"
        )
    return found


@lru_cache(maxsize=256)
def _values(
    values: tuple[float, ...], num_frames: int, sizes: tuple[int, ...], device: torch.device
) -> torch.Tensor | None:
    """Return values shaped to be spread over latents, made once; None if they do not fit.

    Args:
        values: Of the operation.
        num_frames: Of a table of channels x frames of which a clip takes the first; or 0.
        sizes: Of the axes they belong to; 1 for the others.
        device: Of the latents.
    """
    found = torch.tensor(values, dtype=torch.float32, device=device)
    if found.numel() == 1:
        return found
    if num_frames and found.numel() % num_frames == 0:
        found = found.reshape(-1, num_frames)[:, : math.prod(sizes) * num_frames // found.numel()]
    return found.reshape(sizes) if found.numel() == math.prod(sizes) else None
