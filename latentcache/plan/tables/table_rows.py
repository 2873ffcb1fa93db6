"""One row of a table, whatever its format."""

from dataclasses import dataclass
from typing import Any, Protocol

MAX_LINE_BYTES = 64 * 2**20
"""A longer line of JSONL, or cell of CSV, is refused: bytes belong in Parquet."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row: its number (from 0 in Parquet, from 1 elsewhere) and its fields."""

    position: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A row that cannot be read, or the place where a table ends before its end.

    Attributes:
        position: Of the row; -1 if the table is damaged as a whole.
        reason: Why.
        ends_table: Nothing can be read after it: the table is read in part.
    """

    position: int
    reason: str
    ends_table: bool = False


class ColumnNotes(Protocol):
    """Where values that cannot be kept are counted."""

    def of_column(self, kind: str, column: str, count: int = 1) -> None:
        """Count values of one column."""
