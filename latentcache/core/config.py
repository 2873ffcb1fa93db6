"""Configs: frozen dataclasses filled from TOML tables, with unknown keys refused by name."""

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from latentcache.core.errors import ConfigError

ConfigT = TypeVar("ConfigT")


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: The file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"recipe must be a readable file, got {path} ({error.strerror})"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"recipe must be valid TOML, got {path} ({error})") from None


def config_from_mapping(
    config_type: type[ConfigT], values: Mapping[str, Any], *, where: str
) -> ConfigT:
    """Return ``config_type`` filled from ``values``, nested dataclasses included.

    Args:
        config_type: A frozen dataclass whose fields are plain values or dataclasses.
        values: What the user wrote.
        where: Shown in errors: a file name, a table name.

    Raises:
        ConfigError: A key is unknown (the nearest known one is named), missing, or of
            the wrong type.
    """
    assert dataclasses.is_dataclass(config_type)
    hints = get_type_hints(config_type)
    named = [each for each in dataclasses.fields(config_type) if each.init]
    known = {key_of(config_type, each.name): each for each in named}
    for key in values:
        if key not in known:
            if table := _table_of(config_type, key):
                raise ConfigError(
                    f"key {key!r} must be in a table {table}, got it outside ({where}); write "
                    f"{table} on a line of its own, and below it {key} = ..."
                )
            raise ConfigError(unknown_name("key", key, list(known), where=where))
    filled: dict[str, Any] = {}
    for name, field in known.items():
        if name in values:
            filled[field.name] = _convert(hints[field.name], values[name], where=f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"key {name!r} must be given ({where}); add `{name} = ...`")
    try:
        return config_type(**filled)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{error} ({where})") from None


def key_of(config_type: type[Any], field_name: str) -> str:
    """Return the word that a user writes for a field: its name, unless the config's ``KEYS`` says.

    In code a name has its unit (``resolution_px``); a flag, a recipe's key and JSON have one word
    for it (``resolution``).
    """
    keys: Mapping[str, str] = getattr(config_type, "KEYS", {})
    return keys.get(field_name, field_name)


def _table_of(config_type: type[Any], key: str) -> str:
    """Return the table inside a config that has a key, as TOML begins it, or ""."""
    for name, hint in get_type_hints(config_type).items():
        is_list = get_origin(hint) is tuple
        inside = get_args(hint)[0] if is_list else hint
        if not (isinstance(inside, type) and dataclasses.is_dataclass(inside)):
            continue
        if key in {key_of(inside, each.name) for each in dataclasses.fields(inside) if each.init}:
            table = key_of(config_type, name)
            return f"[[{table}]]" if is_list else f"[{table}]"
    return ""


def unknown_name(what: str, got: str, known: list[str], *, where: str) -> str:
    """Return the sentence that refuses an unknown name and offers the nearest known one."""
    near = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "use one of them"
    return f"{what} must be one of {', '.join(sorted(known))}, got {got!r} ({where}); {hint}"


def _convert(expected: Any, value: Any, *, where: str) -> Any:
    if dataclasses.is_dataclass(expected) and isinstance(expected, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"value must be a table, got {value!r} ({where})")
        return config_from_mapping(expected, value, where=where)
    origin = get_origin(expected)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(expected), value, where=where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"value must be a list, got {value!r} ({where})")
        return tuple(_convert(get_args(expected)[0], item, where=where) for item in value)
    if origin is dict or origin is Mapping:
        return dict(value)
    if get_origin(expected) is not None and get_args(expected):  # Literal
        if value not in get_args(expected):
            raise ConfigError(
                unknown_name("value", str(value), [str(a) for a in get_args(expected)], where=where)
            )
        return value
    return _convert_plain(expected, value, where=where)


def _convert_union(options: tuple[Any, ...], value: Any, *, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    errors = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(option, value, where=where)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _convert_plain(expected: Any, value: Any, *, where: str) -> Any:
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if expected in (int, float) and isinstance(value, bool):
        raise ConfigError(f"value must be a number, got {value!r} ({where})")
    if isinstance(expected, type) and not isinstance(value, expected):
        name = {
            "str": "text",
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
        }
        rule = name.get(expected.__name__, expected.__name__)
        raise ConfigError(f"value must be {rule}, got {value!r} ({where})")
    return value
