"""Texts straight from an Arrow file's bytes: a batch of captions costs some ten microseconds.

An Arrow string array is a list of offsets and the text they cut. Both lie in the mapped file
as they are, so a text is a slice of it. Taking values and making Python strings of them the
usual way costs several times a batch of latents.
"""

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
        # Where in the file each batch's validity, offsets and text begin.
        self._places = np.full((reader.num_record_batches, 3), _UNKNOWN, np.int64)

    def take(self, rows: Array) -> list[str | None]:
        """Return the texts at some rows of the file; None where there is none."""
        number, inside = np.divmod(rows, self._rows_per_batch)
        places = self._places[number]
        if (places[:, 1] == _UNKNOWN).any():
            for one in np.unique(number[places[:, 1] == _UNKNOWN]).tolist():
                self._places[one] = self._find(one)
            places = self._places[number]
        at = places[:, 1] // 4 + inside
        starts, stops = (places[:, 2] + self._int32[at + step] for step in (0, 1))
        text = self._bytes
        found: list[str | None] = [
            str(text[start:stop], "utf-8")
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        ]
        may_lack = np.flatnonzero(places[:, 0] != _NONE)
        if len(may_lack):
            bits = self._uint8[places[may_lack, 0] + inside[may_lack] // 8]
            for index in may_lack[(bits >> (inside[may_lack] % 8)) & 1 == 0].tolist():
                found[index] = None
        return found

    def _find(self, number: int) -> tuple[int, int, int]:
        column = self._reader.get_batch(number).column(0)
        assert column.offset == 0, "record batches of a file start at their buffers"
        validity, offsets, text = map(self._start_of, column.buffers())
        # A batch without any text has no buffer for it.
        return validity, offsets, max(text, 0)

    def _start_of(self, buffer: Any) -> int:
        if buffer is None or not buffer.size:
            return _NONE
        start = int(buffer.address) - self._start
        if not 0 <= start <= len(self._uint8) - buffer.size:
            raise StoreError(
                "annotation must lie in its file as it is, got compressed values; write it again"
            )
        return start


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
