"""Records of encodings, ``encodings/COLUMN/FINGERPRINT/encoding.json``: pinned, listed, read."""

from latentcache.core.errors import StoreError
from latentcache.storage import Folder
from latentcache.store.format import object_names
from latentcache.store.format.records import EncodingRecord


def write_encoding(folder: Folder, record: EncodingRecord) -> EncodingRecord:
    """Pin an encoding and return what is pinned: ``record``, or what was there before."""
    name = object_names.encoding_name(record.column, record.fingerprint)
    if folder.create_if_absent(name, record.to_bytes(), write_id=record.write_id):
        return record
    return _parsed(folder.read(name), record.column, record.fingerprint)


def list_encodings(folder: Folder, column: str) -> list[EncodingRecord]:
    """Return all encodings of a column, by fingerprint."""
    prefix = f"{object_names.ENCODINGS_FOLDER}/{object_names.checked_column(column)}"
    found = []
    for fingerprint in folder.list_folders(prefix):
        name = object_names.encoding_name(column, fingerprint)
        try:
            data = folder.read(name)
        except FileNotFoundError:  # dropped by gc, or not pinned yet
            continue
        found.append(_parsed(data, column, fingerprint))
    return found


def read_encoding(folder: Folder, column: str, fingerprint: str) -> EncodingRecord:
    """Return one encoding.

    Raises:
        StoreError: There is none, and those that exist are shown; or it is another one.
    """
    name = object_names.encoding_name(column, fingerprint)
    try:
        data = folder.read(name)
    except FileNotFoundError:
        known = [record.fingerprint for record in list_encodings(folder, column)]
        if known:
            raise StoreError(
                f"encoding must be one of {', '.join(known)}, got {fingerprint!r} (column "
                f"{column}); run latentcache encode"
            ) from None
        raise StoreError(
            f"column {column} must have its encoding's record, got no {name} in {folder.label}; "
            f"copy the store's {object_names.ENCODINGS_FOLDER}/ whole from where it came, or run "
            "latentcache encode"
        ) from None
    return _parsed(data, column, fingerprint)


def _parsed(data: bytes, column: str, fingerprint: str) -> EncodingRecord:
    """Return the encoding in ``data``, which must be the one that its folder is named after."""
    name = object_names.encoding_name(column, fingerprint)
    record = EncodingRecord.parse(data, where=name)
    if (record.column, record.fingerprint) != (column, fingerprint):
        raise StoreError(
            f"encoding must be {fingerprint} of {column} as its folder says, got "
            f"{record.fingerprint} of {record.column} ({name}); it was moved: put it back"
        )
    return record
