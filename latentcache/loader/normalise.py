"""From the encoder's space to the model's, and back: a list of operations, carried by value.

Dimension letters: B batch, C channels, T latent frames, H height, W width, N tokens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from latentcache.core.errors import ConfigError
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
    "permute": "axes",
}
"""Operations there are, and what each must be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalise:
    """What is done to a column's latents; plain values, so that it can be kept beside weights.

    Attributes:
        mode: How the operations were found.
        source: Where their numbers came from.
        axes: Letters of the stored latent's dimensions.
        ops: ``op`` with ``values`` and ``axis``, ``size`` or ``axes``; in order.
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

    def apply(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents (B, *axes) in the model's space; float32 if there is any operation."""
        if not self.ops:
            return latents
        # A copy of our own, so that arithmetic can be done in place.
        result = latents.to(torch.float32, copy=True)
        axes = self.axes
        for op in self.ops:
            result = _apply(result, op, axes)
            axes = _axes_after(op, axes)
        return result

    def invert(self, latents: torch.Tensor) -> torch.Tensor:
        """Return latents in the encoder's own space, to decode them."""
        before = []
        axes = self.axes
        for op in self.ops:
            before.append(axes)
            axes = _axes_after(op, axes)
        result = latents.to(torch.float32, copy=True) if self.ops else latents
        for op, letters in zip(reversed(self.ops), reversed(before), strict=True):
            result = _invert(result, op, letters)
        return result


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


def _apply(latents: torch.Tensor, op: Mapping[str, Any], axes: str) -> torch.Tensor:
    match op["op"]:
        case "subtract":
            return latents.sub_(_spread(latents, op, axes))
        case "add":
            return latents.add_(_spread(latents, op, axes))
        case "divide":
            return latents.div_(_spread(latents, op, axes))
        case "multiply":
            return latents.mul_(_spread(latents, op, axes))
        case "patchify":
            return _patchify(latents, int(op["size"]))
        case "permute":
            if sorted(op["axes"]) != sorted(axes):
                raise ConfigError(
                    f"axes of permute must be those of the latent, {axes}, got {op['axes']}; "
                    f"name each once"
                )
            return latents.permute(0, *(1 + axes.index(letter) for letter in op["axes"]))
    raise ConfigError(
        f"op must be subtract, divide, multiply, add, patchify or permute, got {op['op']!r}; "
        f"give the operations yourself"
    )


def _invert(latents: torch.Tensor, op: Mapping[str, Any], axes: str) -> torch.Tensor:
    match op["op"]:
        case "subtract":
            return latents.add_(_spread(latents, op, axes))
        case "add":
            return latents.sub_(_spread(latents, op, axes))
        case "divide":
            return latents.mul_(_spread(latents, op, axes))
        case "multiply":
            return latents.div_(_spread(latents, op, axes))
        case "patchify":
            return _unpatchify(latents, int(op["size"]))
    return latents.permute(0, *(1 + str(op["axes"]).index(letter) for letter in axes))


def _patchify(latents: torch.Tensor, size: int) -> torch.Tensor:
    if latents.shape[-2] % size or latents.shape[-1] % size:
        raise ConfigError(
            f"size of patchify must divide the latent's height and width, got {size} for "
            f"{tuple(latents.shape[-2:])}; use another, or leave the bucket out"
        )
    if latents.ndim == 4:
        return torch.nn.functional.pixel_unshuffle(latents, size)
    frames = torch.nn.functional.pixel_unshuffle(latents.transpose(1, 2).flatten(0, 1), size)
    return frames.reshape(latents.shape[0], -1, *frames.shape[1:]).transpose(1, 2)


def _unpatchify(latents: torch.Tensor, size: int) -> torch.Tensor:
    if latents.ndim == 4:
        return torch.nn.functional.pixel_shuffle(latents, size)
    frames = torch.nn.functional.pixel_shuffle(latents.transpose(1, 2).flatten(0, 1), size)
    return frames.reshape(latents.shape[0], -1, *frames.shape[1:]).transpose(1, 2)


def _spread(latents: torch.Tensor, op: Mapping[str, Any], axes: str) -> torch.Tensor:
    values = torch.tensor(op["values"], dtype=torch.float32, device=latents.device)
    if values.numel() == 1:
        return values
    named = str(op.get("axis", "C"))
    sizes = [latents.shape[1 + at] if letter in named else 1 for at, letter in enumerate(axes)]
    if math.prod(sizes) != values.numel():
        raise ConfigError(
            f"values of {op['op']} must be {math.prod(sizes)} for axis {named}, got "
            f"{values.numel()} (latent {tuple(latents.shape[1:])}); use this encoder's figures"
        )
    return values.reshape(sizes)
