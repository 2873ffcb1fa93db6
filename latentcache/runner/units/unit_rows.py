"""Which rows of a unit are decoded, in which shapes, and which of them were refused before."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from latentcache.core.fingerprint import fingerprint
from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.runner.decode.batch_collector import decode_rows_of
from latentcache.runner.decode.decode_tasks import DecodeRow
from latentcache.runner.messages.unit_orders import UnitOrder


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows of one shape, which share batches with no others.

    Attributes:
        bucket: Of their media, before frames are chosen.
        rows: In ascending order, at least one.
    """

    bucket: Bucket
    rows: Sequence[DecodeRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRows:
    """What a unit is made of.

    Attributes:
        groups: In the order in which they are encoded.
        rejects: Of the rows that are in none, by row.
    """

    groups: tuple[RowGroup, ...]
    rejects: Mapping[int, Reject] = field(default_factory=dict)

    @classmethod
    def planned(cls, order: UnitOrder, table: pa.Table) -> "UnitRows":
        """Return the rows of a unit as they were planned, all of its bucket.

        Args:
            order: Which, and which of its rows are live no more.
            table: Its plan rows, with ``PLAN_COLUMNS``.
        """
        rows = decode_rows_of(table, order.retired)
        assert len(rows) == order.unit.num_rows
        return cls(groups=(RowGroup(order.unit.bucket, rows),))

    def batches(self, sizes: Sequence[int]) -> list["RowBatch"]:
        """Return the batches of all groups, one group after the other.

        Args:
            sizes: Rows of a batch, by group.
        """
        return [
            RowBatch(number, list(group.rows[start : start + size]))
            for number, (group, size) in enumerate(zip(self.groups, sizes, strict=True))
            for start in range(0, len(group.rows), size)
        ]

    @property
    def cut(self) -> str:
        """A digest of which rows are in which group."""
        return fingerprint([[str(g.bucket), [row.row for row in g.rows]] for g in self.groups])

    @property
    def numbers(self) -> list[int]:
        """Rows of all groups, ascending."""
        return sorted(row.row for group in self.groups for row in group.rows)


class RowOrder:
    """Has rows written in ascending order, whatever order they come in."""

    def __init__(self, rows: Sequence[int]) -> None:
        """Wait for rows.

        Args:
            rows: All that will come, ascending.
        """
        self._due = deque(rows)
        self._waiting: dict[int, Callable[[], object]] = {}

    def put(self, row: int, write: Callable[[], object]) -> None:
        """Have a row written once all before it were."""
        self._waiting[row] = write
        while self._due and self._due[0] in self._waiting:
            self._waiting.pop(self._due.popleft())()


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows that go through the encoder together.

    Attributes:
        group: Number of their group.
        rows: Ascending.
    """

    group: int
    rows: list[DecodeRow]
