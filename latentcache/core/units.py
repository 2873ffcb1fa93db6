"""Units: what one worker does and commits; a run of rows of one plan shard, one tar."""

import re
from dataclasses import dataclass

from latentcache.core.media import Bucket

_UNIT_PATTERN = re.compile(r"(\d{8})-(\d{4})")


@dataclass(frozen=True, slots=True, order=True)
class UnitId:
    """(shard, part): rows ``[part * R, (part + 1) * R)`` of the shard."""

    shard: int
    part: int

    def __str__(self) -> str:
        return f"{self.shard:08d}-{self.part:04d}"

    @classmethod
    def parse(cls, text: str) -> "UnitId":
        """Return the unit that ``str`` wrote.

        Raises:
            ValueError: ``text`` is not ``SSSSSSSS-PPPP``.
        """
        match = _UNIT_PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"unit must be SSSSSSSS-PPPP, got {text!r}")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRange:
    """A unit with the rows it covers.

    Attributes:
        unit: Its name.
        generation: The plan generation whose shard this is.
        bucket: Pixel shape of every row.
        first_row: Row number in the shard of the unit's first row.
        num_rows: Planned rows in the unit, at least 1.
        is_long: It is one clip with a shard of its own; see ``BucketRun.is_long``.
    """

    unit: UnitId
    generation: int
    bucket: Bucket
    first_row: int
    num_rows: int
    is_long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRun:
    """The consecutive shards that one generation gives one bucket.

    All shards hold ``rows_per_shard`` rows except the last. So row ``i`` of the run is
    row ``i % rows_per_shard`` of shard ``first_shard + i // rows_per_shard``.
    """

    bucket: Bucket
    first_shard: int
    num_rows: int
    rows_per_shard: int

    @property
    def num_shards(self) -> int:
        """Shards in the run."""
        return -(-self.num_rows // self.rows_per_shard)

    @property
    def is_long(self) -> bool:
        """Whether each row is a clip with a shard of its own, which is encoded alone."""
        return self.rows_per_shard == 1 and self.bucket.num_frames > 1

    def rows_in_shard(self, shard: int) -> int:
        """Return how many rows ``shard`` holds.

        Raises:
            ValueError: ``shard`` is not one of the run's.
        """
        index = shard - self.first_shard
        if not 0 <= index < self.num_shards:
            last = self.first_shard + self.num_shards - 1
            raise ValueError(f"shard must be {self.first_shard} to {last}, got {shard}")
        return min(self.rows_per_shard, self.num_rows - index * self.rows_per_shard)

    def units(self, *, generation: int, rows_per_unit: int) -> list[UnitRange]:
        """Return the run's units in (shard, part) order.

        Args:
            generation: Number of the plan generation.
            rows_per_unit: R, the rows of a full unit; a power of two.
        """
        units = []
        for shard in range(self.first_shard, self.first_shard + self.num_shards):
            num_rows = self.rows_in_shard(shard)
            for part, first_row in enumerate(range(0, num_rows, rows_per_unit)):
                units.append(
                    UnitRange(
                        unit=UnitId(shard, part),
                        generation=generation,
                        bucket=self.bucket,
                        first_row=first_row,
                        num_rows=min(rows_per_unit, num_rows - first_row),
                        is_long=self.is_long,
                    )
                )
        return units
