"""What all records of the store share: a format version, a kind, a write id, a digest.

Parsing is strict: an unknown key or another format version is refused, because a reader
that guesses serves wrong latents.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import ConfigError, StoreError
from latentcache.core.fingerprint import canonical_json, sha256_hex

FORMAT = 1
"""The format version that this code reads and writes."""

MAX_DEPTH = 64
"""Of lists and tables within each other; records of format 1 need about six. What is deeper would
end later in Python's own limit, wherever a record is copied or written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What all records share; ``digest`` is of the stored bytes and no part of them."""

    kind: ClassVar[str]

    write_id: str
    digest: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", sha256_hex(self.to_bytes()))

    def to_json(self) -> dict[str, Any]:
        """Return the record's own keys, as plain values."""
        names = [item.name for item in fields(self) if item.name != "digest"]
        return {name: getattr(self, name) for name in names}

    def to_bytes(self) -> bytes:
        """Return the bytes to store."""
        values = {"format": FORMAT, "kind": self.kind, **self.to_json()}
        return canonical_json(values).encode() + b"\n"

    @classmethod
    def from_json(cls, values: dict[str, Any], *, where: str) -> Self:
        """Return the record that ``values`` spell.

        Raises:
            ConfigError: A key is unknown, missing or of the wrong type.
        """
        return config_from_mapping(cls, values, where=where)

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> Self:
        """Return the record in ``data``.

        Args:
            data: As read from the store.
            where: The object, for errors.

        Raises:
            StoreError: Not such a record, or one of another format version.
        """
        values = _checked_envelope(data, kind=cls.kind, where=where)
        values["digest"] = sha256_hex(data)
        try:
            return cls.from_json(values, where=where)
        except (ConfigError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"record must be a {cls.kind} of format {FORMAT}, got one that does not parse: "
                f"{error} ({where}); it is damaged or was written by other software"
            ) from None


def _checked_envelope(data: bytes, *, kind: str, where: str) -> dict[str, Any]:
    try:
        values = json.loads(data)
        is_too_deep = _is_deeper(values, MAX_DEPTH)
    except ValueError:
        values, is_too_deep = None, False
    except RecursionError:
        values, is_too_deep = None, True
    if is_too_deep:
        raise StoreError(
            f"record must be nested at most {MAX_DEPTH} levels deep, got a deeper one in "
            f"{len(data)} bytes ({where}); it is damaged or not part of a store"
        )
    if not isinstance(values, dict) or "format" not in values:
        raise StoreError(
            f"record must be a JSON object with a format version, got {len(data)} bytes that "
            f"are not ({where}); it is damaged or not part of a store"
        )
    if values["format"] != FORMAT:
        raise StoreError(
            f"store format must be {FORMAT}, got {values['format']} ({where}); "
            f"use the latentcache release that wrote it"
        )
    if values.get("kind") != kind:
        raise StoreError(
            f"record must be of kind {kind!r}, got {values.get('kind')!r} ({where}); "
            f"it is damaged or was moved"
        )
    return {key: value for key, value in values.items() if key not in ("format", "kind")}


def _is_deeper(value: Any, most: int) -> bool:
    """Return whether lists and tables lie in each other more than ``most`` deep."""
    level = _nested([value])
    for _ in range(most):
        level = _nested(
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        )
    return bool(level)


def _nested(values: Iterable[Any]) -> list[dict[str, Any] | list[Any]]:
    return [value for value in values if isinstance(value, (dict, list))]
