"""Texts straight from an Arrow file's bytes: a batch of captions costs some ten microseconds.

An Arrow string array is a list of offsets and the text they cut. Both lie in the mapped file
as they are, so a text is a slice of it. Taking values and making Python strings of them the
usual way costs several times a batch of latents.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import StoreError

Array = np.ndarray[Any, Any]

_UNKNOWN, _NONE = -1, -2


class TextFile:
    """The texts of an open Arrow file whose record batches have one length."""

    def __init__(self, reader: Any, contents: Any, rows_per_batch: int) -> None:
        """Read nothing yet.

        Args:
            reader: A ``pyarrow.ipc.RecordBatchFileReader`` of one column, of strings.
            contents: The whole file as a ``pyarrow.Buffer``, that the reader reads from.
            rows_per_batch: Rows of every record batch but the last.
        """
        self._reader, self._rows_per_batch = reader, rows_per_batch
        self._start: int = contents.address
        self._bytes = memoryview(contents)
        self._uint8 = np.frombuffer(contents, np.uint8)
        self._int32 = self._uint8[: len(self._uint8) // 4 * 4].view(np.int32)
        # Of each batch, where its text begins and, in numbers of 32 bits, where its offsets
        # would if it held all rows before it as well; and the byte of its validity, if any.
        count = reader.num_record_batches
        self._text = np.full(count, _UNKNOWN, np.int64)
        self._offsets, self._validity = np.zeros((2, count), np.int64)
        self._may_lack = False

    def take(self, rows: Array) -> list[str | None]:
        """Return the texts at some rows of the file; None where there is none."""
        number = rows // self._rows_per_batch
        first = self._text[number]
        if (first == _UNKNOWN).any():
            for one in np.unique(number[first == _UNKNOWN]).tolist():
                self._find(one)
            first = self._text[number]
        at = self._offsets[number] + rows
        starts, stops = first + self._int32[at], first + self._int32[at + 1]
        text = self._bytes
        pairs = zip(starts.tolist(), stops.tolist(), strict=True)
        found: list[str | None] = [*_decoded([text[start:stop] for start, stop in pairs])]
        if self._may_lack:
            for index in np.flatnonzero(self._is_lacking(number, rows)).tolist():
                found[index] = None
        return found

    def _is_lacking(self, number: Array, rows: Array) -> Array:
        validity, inside = self._validity[number], rows % self._rows_per_batch
        bits = self._uint8[np.maximum(validity, 0) + inside // 8] >> (inside % 8)
        lacking: Array = (validity != _NONE) & (bits & 1 == 0)
        return lacking

    def _find(self, number: int) -> None:
        column = self._reader.get_batch(number).column(0)
        assert column.offset == 0, "record batches of a file start at their buffers"
        validity, offsets, text = map(self._start_of, column.buffers())
        self._validity[number] = validity
        self._may_lack |= validity != _NONE
        self._offsets[number] = offsets // 4 - number * self._rows_per_batch
        # A batch without any text has no buffer for it.
        self._text[number] = max(text, 0)

    def _start_of(self, buffer: Any) -> int:
        if buffer is None or not buffer.size:
            return _NONE
        start = int(buffer.address) - self._start
        if not 0 <= start <= len(self._uint8) - buffer.size:
            raise StoreError(
                "annotation must lie in its file as it is, got compressed values; write it again"
            )
        return start


def _decoded(pieces: Sequence[memoryview]) -> list[str]:
    """Return texts: joined, decoded at once and split, half the time of one by one."""
    found = str(b"\0".join(pieces), "utf-8").split("\0")
    if len(found) != len(pieces):  # one holds the separator, or there is none
        return [str(piece, "utf-8") for piece in pieces]
    return found


def opened_texts(reader: Any, contents: Any, rows_per_batch: int) -> TextFile | None:
    """Return the texts of a file, or None if they do not lie there as they are."""
    is_text = reader.schema.field(0).type == pa.string()
    if not is_text or not reader.num_record_batches:
        return None
    texts = TextFile(reader, contents, rows_per_batch)
    try:
        texts.take(np.zeros(min(1, reader.get_batch(0).num_rows), np.int64))
    except StoreError:
        return None
    return texts
