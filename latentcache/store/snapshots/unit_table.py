"""The units of a column as arrays: what opens in milliseconds however many there are.

``read_units`` makes an object of each unit, 30 us and 2 KiB apiece, which a loader over ten
thousand tars would notice; here a unit becomes one when it is asked for.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.media import Bucket
from latentcache.core.units import UnitId, UnitRange
from latentcache.storage import Folder
from latentcache.store.format.arrow_numbers import numbers
from latentcache.store.format.records import ObjectRef, TableRef, UnitEntry
from latentcache.store.snapshots.snapshot_tables import UNITS_SCHEMA, iter_table

_NUMBERS = ("shard", "part", "first_row", "num_rows", "num_present", "tar_size_bytes")
_UNUSED = ("column", "unit")

Integers = np.ndarray[Any, np.dtype[np.int64]]


class UnitTable:
    """Units in (shard, part) order.

    Attributes:
        shard: Of each unit, like the following.
        part: In the shard.
        first_row: In the shard.
        num_rows: Planned.
        num_present: That have a member.
        tar_size_bytes: 0 where no row is present and there is no tar.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        columns = {name: numbers(table[name]).astype(np.int64) for name in _NUMBERS}
        self.shard, self.part = columns["shard"], columns["part"]
        self.first_row, self.num_rows = columns["first_row"], columns["num_rows"]
        self.num_present = columns["num_present"]
        self.tar_size_bytes = columns["tar_size_bytes"]

    def __len__(self) -> int:
        return len(self.shard)

    def entry(self, index: int) -> UnitEntry:
        """Return one unit."""
        unit = UnitRange(
            unit=UnitId(int(self.shard[index]), int(self.part[index])),
            generation=self._value("generation", index),
            bucket=_bucket(self._value("bucket", index)),
            first_row=int(self.first_row[index]),
            num_rows=int(self.num_rows[index]),
        )
        meta = self._ref("meta", index)
        assert meta is not None, "every unit has a meta"
        return UnitEntry(
            unit=unit,
            rev=self._value("rev", index),
            write_id=self._value("write_id", index),
            num_present=int(self.num_present[index]),
            tar=self._ref("tar", index),
            meta=meta,
        )

    def _ref(self, kind: str, index: int) -> ObjectRef | None:
        name = self._value(f"{kind}_name", index)
        if name is None:
            return None
        return ObjectRef(
            name=name,
            size_bytes=self._value(f"{kind}_size_bytes", index),
            sha256=self._value(f"{kind}_sha256", index),
        )

    def _value(self, name: str, index: int) -> Any:
        return self._table[name][index].as_py()


def read_unit_table(folder: Folder, ref: TableRef) -> UnitTable:
    """Return the units of a column.

    Raises:
        ShardCorruptError: The table is missing, or its bytes are not those that the snapshot
            names.
    """
    names = [name for name in UNITS_SCHEMA.names if name not in _UNUSED]
    schema = pa.schema([UNITS_SCHEMA.field(name) for name in names])
    return UnitTable(pa.Table.from_batches(iter_table(folder, ref, schema), schema=schema))


@lru_cache(maxsize=1024)
def _bucket(text: str) -> Bucket:
    return Bucket.parse(text)
