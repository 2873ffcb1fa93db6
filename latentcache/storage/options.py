"""Options of fsspec's file systems (endpoint, profile, anon ...), of a process or of one folder.

Those of a process lie in its environment, as credentials do, and so in that of its children; no
record, log or message has them.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.storage.url_secrets import secret_in

VARIABLE = "LATENTCACHE_STORAGE_OPTIONS"
"""The options of a process, as a JSON object."""

Options = Mapping[str, Any]

_SECRET = re.compile(
    r"(^|[._-])key$|secret|token|passw|credential|account_key|access_key|api_key|connection_string"
    r"|signature|headers|auth$",
    re.IGNORECASE,
)
_WORDS_OF_TOKENS = ("anon", "browser", "cache", "cloud", "google_default", "true", "false")
"""What ``token`` may be without being one; see gcsfs."""
_TEXTS = ("key", "secret", "token", "profile", "username", "password", "project")
"""A value of these is never read as a number."""


def parse_storage_options(texts: Sequence[str]) -> dict[str, Any]:
    """Return options from ``KEY=VALUE``, dotted keys as tables inside, or from JSON objects.

    Raises:
        ConfigError: One has no ``=``, or is no object; no value is repeated.
    """
    found: dict[str, Any] = {}
    for text in texts:
        if text.lstrip().startswith("{"):
            _merge(found, _from_json(text, "storage_options"))
            continue
        key, has_value, value = text.partition("=")
        parts = key.strip().split(".")
        if not has_value or not all(parts):
            raise ConfigError(
                f"storage_options must be KEY=VALUE, got {key.strip()!r} without one; write for "
                "instance endpoint_url=http://127.0.0.1:9000"
            )
        read: Any = value.strip() if parts[-1] in _TEXTS else _value(value.strip())
        for part in reversed(parts):
            read = {part: read}
        _merge(found, read)
    return found


def _value(text: str) -> Any:
    is_toml = text in ("true", "false") or text.isdecimal() or text[:1] in ("'", '"', "[", "{")
    try:
        return tomllib.loads(f"value = {text}")["value"] if is_toml else text
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _merge(onto: dict[str, Any], added: Options) -> None:
    for key, value in added.items():
        inside = onto.get(key)
        if isinstance(inside, dict) and isinstance(value, Mapping):
            _merge(inside, value)
        else:
            onto[key] = dict(value) if isinstance(value, Mapping) else value


def _from_json(text: str, name: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise ConfigError(
            f"{name} must be a JSON object, got {len(text)} characters that are none; write for "
            'instance {"endpoint_url": "http://127.0.0.1:9000"}'
        )
    return read


def options_text(options: Options | None) -> str:
    """Return options as one line that travels; "" for none.

    Raises:
        ConfigError: A value is no plain one, such as an object of Python.
    """
    if not options:
        return ""
    try:
        return json.dumps(options, sort_keys=True)
    except TypeError:
        raise ConfigError(
            "storage_options must be text, numbers, lists and tables, got other values for some "
            f"of {', '.join(map(str, options))}; leave them out"
        ) from None


def process_text() -> str:
    """Return the options of this process as they travel to another."""
    return os.environ.get(VARIABLE, "")


def take_over(text: str) -> None:
    """Give this process the options of the one that has sent it work; "" changes nothing."""
    if text:
        os.environ[VARIABLE] = text


@contextmanager
def use_storage_options(options: Options) -> Iterator[None]:
    """Give this process and those that it starts options, on top of what it has.

    Args:
        options: By name, as the file systems of fsspec have them; ``{"s3": {...}}`` is for
            URLs of that protocol alone.

    Raises:
        ConfigError: A value is no plain one.
    """
    before = os.environ.get(VARIABLE)
    both = _from_json(before, VARIABLE) if before else {}
    _merge(both, options)
    if text := options_text(both):
        os.environ[VARIABLE] = text
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def options_in_force(text: str) -> dict[str, Any]:
    """Return the options of this process with those in ``text`` on top.

    Raises:
        ConfigError: The environment's are no JSON object.
    """
    found = _from_json(process_text(), VARIABLE) if process_text() else {}
    if text:
        _merge(found, json.loads(text))
    return found


def secret_options(options: Options, *, inside: str = "") -> list[str]:
    """Return the names of options that are secret, or whose value holds a secret."""
    found = []
    for key, value in options.items():
        name = f"{inside}{key}"
        if isinstance(value, Mapping) and not _SECRET.search(str(key)):
            found += secret_options(value, inside=f"{name}.")
        elif _is_secret(str(key), value):
            found.append(name)
    return found


def _is_secret(key: str, value: Any) -> bool:
    if isinstance(value, str) and secret_in(value):
        return True
    return bool(_SECRET.search(key)) and str(value).lower() not in _WORDS_OF_TOKENS


def refuse_secret_options(texts: Sequence[str], *, where: str) -> None:
    """Refuse options that are secret where they would be written down.

    Raises:
        ConfigError: There is one; its name is told, not its value.
    """
    secret = secret_options(parse_storage_options(texts))
    if secret:
        raise ConfigError(
            f"storage_options must hold no secret here, got {', '.join(secret)} ({where}); give "
            f"it by the environment (AWS_*, {VARIABLE}), a profile or the command's "
            "--storage-options"
        )
