"""The table of a codebook, kept beside the indices that name its vectors.

An encoding of indices names its codebook in ``spec``: entries, length of a vector, SHA-256 of the
table. The table itself may lie in the encoding's folder, one object of one name: whoever does not
know of it misses nothing, and whoever reads it holds it against that SHA-256.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from latentcache.core.errors import ShardCorruptError
from latentcache.core.fingerprint import sha256_hex
from latentcache.storage import Folder
from latentcache.store.format.object_names import codebook_name
from latentcache.store.format.records import EncodingRecord, ObjectRef
from latentcache.store.format.tensor_file import read_tensors, write_tensors
from latentcache.store.format.tensors import as_tensor_bytes

TENSOR = "codebook"

Array = np.ndarray[Any, Any]


def codebook_bytes(record: EncodingRecord) -> int:
    """Return the bytes of the table that an encoding's indices name; 0 where there is none."""
    told = _told(record)
    return int(told["size"]) * int(told["dim"]) * 4 if told.get("digest") else 0


def has_codebook(folder: Folder, record: EncodingRecord) -> bool:
    """Return whether the store holds the table of an encoding's codebook."""
    name = codebook_name(record.column, record.fingerprint)
    return bool(codebook_bytes(record)) and folder.stat(name) is not None


def write_codebook(folder: Folder, record: EncodingRecord, table: Array) -> None:
    """Put the table of an encoding's codebook beside its indices.

    Args:
        folder: The store.
        record: The encoding.
        table: float32 [K, D], in the order of the indices.

    Raises:
        ShardCorruptError: It is not the table that the record names.
    """
    data = write_tensors(as_tensor_bytes({TENSOR: np.ascontiguousarray(table, np.float32)}))
    _checked(data, record, where="what the encoder has")
    folder.write(codebook_name(record.column, record.fingerprint), data)


def read_codebook(folder: Folder, record: EncodingRecord) -> Array | None:
    """Return the table of an encoding's codebook, float32 [K, D]; None where none is kept.

    Raises:
        ShardCorruptError: It is not the table that the record names.
    """
    if not codebook_bytes(record):
        return None
    name = codebook_name(record.column, record.fingerprint)
    try:
        data = folder.read(name)
    except FileNotFoundError:
        return None
    return _checked(data, record, where=f"{name} in {folder.label}")


def codebook_ref(folder: Folder, record: EncodingRecord) -> ObjectRef | None:
    """Return the object of an encoding's table, read and checked; None where none is kept.

    Raises:
        ShardCorruptError: It is not the table that the record names.
    """
    table = read_codebook(folder, record)
    if table is None:
        return None
    data = write_tensors(as_tensor_bytes({TENSOR: table}))
    name = codebook_name(record.column, record.fingerprint)
    return ObjectRef(name=name, size_bytes=len(data), sha256=sha256_hex(data))


def _told(record: EncodingRecord) -> Mapping[str, Any]:
    """Return what the record says of its codebook; nothing where that is no codebook."""
    told = record.spec.get("codebook")
    if not isinstance(told, Mapping):
        return {}
    kinds = (("size", int), ("dim", int), ("digest", str))
    return told if all(isinstance(told.get(name), kind) for name, kind in kinds) else {}


def _checked(data: bytes, record: EncodingRecord, *, where: str) -> Array:
    told = _told(record)
    shape, found = (told.get("size"), told.get("dim")), read_tensors(data, where=where).get(TENSOR)
    digest = "" if found is None else sha256_hex(found.data)
    if found is None or found.shape != shape or digest != told.get("digest"):
        raise ShardCorruptError(
            f"codebook must be the {shape[0]} x {shape[1]} vectors that encoding "
            f"{record.fingerprint[:12]} names (SHA-256 {str(told.get('digest'))[:16]}), got "
            f"{digest[:16] or 'none'} ({where}); delete it, and run the same latentcache "
            "encode again to have it written anew"
        )
    return np.frombuffer(found.data, np.float32).reshape(found.shape)
