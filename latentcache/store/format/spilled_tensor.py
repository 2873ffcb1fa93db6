"""A tensor too long to hold: written in slabs to a local file, read back in order for a tar."""

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from latentcache.storage.storage_errors import write_failure
from latentcache.store.format.tensors import ITEM_BYTES, TensorBytes

_BLOCK_BYTES = 2**20


class SpilledTensor:
    """One tensor whose slabs along an axis come one after the other.

    The file has no name, so nothing of it is left behind whatever ends the process.

    Attributes:
        dtype: A key of ``ITEM_BYTES``.
        shape: Of the whole tensor.
    """

    def __init__(self, folder: Path, dtype: str, shape: tuple[int, ...], *, axis: int) -> None:
        """Make an empty file.

        Args:
            folder: On the disk that has room for it.
            dtype: As in a tensor file.
            shape: Of the whole tensor.
            axis: Along which the slabs follow each other.
        """
        self.dtype, self.shape, self._axis = dtype, shape, axis
        self._folder, self._length = str(folder), shape[axis]
        self._num_rows = math.prod(shape[:axis])
        self._step_bytes = math.prod(shape[axis + 1 :]) * ITEM_BYTES[dtype]
        self._num_written = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  lives as long as this
        except OSError as error:
            raise write_failure(error, where=self._folder) from error

    @property
    def num_bytes(self) -> int:
        """Size of the whole tensor."""
        return self._num_rows * self._length * self._step_bytes

    @property
    def is_whole(self) -> bool:
        """Whether the last slab has been written."""
        return self._num_written == self._length

    def append(self, slab: TensorBytes) -> None:
        """Write the next slab: of the tensor's dtype, and its shape but for the axis.

        Raises:
            ValueError: It does not fit.
            StorageError: The disk is full.
        """
        axis = self._axis
        expected = (*self.shape[:axis], slab.shape[axis], *self.shape[axis + 1 :])
        stop = self._num_written + slab.shape[axis]
        if slab.dtype != self.dtype or slab.shape != expected or stop > self._length:
            raise ValueError(
                f"slab must be {self.dtype} {expected} within {self.shape}, got {slab.dtype} "
                f"{slab.shape} after {self._num_written}; the encoder changes its shape"
            )
        data = memoryview(slab.data)
        length = slab.shape[axis] * self._step_bytes
        try:
            for row in range(self._num_rows):
                start = (row * self._length + self._num_written) * self._step_bytes
                _write_at(self._file.fileno(), data[row * length : (row + 1) * length], start)
        except OSError as error:
            raise write_failure(error, where=self._folder) from error
        self._num_written = stop

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes in order, a MiB at a time."""
        assert self.is_whole, "a tensor is read when its last slab is there"
        for start in range(0, self.num_bytes, _BLOCK_BYTES):
            yield os.pread(self._file.fileno(), _BLOCK_BYTES, start)

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()


def _write_at(descriptor: int, data: memoryview, start: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, start)
        data, start = data[written:], start + written
