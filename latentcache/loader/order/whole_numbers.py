"""Whole numbers as users give them: from a config file, an environment variable, numpy."""

import operator
from typing import Any

from latentcache.core.errors import ConfigError


def whole(value: Any, *, name: str, least: int | None = None) -> int:
    """Return ``value`` as an int; numpy's are numbers too, but text and 8.0 are not.

    Args:
        value: As given.
        name: Of the argument.
        least: Smallest that makes sense; None is any.

    Raises:
        ConfigError: It is not a whole number, or is too small.
    """
    rule = "a whole number" if least is None else f"a whole number of at least {least}"
    try:
        number = operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} must be {rule}, got {value!r}; pass it as an int") from None
    if isinstance(value, bool) or (least is not None and number < least):
        raise ConfigError(f"{name} must be {rule}, got {value!r}; pass another")
    return number
