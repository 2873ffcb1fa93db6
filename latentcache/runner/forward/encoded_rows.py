"""Rows of a batch: scaled for the encoder, and what it gives, which may differ in shape.

Dimension letters: B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from latentcache.core.errors import EncoderError
from latentcache.core.rejects import Reject
from latentcache.encoders import Encoder, EncoderSpec

Raw = list[dict[str, torch.Tensor]]
"""What an encoder leaves: the fields of every row of its batch, which may differ in shape."""

Rows = torch.Tensor | list[torch.Tensor]
"""One field of several rows: with a leading B axis, or a list where rows differ in shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedBatch:
    """What comes out, on the CPU, for the rows that are neither filler nor rejected.

    Attributes:
        positions: Of the rows in the batch, ascending.
        fields: Per stored field one row per position, in its storage dtype.
        logvar: Posterior log-variance in float32, dropped from ``fields`` or not; or None.
        rejects: By position.
    """

    positions: tuple[int, ...]
    fields: dict[str, Rows]
    logvar: Rows | None
    rejects: dict[int, Reject] = field(default_factory=dict)

    def stacks(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor | None]]:
        """Yield fields and log-variance with a leading B axis: at once, or row by row."""
        if any(isinstance(rows, list) for rows in (*self.fields.values(), self.logvar)):
            for row in range(len(self.positions)):
                logvar = None if self.logvar is None else self.logvar[row][None]
                yield {name: rows[row][None] for name, rows in self.fields.items()}, logvar
        elif self.positions:
            fields = {name: _tensor(rows) for name, rows in self.fields.items()}
            yield fields, None if self.logvar is None else _tensor(self.logvar)


def scaled_pixels(pixels_BTHWC: npt.NDArray[np.uint8], encoder: Encoder) -> torch.Tensor:
    """Return float32 pixels in the encoder's range and layout, on its device.

    Scaling happens in float32 before any cast, so that half precision loses no grey level.
    """
    low, high = encoder.spec.input_range
    tensor = torch.from_numpy(pixels_BTHWC).to(encoder.device)
    if encoder.spec.modality == "video":
        tensor = tensor.permute(0, 4, 1, 2, 3)
    else:
        tensor = tensor[:, 0].permute(0, 3, 1, 2)
    scaled = tensor.to(torch.float32, memory_format=torch.contiguous_format)
    return scaled.mul_((high - low) / 255.0).add_(low)


def non_finite_rows(
    rows: Sequence[Mapping[str, torch.Tensor]], positions: Sequence[int]
) -> list[int]:
    """Return which of ``positions`` hold a NaN or an infinity, ascending."""
    flags, owners = [], []
    for position in positions:
        for values in rows[position].values():
            if values.is_floating_point():
                checked = values.float() if values.element_size() == 1 else values
                flags.append(torch.isfinite(checked).all())
                owners.append(position)
    # Asked for at once: each answer from a GPU waits for all its work.
    finite = torch.stack(flags).tolist() if flags else []
    return sorted({owner for owner, each in zip(owners, finite, strict=True) if not each})


def is_regular(rows: Sequence[Mapping[str, torch.Tensor]]) -> bool:
    """Whether each field has one shape in all rows."""
    return all(values.shape == rows[0][name].shape for row in rows for name, values in row.items())


def checked_rows(spec: EncoderSpec, raw: Sequence[Mapping[str, torch.Tensor]], size: int) -> Raw:
    """Return one dict of all declared fields per row.

    Raises:
        EncoderError: The encoder gives something else.
    """
    names = {field.name for field in spec.fields}
    if len(raw) != size or not all(names <= row.keys() for row in raw):
        got = f"{len(raw)} of {size} rows" if len(raw) != size else f"{sorted(raw[0])}"
        raise EncoderError(
            f"encode must return one dict per row with the fields {', '.join(sorted(names))}, got "
            f"{got} ({spec.name}); return what the spec declares"
        )
    return [dict(row) for row in raw]


def join_stacks(parts: Sequence[torch.Tensor]) -> Any:
    """Return stacks as one, or as a list of rows where there are several; None of none."""
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else [part[0] for part in parts]


def _tensor(rows: Rows) -> torch.Tensor:
    assert isinstance(rows, torch.Tensor)
    return rows


def _some(rows: Rows, kept: Sequence[int]) -> Rows:
    return rows[list(kept)] if isinstance(rows, torch.Tensor) else [rows[row] for row in kept]


def without_rows(batch: EncodedBatch, rows: Sequence[int], reject: Reject) -> EncodedBatch:
    """Return ``batch`` less some rows, rejected."""
    kept = [row for row in range(len(batch.positions)) if row not in set(rows)]
    rejects = dict(batch.rejects)
    rejects.update(dict.fromkeys((batch.positions[row] for row in rows), reject))
    return EncodedBatch(
        positions=tuple(batch.positions[row] for row in kept),
        fields={name: _some(values, kept) for name, values in batch.fields.items()},
        logvar=None if batch.logvar is None else _some(batch.logvar, kept),
        rejects=rejects,
    )
