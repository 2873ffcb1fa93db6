"""Per-sample values as they come; what a sample lacks stays NaN."""

from collections.abc import Mapping, Sequence

import numpy as np

from latentcache.compare.metrics.interval import Floats


class RowValues:
    """Values by name, a row a sample."""

    def __init__(self, num_rows: int) -> None:
        self.values: dict[str, Floats] = {}
        self.num_rows = num_rows

    def put(self, place: int, name: str, value: float | Floats | None) -> None:
        """Keep a value, or a vector; a vector of another length than the first is left out."""
        if value is None:
            return
        row = np.asarray(value, np.float64)
        if name not in self.values:
            self.values[name] = np.full((self.num_rows, *row.shape), np.nan)
        if self.values[name].shape[1:] == row.shape:
            self.values[name][place] = row

    def keep(self, values: dict[str, Floats], prefix: str) -> None:
        """Put all rows into ``values``, by their names with ``prefix``."""
        values.update({f"{prefix}{name}": each for name, each in self.values.items()})

    def resume(self, values: Mapping[str, Floats], prefix: str) -> None:
        """Take over rows that an earlier run has filled, of names with ``prefix``."""
        for name, rows in values.items():
            if name.startswith(prefix) and len(rows) == self.num_rows:
                self.values[name.removeprefix(prefix)] = rows.copy()


def spread(places: Sequence[int], count: int) -> tuple[int, ...]:
    """Return ``count`` of the places, evenly spread; all if there are no more."""
    if count >= len(places):
        return tuple(places)
    last = max(1, count - 1)
    return tuple(places[round(number * (len(places) - 1) / last)] for number in range(count))
