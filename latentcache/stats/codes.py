"""Code usage: how often each entry of a codebook is used, exactly."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.moments import Arrays, Counts


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
        # Book by book: any way of packing both into one number would have to bound the codes.
        found = [
            np.unique(indices[:, book], return_counts=True) for book in range(indices.shape[1])
        ]
        return cls(
            num_samples=num_samples,
            book=np.repeat(np.arange(len(found)), [codes.size for codes, _ in found]),
            code=np.concatenate([codes.astype(np.int64) for codes, _ in found]),
            count=np.concatenate([count.astype(np.int64) for _, count in found]),
        )

    @property
    def num_books(self) -> int:
        """Codebooks seen."""
        return int(self.book.max()) + 1 if self.book.size else 0

    def merge(self, other: "CodeUsage") -> "CodeUsage":
        """Return the usage of both, exactly."""
        book = np.concatenate([self.book, other.book])
        code = np.concatenate([self.code, other.code])
        count = np.concatenate([self.count, other.count])
        order = np.lexsort((code, book))
        book, code, count = book[order], code[order], count[order]
        is_new = np.ones(book.size, dtype=bool)
        is_new[1:] = (np.diff(book) != 0) | (code[1:] != code[:-1])
        starts = np.flatnonzero(is_new)
        return CodeUsage(
            num_samples=self.num_samples + other.num_samples,
            book=book[starts],
            code=code[starts],
            count=np.add.reduceat(count, starts) if starts.size else count,
        )

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
