"""Labels that are names: numbered in sorted order, so that a class condition can be trained on.

Names that a later generation brings are numbered behind those that are there.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from latentcache.plan.placement.plan_base import PlanBase

MAX_CLASSES = 20_000
"""More texts than this are no classes; ImageNet-21k has 21,841 folders of which 19,167 are used."""

LABEL, LABEL_NAME = "label", "label_name"


class ClassCounts:
    """Which texts the label was seen with, and how often."""

    def __init__(self, base: PlanBase) -> None:
        """Begin with the classes of ``base``, which keep their numbers."""
        self._base = base
        self._counts: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()
        self._is_over_limit = False

    def add(self, label: object) -> None:
        """Note one label."""
        if label is not None and not self._is_over_limit and not isinstance(label, list):
            name = label if isinstance(label, str) else json.dumps(label)
            self._counts[name] += 1
            if not isinstance(label, str):
                self._numbers[name] += 1
            self._is_over_limit = len(self._counts) > MAX_CLASSES

    def single(self) -> list[str]:
        """Return the new classes that were seen once."""
        known = self._base.classes
        return [name for name, count in self._counts.items() if count == 1 and name not in known]

    def numbers(self) -> dict[str, int]:
        """Return the labels that came as numbers, and how often."""
        return dict(self._numbers)

    def are_too_many(self, schema: pa.Schema) -> bool:
        """Whether the labels are texts, but too many for classes."""
        return self._is_over_limit and not self._base.classes and _is_text(schema)

    def classes(self, schema: pa.Schema) -> "Classes | None":
        """Return the numbering, if the labels are texts and few enough."""
        if not _is_text(schema) or LABEL_NAME in schema.names:
            return None
        known = self._base.classes
        if not known and (self._is_over_limit or LABEL in self._base.types):
            return None
        return Classes((*known, *sorted({*self._counts, *self._base.new_classes} - set(known))))


def _is_text(schema: pa.Schema) -> bool:
    return LABEL in schema.names and pa.types.is_string(schema.field(LABEL).type)


@dataclass(frozen=True, slots=True)
class Classes:
    """Names of classes in the order of their numbers."""

    names: tuple[str, ...]

    def numbers(self) -> Mapping[str, int]:
        """Return the number of each name."""
        return {name: number for number, name in enumerate(self.names)}

    def numbered(self, labels: Sequence[str | None]) -> "pa.ChunkedArray[Any]":
        """Return the number of each label; null where there is none."""
        numbers = self.numbers()
        found = [None if label is None else numbers[label] for label in labels]
        return pa.chunked_array([pa.array(found, pa.int64())])
