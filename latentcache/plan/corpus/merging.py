"""Several rows of one sample: their captions become a list, their other values must agree."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from latentcache.plan.listing import Annotation


class Notes(Protocol):
    """Where findings are counted."""

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count something of ``kind``."""


def merged_fields(
    rows: Sequence[Mapping[str, Annotation]], notes: Notes, where: str
) -> dict[str, Annotation]:
    """Return the fields of all rows together.

    Captions are collected in row order, each text once. Of any other field whose values
    differ the first is kept, and that is counted.

    Args:
        rows: Fields of each row, one at least.
        notes: Count what differs.
        where: The sample, as an example.
    """
    merged: dict[str, Annotation] = {}
    captions: list[str] = []
    for fields in rows:
        for name, value in fields.items():
            if name == "caption":
                captions += [text for text in _texts(value) if text not in captions]
            elif merged.setdefault(name, value) != value:
                notes.add("field_differs", f"{name} of {where}")
    if captions:
        merged["caption"] = captions[0] if len(captions) == 1 else captions
    return merged


def _texts(value: Annotation) -> list[str]:
    return list(value) if isinstance(value, list) else [str(value)]
