"""Which column is normalized, and how: the latents unless told otherwise, others where named."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.loader.transform.normalizer import (
    NormalizeMode,
    Normalizer,
    primary_field,
    resolve_normalizer,
)
from latentcache.store import ColumnView

Mode = NormalizeMode | Sequence[Mapping[str, Any]]

LATENTS = ""
"""Stands for the column that is drawn and trained on, whatever its name."""


def modes_of(given: Any) -> dict[str, Mode]:
    """Return a mode or operations by column, of what a loader was given as ``normalize``."""
    if isinstance(given, Mapping):
        return {str(name): _mode_of(each) for name, each in given.items()}
    return {LATENTS: _mode_of(given)}


def _mode_of(given: Any) -> Any:
    return {True: "auto", False: "none"}[given] if isinstance(given, bool) else given


def latents_mode(modes: Mapping[str, Mode], latents: str) -> Mode:
    """Return how the latents are normalized."""
    return modes.get(latents, modes.get(LATENTS, "auto"))


def resolve_others(
    views: Mapping[str, Sequence[ColumnView]],
    modes: Mapping[str, Mode],
    latents: str,
    *,
    warn: Callable[[str], None],
) -> dict[str, Normalizer]:
    """Return the normalization of each further column that is to be normalized.

    Args:
        views: Of each encoded column that was asked for, in each source.
        modes: By column.
        latents: The column that has its own way.
        warn: Takes what a person should know.

    Raises:
        ConfigError: A name is of no such column, or its values are none to be normalized.
    """
    _check_names(modes, views)
    found = {}
    for name in [each for each in modes if each not in (LATENTS, latents)]:
        dtype = primary_field(views[name][0]).dtype
        if modes[name] != "none" and "float" not in dtype:
            raise ConfigError(
                f"normalize must be False for {name}, which holds {dtype}; leave it out"
            )
        # What comes beside the latents is the posterior's mean, never a draw.
        resolved = resolve_normalizer(views[name], modes[name], is_sampled=False, warn=warn)
        if resolved.ops:
            found[name] = resolved
    return found


def _check_names(modes: Mapping[str, Mode], known: Collection[str]) -> None:
    for name in modes:
        if name != LATENTS and name not in known:
            raise ConfigError(
                f"normalize must name encoded columns that are asked for ({', '.join(known)}), got "
                f"{name!r}; add it to columns, or leave it out"
            )
