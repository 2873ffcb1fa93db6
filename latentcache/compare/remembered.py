"""What was compared last in a folder: spaces, samples and options, so that one can be added."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentcache.compare.compare_options import CompareOptions
from latentcache.compare.metrics.probe import ProbeOptions
from latentcache.core.errors import ConfigError

_NAME = "compared.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """An earlier comparison.

    Attributes:
        spaces: As they were asked for.
        keys: Of its samples.
        options: How it was made.
    """

    spaces: tuple[str, ...]
    keys: tuple[str, ...]
    options: CompareOptions


def remember(
    spaces: Sequence[str], keys: Sequence[str], options: CompareOptions, folder: Path
) -> None:
    """Write what was compared; the last one counts."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"spaces": list(spaces), "keys": list(keys), "options": asdict(options)}
    unfinished = folder / f"{_NAME}.tmp"
    unfinished.write_text(json.dumps(values, indent=1), encoding="utf-8")
    unfinished.replace(folder / _NAME)


def recall(folder: Path) -> Remembered:
    """Return what was compared last.

    Raises:
        ConfigError: Nothing was, or by another release.
    """
    path = folder / _NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        options = dict(values["options"])
        probe = options.pop("probe")
        options["probe"] = None if probe is None else ProbeOptions(**probe)
        options["sections"] = tuple(options["sections"])
        options["lpips"] = tuple(options["lpips"]) if options.get("lpips") else None
        return Remembered(
            spaces=tuple(values["spaces"]),
            keys=tuple(values["keys"]),
            options=CompareOptions(**options),
        )
    except FileNotFoundError:
        why = "there is none"
    except (ValueError, KeyError, TypeError) as error:
        why = f"it cannot be read ({type(error).__name__})"
    raise ConfigError(
        f"keep must be the folder of an earlier comparison to add a space to it, got {folder}: "
        f"{why}; compare two spaces with --keep first"
    )
