"""What the statistics' tests share: fields, batches and the plain formulas."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from latentcache.core.fields import Field, FieldKind
from latentcache.stats import UnitStatistics

Arrays = dict[str, NDArray[np.generic]]
Accumulate = Callable[..., Arrays]


@pytest.fixture
def make_field() -> Callable[..., Field]:
    def make(name: str = "mean", axes: str = "CHW", kind: FieldKind | None = None) -> Field:
        kinds: dict[str, FieldKind] = {"z": "point", "logvar": "logvar", "sample": "sample"}
        dtype = "int64" if kind == "indices" else "float32"
        kind = kind or kinds.get(name, "mean")
        return Field(name=name, kind=kind, axes=axes, channels=None, dtype=dtype)

    return make


@pytest.fixture
def accumulate(make_field: Callable[..., Field]) -> Accumulate:
    """Arrays of one unit that holds one field, batch by batch."""

    def run(batches: list[NDArray[np.generic]], axes: str = "CHW", **options: object) -> Arrays:
        name = str(options.pop("name", "z"))
        kind = options.pop("kind", None)
        logvars = options.pop("logvars", None)
        posterior = "point" if logvars is None else "gaussian"
        unit = UnitStatistics([make_field(name, axes, kind)], posterior, **options)
        for index, batch in enumerate(batches):
            unit.add({name: batch}, None if logvars is None else logvars[index])
        return unit.arrays()

    return run
