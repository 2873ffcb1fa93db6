"""MLPerf Training's FLUX.1 set: folders as ``datasets.Dataset.save_to_disk`` writes them.

Each holds ``state.json`` and ``data-NNNNN-of-NNNNN.arrow``, Arrow streams of rows with ``mean`` and
``logvar`` (16, 32, 32), ``t5_encodings``, ``clip_encodings``, and ``timestep`` in the part for
validation. Sources: mlcommons/training ``text_to_image/README.md``; the loaders of its submissions,
which read the same columns. Primus' ``diffusion-encoded`` sets of that form are read too.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.exchange.layouts.foreign import (
    SAMPLES_PER_RUN,
    ForeignSample,
    Found,
    Reading,
    Unreadable,
    broken,
    checked,
)
from latentcache.storage import Folder

_MOMENTS = ("mean", "logvar")
_ENCODED = {"t5_encodings": "T5 embeddings", "clip_encodings": "CLIP embeddings"}
_EMPTY = ("t5_empty.npy", "clip_empty.npy", "empty_encodings.json")


def read_mlperf_flux(reading: Reading) -> Iterator[Found]:
    """Yield the rows of every Arrow file; mean and log-variance one after the other."""
    for name in reading.names(*_EMPTY):
        reading.left_out[f"embeddings of the empty text ({name.rpartition('/')[2]})"] += 1
    for name in reading.names(".arrow"):
        try:
            table = _table(reading.root, name)
            lacking = [each for each in _MOMENTS if each not in table.column_names]
            if lacking:
                raise ValueError(
                    f"it has {', '.join(table.column_names[:6])} and no {' and no '.join(lacking)}"
                )
            shape, dtype = _form(table["mean"], name)
        except (MediaError, ValueError) as error:
            reason = str(error) if isinstance(error, MediaError) else str(broken(name, error))
            yield Unreadable(name, reason)
            continue
        for column, word in _ENCODED.items():
            if column in table.column_names:
                reading.left_out[word] += table.num_rows
        stem = name.removesuffix(".arrow")
        keys = table["__key__"].to_pylist() if "__key__" in table.column_names else None
        for number in range(table.num_rows):
            yield ForeignSample(
                name=f"{stem}/{keys[number] if keys else f'{number:06d}'}",
                shape=(2 * shape[0], *shape[1:]),
                dtype=dtype,
                load=partial(_moments, reading.root, name, number),
                is_picture_known=False,
                run=f"{name}/{number // SAMPLES_PER_RUN}",
            )


def _moments(root: Folder, name: str, number: int) -> torch.Tensor:
    """Return mean and log-variance of one row, [2C, H, W]."""
    table = _table(root, name)
    parts = [_tensor(table[each], number, f"{name} row {number}") for each in _MOMENTS]
    if parts[0].shape != parts[1].shape:
        raise MediaError(
            RejectCode.CORRUPT.word,
            f"{name} row {number} has a mean of shape {tuple(parts[0].shape)} and a logvar of "
            f"{tuple(parts[1].shape)}",
        )
    return checked(torch.cat(parts), where=f"{name} row {number}")


def _form(column: Any, name: str) -> tuple[tuple[int, ...], torch.dtype]:
    """Return shape and dtype of a column of nested lists, by its first row."""
    if not len(column):
        raise ValueError("it has no rows")
    first = _tensor(column, 0, f"{name} row 0")
    if first.ndim != 3:
        raise ValueError(f"its mean is of shape {tuple(first.shape)}, not (C, H, W)")
    return tuple(first.shape), first.dtype


def _tensor(column: Any, number: int, where: str) -> torch.Tensor:
    """Return nested lists of one length at each level as a tensor."""
    value = column.slice(number, 1).combine_chunks()
    if isinstance(value, pa.ChunkedArray):
        value = value.chunk(0)
    if isinstance(value, pa.ExtensionArray):  # of datasets, where that is imported
        value = value.storage
    shape: list[int] = []
    while isinstance(value, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        num, inside = len(value), value.flatten()
        if value.null_count or not num or len(inside) % num:
            raise MediaError(RejectCode.CORRUPT.word, f"{where} is no whole array")
        shape.append(len(inside) // num)
        value = inside
    if value.null_count or not pa.types.is_floating(value.type):
        raise MediaError(RejectCode.CORRUPT.word, f"{where} holds {value.type}, not floats alone")
    array = np.ascontiguousarray(value.to_numpy(zero_copy_only=False))
    return torch.from_numpy(array.copy()).reshape(shape)


_OPENS_ONE = Lock()
"""Rows are loaded side by side; the first of a file opens it for all of them."""


def _table(root: Folder, name: str) -> Any:
    with _OPENS_ONE:
        return _open_table(root, name)


@lru_cache(maxsize=8)
def _open_table(root: Folder, name: str) -> Any:
    """Return the rows of an Arrow stream or file, mapped where it is local."""
    path = root.local_path(name)
    try:
        source = pa.memory_map(str(path)) if path is not None else pa.BufferReader(root.read(name))
        try:
            return pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_file(source).read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise broken(name, error) from None
