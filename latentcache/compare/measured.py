"""What was measured of one space; it can be written and read again, so that nothing is done twice.

The file is one of safetensors: arrays, and in its header JSON. Reading one runs no code.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from latentcache.compare.metrics.interval import Floats
from latentcache.core.fingerprint import fingerprint

VERSION = 2
"""Of what is measured and how; another one is measured anew."""
_VALUES, _PICTURES, _CURVES = "values.", "pictures.", "curves."


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One space.

    Attributes:
        name: As it was asked for.
        facts: Plain values: encoder, stored fields, channels, factor, bytes ...
        keys: Of the samples; rows of per-sample values are theirs.
        values: By name [N, ...]; NaN where a sample has none.
        notes: By section: what was not measured and why, or what a reader must know.
        pictures: uint8 (..., H, W, 3), by name.
        curves: Whatever else a page draws, by name.
    """

    name: str
    facts: dict[str, Any]
    keys: tuple[str, ...]
    values: dict[str, Floats] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    pictures: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    curves: dict[str, Floats] = field(default_factory=dict)

    def note(self, section: str, sentence: str) -> None:
        """Keep a sentence once."""
        said = self.notes.setdefault(section, [])
        if sentence not in said:
            said.append(sentence)


def asked_digest(asked: Mapping[str, Any]) -> str:
    """Return what names a file of what was asked: another question is another file."""
    return fingerprint({"version": VERSION, **asked})


def write_measured(measured: Measured, folder: Path, digest: str) -> None:
    """Write to ``folder``; a run that is stopped leaves nothing half written."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "name": measured.name,
        "facts": measured.facts,
        "keys": measured.keys,
        "notes": measured.notes,
    }
    arrays: dict[str, npt.NDArray[Any]] = {}
    for prefix, group in (
        (_VALUES, measured.values), (_PICTURES, measured.pictures), (_CURVES, measured.curves)
    ):  # fmt: skip
        arrays |= {prefix + name: np.ascontiguousarray(each) for name, each in group.items()}
    path = _path(folder, digest)
    unfinished = path.with_suffix(".tmp")
    save_file(arrays, unfinished, metadata={"measured": json.dumps(header)})
    unfinished.replace(path)


def read_measured(folder: Path, digest: str, *, name: str) -> Measured | None:
    """Return what was measured before, under the name it is asked for now, or None."""
    path = _path(folder, digest)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["measured"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None  # cut short or another's: it is measured again

    def group(prefix: str) -> dict[str, Any]:
        return {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}

    return Measured(
        name=name,
        facts=header["facts"],
        keys=tuple(header["keys"]),
        notes=header["notes"],
        values=group(_VALUES),
        pictures=group(_PICTURES),
        curves=group(_CURVES),
    )


def _path(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.safetensors"
