"""Spaces side by side: each figure with its interval, and what differs by more than that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentcache.compare.figures import FIGURES, SECTIONS, Figure
from latentcache.compare.measured import Measured
from latentcache.compare.metrics.interval import Difference, Estimate, Floats, difference, estimate

FEW_SAMPLES = 10
_ALIKE_PIXELS = ("fidelity",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of all spaces.

    Attributes:
        figure: Which.
        estimates: By space; one that has none is absent.
        differences: Of each later space from each earlier one, by (earlier, later).
    """

    figure: Figure
    estimates: dict[str, Estimate]
    differences: dict[tuple[str, str], Difference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that was found.

    Attributes:
        spaces: In the order asked for.
        rows: In the order of the figures; one that no space has is absent.
        notes: Sentences by section, each with the space that it is about, or "".
        num_samples: That all spaces hold.
    """

    spaces: tuple[Measured, ...]
    rows: tuple[Row, ...]
    notes: dict[str, list[tuple[str, str]]]
    num_samples: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "samples": self.num_samples,
            "spaces": [_space_json(each) for each in self.spaces],
            "figures": [_row_json(each) for each in self.rows],
            "notes": [
                {"section": section, "space": space, "note": sentence}
                for section, said in self.notes.items()
                for space, sentence in said
            ],
        }


def compare(
    spaces: Sequence[Measured],
    lacking: dict[str, int] | None = None,
    *,
    sections: Sequence[str] = SECTIONS,
) -> Comparison:
    """Return measured spaces side by side.

    Args:
        spaces: Measured on the same samples.
        lacking: By space, samples that were drawn and that it does not hold.
        sections: Of figures that are shown.
    """
    notes: dict[str, list[tuple[str, str]]] = {}
    for name, count in (lacking or {}).items():
        if count:
            sentence = f"{count:,} of the samples drawn are not in it and were left out of all"
            notes.setdefault("samples", []).append((name, sentence))
    for space in spaces:
        for section, sentences in space.notes.items():
            notes.setdefault(section, []).extend((space.name, each) for each in sentences)
        if skipped := space.facts.get("skipped"):
            first = next(iter(skipped.values()))
            sentence = f"{len(skipped):,} sources could not be had, for instance {first}"
            notes.setdefault("fidelity", []).append((space.name, sentence))
    if any(num := space.facts.get("num_decoded", 0) for space in spaces):
        sentence = (
            f"errors of pixels are of {num:,} of the {len(spaces[0].keys):,} samples, spread "
            "evenly and the same ones of every space; --decoded N takes more"
        )
        notes.setdefault("fidelity", []).append(("", sentence))
    if classes := next((c for space in spaces if (c := space.facts.get("classes"))), None):
        sentence = (
            f"{classes['classes']:,} classes of {classes['samples']:,} samples "
            f"({classes['annotation']}); always naming the most frequent one is right in "
            f"{classes['chance']:.0%}"
        )
        notes.setdefault("semantics", []).append(("", sentence))
    is_alike = _alike_pixels(spaces, notes)
    rows = [_row(each, spaces, is_alike) for each in FIGURES if each.section in sections]
    num_samples = len(spaces[0].keys)
    if num_samples < FEW_SAMPLES:
        sentence = (
            f"{num_samples} samples say little: intervals of so few are too narrow; compare at "
            f"least {FEW_SAMPLES}"
        )
        notes.setdefault("samples", []).append(("", sentence))
    return Comparison(
        spaces=tuple(spaces),
        rows=tuple(row for row in rows if row.estimates),
        notes=notes,
        num_samples=num_samples,
    )


def _alike_pixels(
    spaces: Sequence[Measured], notes: dict[str, list[tuple[str, str]]]
) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return of each sample whether all spaces saw the same pixels of it, and say where not."""
    keys = spaces[0].keys
    digests = [[space.facts["pixels"].get(key) for key in keys] for space in spaces]
    seen = [{each for each in of_key if each} for of_key in zip(*digests, strict=True)]
    alike = np.array([len(each) <= 1 for each in seen])
    if count := int((~alike).sum()):
        sentence = (
            f"{count:,} of {len(keys):,} samples were cut or decoded to other pixels in one space "
            "than in another and are left out of errors of pixels; encode the spaces over one plan"
        )
        notes.setdefault("fidelity", []).append(("", sentence))
    return alike


def _row(
    figure: Figure, spaces: Sequence[Measured], is_alike: "np.ndarray[Any, np.dtype[np.bool_]]"
) -> Row:
    values: dict[str, Floats] = {}
    for space in spaces:
        found = space.values.get(figure.source)
        if found is None:
            continue
        if figure.section in _ALIKE_PIXELS and figure.is_paired:
            found = found.copy()
            found[~is_alike] = np.nan
        if np.isfinite(found).reshape(len(found), -1).all(axis=1).any():
            values[space.name] = found
    names = list(values)
    return Row(
        figure=figure,
        estimates={name: estimate(values[name], figure.of_mean) for name in names},
        differences={
            (first, second): difference(
                values[first], values[second], figure.of_mean, is_paired=figure.is_paired
            )
            for place, first in enumerate(names)
            for second in names[place + 1 :]
        },
    )


def _space_json(space: Measured) -> dict[str, Any]:
    facts = {key: value for key, value in space.facts.items() if key != "pixels"}
    return {"name": space.name, **facts}


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.figure.name,
        "section": row.figure.section,
        "title": row.figure.title,
        "unit": row.figure.unit,
        "spaces": {
            name: {
                "value": each.value,
                "interval": [each.low, each.high],
                "samples": each.num_samples,
            }
            for name, each in row.estimates.items()
        },
        "differences": [
            {
                "from": first,
                "to": second,
                "value": each.value,
                "interval": [each.low, each.high],
                "samples": each.num_samples,
                "verdict": each.verdict,
            }
            for (first, second), each in row.differences.items()
        ],
    }
