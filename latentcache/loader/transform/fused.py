"""A normalization fused to samples of one shape: as few passes over them as there can be.

Operations that work value by value and follow each other become one, ``(x - a) * b``, its
figures computed in float64 and rounded to float32 once. The subtraction and the product are
steps of their own, each rounded correctly: so a value comes out the same to the bit in any
block of a batch, on any device and for any number of threads. A fused multiply-add saves a
tenth of the time and rounds otherwise where a processor lacks it, or at the end of a row.

Dimension letters: B batch, C channels, T latent frames, H height, W width.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.transform.tokens import Arrangement, pack, patchify, permute

POINTWISE = ("subtract", "divide", "multiply", "add")
"""Operations that work value by value."""

Figures = np.ndarray[Any, np.dtype[np.float64]]

_MOST_SCRATCH = 2**18
"""Values that a thread keeps memory for."""

_THREAD = threading.local()


@dataclass(frozen=True, slots=True)
class Affine:
    """``(x - subtract) * multiply``.

    Attributes:
        subtract: float32, spread over a sample's dimensions; None for 0.
        multiply: Likewise; None for 1.
        frames_at: Dimension of the figures that holds latent frames of a table, of which a
            clip takes its own; None where there is no such table.
    """

    subtract: torch.Tensor | None
    multiply: torch.Tensor | None
    frames_at: int | None = None

    def apply_(self, latents: torch.Tensor, first_frames: torch.Tensor | None) -> torch.Tensor:
        """Change float32 latents in place."""
        if self.subtract is not None:
            latents.sub_(self._spread(self.subtract, latents, first_frames))
        if self.multiply is not None:
            latents.mul_(self._spread(self.multiply, latents, first_frames))
        return latents

    def undo_(self, latents: torch.Tensor, first_frames: torch.Tensor | None) -> torch.Tensor:
        """Bring float32 latents back in place."""
        if self.multiply is not None:
            latents.div_(self._spread(self.multiply, latents, first_frames))
        if self.subtract is not None:
            latents.add_(self._spread(self.subtract, latents, first_frames))
        return latents

    def of_channels(self, inside: slice) -> "Affine":
        """Return what is done to some of the channels, the first dimension."""
        subtract, multiply = (
            figures[inside] if figures is not None and len(figures) > 1 else figures
            for figures in (self.subtract, self.multiply)
        )
        return replace(self, subtract=subtract, multiply=multiply)

    def _spread(
        self, figures: torch.Tensor, latents: torch.Tensor, first_frames: torch.Tensor | None
    ) -> torch.Tensor:
        at = self.frames_at
        if at is None or figures.shape[at] == 1:
            return figures
        num_frames = latents.shape[1 + at]
        if first_frames is None:
            return figures.narrow(at, 0, num_frames)
        frames = first_frames[:, None] + torch.arange(num_frames, device=figures.device)
        found = figures.index_select(at, frames.flatten())
        shape = (*figures.shape[:at], *frames.shape, *figures.shape[at + 1 :])
        return found.reshape(shape).movedim(at, 0)


@dataclass(frozen=True, slots=True)
class FusedTransform:
    """What is done to samples of one shape.

    Attributes:
        first: Steps up to the last change of places.
        arrangement: That last change, None if there is none.
        then: What follows it: done where the result lies.
        shape: Of a normalized sample.
    """

    first: tuple[Affine | Arrangement, ...]
    arrangement: Arrangement | None
    then: tuple[Affine, ...]
    shape: tuple[int, ...]

    def write(
        self,
        latents: torch.Tensor,
        out: torch.Tensor,
        first_frames: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Write normalized latents into ``out`` and return it.

        Args:
            latents: As stored, [B, *shape] of any dtype; not written to.
            out: [B, *shape], contiguous; if it is not float32, each value is rounded once more.
            first_frames: The latent frame that each sample begins with, int64 [B], where it is
                a part of a clip; None where all begin with the first.
        """
        if out.dtype != torch.float32:
            return out.copy_(self.write(latents, _float32_like(out), first_frames))
        current, is_ours = latents, False
        for step in self.first:
            if isinstance(step, Arrangement):
                current = step.view(current).reshape(len(current), *step.after)
                continue
            if not is_ours:
                current, is_ours = current.to(torch.float32, copy=True), True
            step.apply_(current, first_frames)
        if self.arrangement is not None:
            current = self.arrangement.view(current)
        out.view(current.shape).copy_(current)
        for affine in self.then:
            affine.apply_(out, first_frames)
        return out

    def invert(
        self, latents: torch.Tensor, first_frames: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return latents as they were stored, float32; arguments as for ``write``."""
        current = latents.to(torch.float32, copy=True)
        arrangement = () if self.arrangement is None else (self.arrangement,)
        for step in reversed((*self.first, *arrangement, *self.then)):
            if isinstance(step, Arrangement):
                current = step.undo(current)
            else:
                step.undo_(current, first_frames)
        return current

    @property
    def is_pointwise(self) -> bool:
        """Whether values stay in their places, so that channels can be done one by one."""
        return self.arrangement is None

    def of_channels(self, inside: slice) -> "FusedTransform":
        """Return what is done to some of the channels, where values stay in their places."""
        assert self.is_pointwise, "channels are mixed"
        shape = (len(range(self.shape[0])[inside]), *self.shape[1:])
        return FusedTransform(
            (), None, tuple(step.of_channels(inside) for step in self.then), shape
        )


def _float32_like(out: torch.Tensor) -> torch.Tensor:
    """Return memory in which ``out`` is computed; small pieces share one of their thread's.

    Fresh memory of this size comes from the kernel, whose page faults cost more than the rounding.
    """
    count = out.numel()
    if out.device.type != "cpu" or count > _MOST_SCRATCH:
        return torch.empty(out.shape, dtype=torch.float32, device=out.device)
    scratch: torch.Tensor | None = getattr(_THREAD, "scratch", None)
    if scratch is None:
        scratch = _THREAD.scratch = torch.empty(_MOST_SCRATCH, dtype=torch.float32)
    return scratch[:count].view(out.shape)


def fuse(
    ops: Sequence[Mapping[str, Any]],
    axes: str,
    shape: Sequence[int],
    device: torch.device | None = None,
) -> FusedTransform:
    """Return what operations do to samples of a shape.

    Args:
        ops: As an encoder publishes them (docs/encoders.md), in order.
        axes: Letters of the stored sample's dimensions.
        shape: Of a stored sample.
        device: Where the latents will be.

    Raises:
        ConfigError: They do not fit that shape.
    """
    steps: list[Affine | Arrangement] = []
    sizes, run = tuple(shape), _Run(len(axes))
    for op in ops:
        if op["op"] in POINTWISE:
            figures, frames_at = _figures(op, axes, sizes)
            if not run.takes(figures):
                steps += run.finished(device)
                run = _Run(len(axes))
            run.add(op["op"], figures, frames_at)
            continue
        arrangement = _arrangement(op, axes, sizes)
        steps += [*run.finished(device), arrangement]
        sizes, axes = arrangement.after, axes_after(op, axes)
        run = _Run(len(axes))
    steps += run.finished(device)
    then: list[Affine] = []
    while steps:
        last = steps.pop()
        if isinstance(last, Arrangement):
            return FusedTransform(tuple(steps), last, tuple(reversed(then)), sizes)
        then.append(last)
    return FusedTransform((), None, tuple(reversed(then)), sizes)


def axes_after(op: Mapping[str, Any], axes: str) -> str:
    """Return the letters of a sample's dimensions after an operation."""
    if op["op"] == "pack":
        return "NC"
    return str(op["axes"]) if op["op"] == "permute" else axes


class _Run:
    """Operations that follow each other, as one: ``(x - a) * b``."""

    def __init__(self, num_axes: int) -> None:
        self._a: Figures = np.zeros((1,) * num_axes)
        self._b: Figures = np.ones((1,) * num_axes)
        self._frames_at: int | None = None

    def takes(self, figures: Figures) -> bool:
        """Whether figures spread over the same dimensions as those before."""
        pairs = zip(figures.shape, np.broadcast_shapes(self._a.shape, self._b.shape), strict=True)
        return all(one in (1, other) or other == 1 for one, other in pairs)

    def add(self, kind: str, figures: Figures, frames_at: int | None) -> None:
        """Follow what is there with one more operation."""
        match kind:
            case "subtract":
                self._a = self._a + figures / self._b
            case "add":
                self._a = self._a - figures / self._b
            case "multiply":
                self._b = self._b * figures
            case "divide":
                self._b = self._b / figures
        self._frames_at = frames_at if self._frames_at is None else self._frames_at

    def finished(self, device: torch.device | None) -> list[Affine]:
        """Return the step, or none where nothing was to be done."""
        subtract, multiply = (
            torch.from_numpy(figures).to(device, torch.float32) if is_needed else None
            for figures, is_needed in (
                (self._a, bool(self._a.any())),
                (self._b, bool((self._b != 1).any())),
            )
        )
        if subtract is None and multiply is None:
            return []
        return [Affine(subtract, multiply, self._frames_at)]


def _figures(
    op: Mapping[str, Any], axes: str, sizes: tuple[int, ...]
) -> tuple[Figures, int | None]:
    """Return an operation's figures spread over a sample, and where a table has its frames."""
    named, count = str(op.get("axis", "C")), int(op.get("size", 0))
    spread = tuple(size if letter in named else 1 for letter, size in zip(axes, sizes, strict=True))
    values = np.asarray(op["values"], np.float64)
    if values.size == 1:
        return values.reshape((1,) * len(axes)), None
    if named == "CT" and count and values.size % count == 0:
        found = _table(values.reshape(-1, count), axes, spread)
        if found is not None:
            return found
    if values.size != math.prod(spread):
        raise ConfigError(
            f"values of {op['op']} must be {math.prod(spread)} for axis {named}, got "
            f"{values.size} (latent {sizes}); use this encoder's figures"
        )
    return values.reshape(spread), None


def _table(table: Figures, axes: str, spread: tuple[int, ...]) -> tuple[Figures, int | None] | None:
    """Return figures per channel and latent frame, of which clips take the first; None if unfit."""
    channels, num_frames = table.shape
    if "C" not in axes or channels != spread[axes.index("C")]:
        return None
    if "T" not in axes:  # an image is a clip of one frame
        return table[:, 0].reshape(spread), None
    at = axes.index("T")
    if spread[at] > num_frames:
        return None
    ordered = table if axes.index("C") < at else table.T
    shape = tuple(num_frames if place == at else size for place, size in enumerate(spread))
    return ordered.reshape(shape), at


def _arrangement(op: Mapping[str, Any], axes: str, sizes: tuple[int, ...]) -> Arrangement:
    match op["op"]:
        case "patchify":
            return patchify(sizes, int(op["size"]), str(op.get("axes") or "CHW"))
        case "pack":
            return pack(sizes, axes, int(op.get("size", 1)))
        case "permute":
            return permute(sizes, axes, str(op["axes"]))
    raise ConfigError(
        f"op must be {', '.join((*POINTWISE, 'patchify', 'pack', 'permute'))}, got {op['op']!r}; "
        f"give the operations yourself"
    )
