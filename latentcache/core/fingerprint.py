"""Fingerprints: one canonical JSON text, one hash, for everything that must agree."""

import hashlib
import json
from dataclasses import asdict, is_dataclass
from typing import Any

FINGERPRINT_DIGITS = 32
"""128 bits: enough that two encodings never share a folder by chance."""


def canonical_json(value: Any) -> str:
    """Return one text for equal plain values: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: ``value`` holds something JSON does not know.
        ValueError: ``value`` holds NaN or infinity.
    """
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
        default=_plain,
    )


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"value must be plain data, got {type(value).__name__}")


def fingerprint(value: Any) -> str:
    """Return 32 hex digits (128 bits of SHA-256) of ``canonical_json(value)``."""
    return sha256_hex(canonical_json(value).encode())[:FINGERPRINT_DIGITS]


def sha256_hex(data: bytes | bytearray | memoryview) -> str:
    """Return the SHA-256 of ``data`` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()
