"""Where a column's texts come from: an annotation, one revision of it for a whole run.

A row's text is digested as a file is: the meta keeps 16 bytes of each row, so that a caption that
was revised makes that row stale and no other.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.core.inputs import parse_input
from latentcache.core.units import UnitId, UnitRange
from latentcache.runner.units.annotation_files import (
    AnnotationFiles,
    MadeUnit,
    differing_rows,
    newest_files,
    read_values,
)
from latentcache.storage import Folder
from latentcache.store import Annotation, EncodingRecord, Generation, Store
from latentcache.store.format import SOURCE_DIGEST_BYTES

TEXT_VERSION = 1
"""Raised when the rule from an annotation to what a tower is given changes."""

Texts = tuple[str, ...]
"""The texts of a sample; () where it has none."""


def text_identity(asked: str) -> dict[str, Any]:
    """Return how an annotation becomes texts, as plain data for the fingerprint."""
    return {"kind": "text", "version": TEXT_VERSION, "input": asked, "revision": "newest"}


@dataclass(frozen=True, slots=True)
class TextSource(AnnotationFiles):
    """One revision of texts, by generation."""

    @classmethod
    def newest(cls, store: Store, asked: str) -> "TextSource | None":
        """Return the newest revision of what ``asked`` names, None if that is no text.

        Raises:
            ConfigError: There is no such annotation, or it holds something else than texts.
        """
        name = parse_input(asked).annotation
        if not name:
            return None
        files = newest_files(store, name)
        for annotation in files.values():
            _check_is_text(name, annotation)
        if not files:
            known = store.annotation_names()
            raise ConfigError(
                f"annotation must be one of {', '.join(known) or 'none yet'}, got {name!r} (input "
                f"{asked}); plan a corpus that has it, or name another"
            )
        return cls(name, {number: each.file.name for number, each in files.items()})


def read_texts(folder: Folder, generation: Generation, file: str, unit: UnitRange) -> list[Texts]:
    """Return the texts of each row of a unit.

    Args:
        folder: The store.
        generation: The unit's.
        file: Of the annotation; "" gives no texts.
        unit: Whose rows.
    """
    return [_texts(value) for value in read_values(folder, generation, file, unit)]


def text_digest(texts: Texts) -> bytes:
    """Return the 16 bytes that tell a row's texts from others; zeros where it has none."""
    if not texts:
        return bytes(SOURCE_DIGEST_BYTES)
    data = texts[0] if len(texts) == 1 else json.dumps(texts)
    return blake2b(data.encode("utf-8", "surrogatepass"), digest_size=SOURCE_DIGEST_BYTES).digest()


def stale_rows(
    store: Store, record: EncodingRecord, source: TextSource
) -> dict[UnitId, npt.NDArray[np.int64]]:
    """Return the committed units that hold rows of other texts than there are now, and these rows.

    Args:
        store: The store.
        record: An encoding of texts.
        source: The texts that there are now.
    """

    def differ(made: MadeUnit) -> npt.NDArray[np.bool_]:
        texts = read_texts(made.folder, made.generation, made.now, made.unit)
        now = np.frombuffer(b"".join(map(text_digest, texts)), np.uint8)
        then = made.digests()
        differs: npt.NDArray[np.bool_] = (now.reshape(then.shape) != then).any(axis=1)
        return differs

    return differing_rows(store, record, source, differ)


def _texts(value: str | Sequence[str | None] | None) -> Texts:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(each or "" for each in value)


def _check_is_text(name: str, annotation: Annotation) -> None:
    kind = annotation.type
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner)
            or pa.types.is_null(inner)):  # fmt: skip
        raise ConfigError(
            f"annotation {name} must be texts to be encoded, got {kind}; name one of texts"
        )
