"""Statistics of a column: units merged in order, then read by field, class and channel."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from latentcache.stats.channel_axis import FRAME_CLASSES, FrameClass
from latentcache.stats.codes import CodeUsage, is_code_usage
from latentcache.stats.latents import SAMPLED_FIELD, LatentStatistics, merge_present
from latentcache.stats.moments import Arrays
from latentcache.stats.unit import primary_field

_PREFIX = "stats."


@dataclass(frozen=True, slots=True)
class FieldLatents:
    """A float field's statistics.

    Attributes:
        name: The field.
        classes: By class of latent frame; a class that never occurred is absent.
    """

    name: str
    classes: Mapping[FrameClass, LatentStatistics]

    @property
    def pooled(self) -> LatentStatistics:
        """All latent frames together; samples are counted once."""
        parts = list(self.classes.values())
        pooled = reduce(LatentStatistics.merge, parts)
        return replace(pooled, num_samples=max(part.num_samples for part in parts))

    @property
    def is_sampled(self) -> bool:
        """Whether draws from the posterior were stored."""
        return self.name == SAMPLED_FIELD


@dataclass(frozen=True, slots=True)
class FieldCodes:
    """A code field's usage; see ``FieldLatents``."""

    name: str
    classes: Mapping[FrameClass, CodeUsage]

    @property
    def pooled(self) -> CodeUsage:
        """All latent frames together; samples are counted once."""
        parts = list(self.classes.values())
        pooled = reduce(CodeUsage.merge, parts)
        return replace(pooled, num_samples=max(part.num_samples for part in parts))


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """The statistics of one encoding of a column.

    Attributes:
        latents: Float fields by name.
        codes: Code fields by name.
    """

    latents: Mapping[str, FieldLatents]
    codes: Mapping[str, FieldCodes]

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "ColumnStatistics":
        """Return a view of a unit's arrays, or of merged ones; others are ignored."""
        latents: dict[str, dict[FrameClass, LatentStatistics]] = defaultdict(dict)
        codes: dict[str, dict[FrameClass, CodeUsage]] = defaultdict(dict)
        for (field, name), part in _read_parts(arrays).items():
            if isinstance(part, CodeUsage):
                codes[field][name] = part
            else:
                latents[field][name] = part
        return cls(
            latents={name: FieldLatents(name, classes) for name, classes in latents.items()},
            codes={name: FieldCodes(name, classes) for name, classes in codes.items()},
        )

    @property
    def primary(self) -> FieldLatents | None:
        """The field that normalization speaks of, ``mean``, ``z`` or ``sample``; or None."""
        name = primary_field(list(self.latents)) or next(iter(self.latents), None)
        return None if name is None else self.latents[name]


def merge_arrays(parts: Iterable[Arrays]) -> dict[str, NDArray[np.generic]]:
    """Return the statistics of all parts together, as one part.

    Parts are folded one after the other, so the caller's order, that of the units, fixes
    every bit. One part comes back as it is, and empty parts change nothing. The result may
    be a part again. Memory is that of one result; ``parts`` may be an iterator.

    Args:
        parts: ``stats.<field>.<class>.<name>`` arrays of units, with or without ``stats.``;
            arrays of other names are ignored. The result has the prefix.

    Raises:
        ValueError: Parts of different encodings: channels or kinds differ.
    """
    total: dict[tuple[str, FrameClass], LatentStatistics | CodeUsage] = {}
    for part in parts:
        for key, statistics in _read_parts(part).items():
            total[key] = _merge(key[0], total.get(key), statistics)
    merged: dict[str, NDArray[np.generic]] = {}
    for (field, name), statistics in sorted(total.items()):
        merged |= {
            f"{_PREFIX}{field}.{name}.{item}": array for item, array in statistics.arrays().items()
        }
    return merged


def _merge(
    field: str, ours: LatentStatistics | CodeUsage | None, theirs: LatentStatistics | CodeUsage
) -> LatentStatistics | CodeUsage:
    if isinstance(theirs, LatentStatistics) and not isinstance(ours, CodeUsage):
        return merge_present(ours, theirs) or theirs
    if isinstance(theirs, CodeUsage) and not isinstance(ours, LatentStatistics):
        return merge_present(ours, theirs) or theirs
    raise ValueError(
        f"{field} must be codes in all parts or in none, got both; "
        "merge statistics of one encoding only"
    )


def _read_parts(
    arrays: Arrays,
) -> dict[tuple[str, FrameClass], LatentStatistics | CodeUsage]:
    groups: dict[tuple[str, FrameClass], dict[str, NDArray[np.generic]]] = defaultdict(dict)
    for key, array in arrays.items():
        # Stores may take the prefix off what they hand back; without it only a name of
        # three parts can be one of ours.
        parts = key.removeprefix(_PREFIX).rsplit(".", 2)
        if len(parts) == 3:
            groups[parts[0], _frame_class(parts[1])][parts[2]] = array
    return {
        key: CodeUsage.from_arrays(group)
        if is_code_usage(group)
        else LatentStatistics.from_arrays(group)
        for key, group in sorted(groups.items())
    }


def _frame_class(name: str) -> FrameClass:
    for known in FRAME_CLASSES:
        if name == known:
            return known
    raise ValueError(f"class must be one of {', '.join(FRAME_CLASSES)}, got {name!r}")
