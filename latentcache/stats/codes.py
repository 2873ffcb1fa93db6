"""Code usage: how often each entry of a codebook is used, exactly."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.histogram import add_sparse
from latentcache.stats.moments import Arrays, Counts

_BOOK_SHIFT = 40
_CODE_OFFSET = 1 << (_BOOK_SHIFT - 1)
"""A key is ``book << 40 | code + 2^39``: codes of format 1 have 32 bits or far fewer than 39."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeUsage:
    """Counts of the codes in use, for each codebook (the ``Q`` axis, else one).

    Attributes:
        num_samples: Samples seen.
        book: Codebook of each entry, int64 (K).
        code: The code, int64 (K); ascending within a book.
        count: How often it was used, at least 1, int64 (K).
    """

    num_samples: int
    book: Counts
    code: Counts
    count: Counts

    @classmethod
    def from_indices(cls, indices: NDArray[np.generic], *, num_samples: int) -> "CodeUsage":
        """Return the usage of codes (B, Q, ...).

        Raises:
            ValueError: ``indices`` are not integers.
        """
        if not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(f"indices must be integers, got {indices.dtype}; store codes as such")
        books = np.arange(indices.shape[1]).reshape(1, -1, *[1] * (indices.ndim - 2))
        keys = (books << _BOOK_SHIFT) + indices.astype(np.int64) + _CODE_OFFSET
        unique, count = np.unique(keys, return_counts=True)
        return cls._from_keys(unique, count.astype(np.int64), num_samples)

    @classmethod
    def _from_keys(cls, keys: Counts, count: Counts, num_samples: int) -> "CodeUsage":
        code = (keys & ((1 << _BOOK_SHIFT) - 1)) - _CODE_OFFSET
        return cls(num_samples=num_samples, book=keys >> _BOOK_SHIFT, code=code, count=count)

    def _keys(self) -> Counts:
        return (self.book << _BOOK_SHIFT) + self.code + _CODE_OFFSET

    @property
    def num_books(self) -> int:
        """Codebooks seen."""
        return int(self.book.max()) + 1 if self.book.size else 0

    def merge(self, other: "CodeUsage") -> "CodeUsage":
        """Return the usage of both, exactly."""
        keys, count = add_sparse((self._keys(), self.count), (other._keys(), other.count))
        return CodeUsage._from_keys(keys, count, self.num_samples + other.num_samples)

    def entropy_nats(self, book: int) -> float:
        """Return ``-sum p log p`` over the book's codes; its exponential is the perplexity."""
        count = self.count[self.book == book]
        share = count / count.sum()
        return float(-(share * np.log(share)).sum())

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by name."""
        return {
            "num_samples": np.array([self.num_samples], dtype=np.int64),
            "code_book": self.book,
            "code": self.code,
            "code_count": self.count,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "CodeUsage":
        """Return what ``arrays`` wrote."""
        return cls(
            num_samples=int(arrays["num_samples"].astype(np.int64)[0]),
            book=arrays["code_book"].astype(np.int64),
            code=arrays["code"].astype(np.int64),
            count=arrays["code_count"].astype(np.int64),
        )


def is_code_usage(arrays: Mapping[str, object]) -> bool:
    """Whether the named arrays are a ``CodeUsage``'s."""
    return "code_count" in arrays
