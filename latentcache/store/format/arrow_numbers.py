"""Numbers between Arrow and numpy without pandas.

pyarrow's own ``to_numpy``, ``array`` and ``scalar`` import pandas wherever it is installed,
which takes a second and 30 MB: more than a loader needs to open 100 million samples.
"""

from typing import Any

import numpy as np
import pyarrow as pa

Array = np.ndarray[Any, Any]


def numbers(values: Any) -> Array:
    """Return a numeric column or array as numpy's, without a copy if it has one chunk.

    Args:
        values: A ``pyarrow`` array or chunked array; nulls become 0.
    """
    if isinstance(values, pa.ChunkedArray):
        if values.num_chunks == 1:
            return numbers(values.chunk(0))
        empty = np.zeros(0, _dtype(values.type))
        return np.concatenate([empty, *map(numbers, values.chunks)])
    mask, data = values.buffers()
    stop = values.offset + len(values)
    if data is None:
        return np.zeros(len(values), _dtype(values.type))
    found = np.frombuffer(data, _dtype(values.type), count=stop)[values.offset :]
    if not values.null_count:
        return found
    present = np.unpackbits(np.frombuffer(mask, np.uint8), count=stop, bitorder="little")
    return np.where(present[values.offset :], found, found.dtype.type(0))


def indices(numbers: Array) -> Any:
    """Return int64 numbers as a ``pyarrow`` array, without a copy."""
    whole = np.ascontiguousarray(numbers, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(whole), [None, pa.py_buffer(whole.data)])


def _dtype(kind: Any) -> Any:
    return np.dtype(kind.to_pandas_dtype())
