"""Some of many rows, at 1.5 bits a row: the k-th of them, and whether one is among them.

A list of 99 of 100 million rows would take 800 MB; this takes 19. Rows lie in words of 64,
and the rows before each word are counted once, so both questions are a search or a division.
"""

from hashlib import blake2b
from typing import Any

import numpy as np

from latentcache.loader.order.feistel import Indices

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Octets = np.ndarray[Any, np.dtype[np.uint8]]

_WORD_ROWS, _WORD_BYTES = 64, 8
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
_NUM_SET = _BITS.sum(1).astype(np.uint8)
# [256, 8]: place of the j-th set bit of each byte.
_PLACE_OF = np.argsort(1 - _BITS, axis=1, kind="stable").astype(np.uint8)


class RowBitmap:
    """A set of rows below ``num_rows``.

    Attributes:
        num_rows: That may be in it.
        num_set: That are.
    """

    def __init__(self, packed: Octets, num_rows: int) -> None:
        """Count the rows.

        Args:
            packed: As ``np.packbits`` packs flags, first row in the highest bit.
            num_rows: Flags that were packed.
        """
        self.num_rows = num_rows
        num_words = -(-num_rows // _WORD_ROWS)
        padded = np.zeros(num_words * _WORD_BYTES, np.uint8)
        padded[: len(packed)] = packed
        self._bytes = padded.reshape(-1, _WORD_BYTES)
        counts = _NUM_SET[self._bytes].sum(1, dtype=np.uint32 if num_rows < 2**32 else np.uint64)
        before = np.cumsum(counts, dtype=counts.dtype)
        self.num_set = int(before[-1]) if num_words else 0
        self._before = before - counts

    @property
    def packed(self) -> Octets:
        """What it was made of."""
        return self._bytes.reshape(-1)[: -(-self.num_rows // 8)]

    def digest(self) -> str:
        """Return 32 hex digits that tell this set from others."""
        return blake2b(self.packed.tobytes(), digest_size=16).hexdigest()

    def rows(self) -> Indices:
        """Return all rows of the set, ascending; 8 bytes each."""
        return np.flatnonzero(np.unpackbits(self._bytes.reshape(-1), count=self.num_rows))

    def select(self, places: Indices) -> Indices:
        """Return the rows at some places of ``rows()``, without making it."""
        # Of another type, the whole of ``_before`` would be converted for the search.
        words = np.searchsorted(self._before, places.astype(self._before.dtype), side="right") - 1
        inside = (places - self._before[words]).astype(np.int64)
        octets = self._bytes[words]
        ends = np.cumsum(_NUM_SET[octets], axis=1, dtype=np.int64)
        at = (ends <= inside[:, None]).sum(1)
        line = np.arange(len(places))
        octet = octets[line, at]
        inside -= ends[line, at] - _NUM_SET[octet]
        rows: Indices = words * _WORD_ROWS + at * 8 + _PLACE_OF[octet, inside]
        return rows

    def contains(self, rows: Indices) -> Flags:
        """Return which rows are in the set."""
        octets = self._bytes.reshape(-1)[rows >> 3]
        found: Flags = (octets >> (7 - (rows & 7)).astype(np.uint8)) & 1 == 1
        return found

    def num_before(self, rows: Indices) -> Indices:
        """Return how many rows of the set come before each row, which may be ``num_rows``."""
        words = np.minimum(rows // _WORD_ROWS, len(self._bytes) - 1)
        bits = np.unpackbits(self._bytes[words], axis=1)
        is_before = np.arange(_WORD_ROWS) < (rows - words * _WORD_ROWS)[:, None]
        counts: Indices = self._before[words].astype(np.int64) + (bits * is_before).sum(1)
        return counts


class BitmapWriter:
    """Packs flags that come piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[Octets] = []
        self._rest: Flags = np.zeros(0, bool)
        self._num_rows = 0

    def add(self, flags: Flags) -> None:
        """Append flags."""
        if not len(flags):
            return
        self._num_rows += len(flags)
        flags = np.concatenate([self._rest, flags])
        whole = len(flags) // 8 * 8
        self._pieces.append(np.packbits(flags[:whole]))
        self._rest = flags[whole:]

    def finish(self) -> RowBitmap:
        """Return what was added."""
        packed = np.concatenate([*self._pieces, np.packbits(self._rest)])
        return RowBitmap(packed, self._num_rows)
