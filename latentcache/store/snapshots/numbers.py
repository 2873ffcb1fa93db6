"""Snapshots by number: which exist, the newest, and one that must be the one that was pinned."""

import re
from dataclasses import dataclass

from latentcache.core.errors import StoreError
from latentcache.storage import Folder
from latentcache.store.format.object_names import (
    SNAPSHOTS_FOLDER,
    parse_snapshot_name,
    snapshot_name,
)
from latentcache.store.format.records import SnapshotRecord

_PIN_PATTERN = re.compile(r"([0-9a-f]{16})/([1-9]\d*)@([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One snapshot of one store, for ever: what a training run writes down.

    Attributes:
        store_id: Of the store, wherever it lies now.
        number: Of the snapshot.
        digest: SHA-256 of the snapshot's record, which names everything below it.
    """

    store_id: str
    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.store_id}/{self.number}@{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "Pin":
        """Return the pin that ``str`` wrote.

        Raises:
            ValueError: ``text`` is not ``STORE/N@DIGEST``.
        """
        match = _PIN_PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"pin must be STORE/N@DIGEST, got {text!r}")
        return cls(store_id=match[1], number=int(match[2]), digest=match[3])


def pin_of(record: SnapshotRecord) -> Pin:
    """Return the pin of a snapshot."""
    return Pin(store_id=record.store_id, number=record.number, digest=record.digest)


def list_snapshots(folder: Folder) -> list[int]:
    """Return the numbers of the snapshots that exist, ascending."""
    numbers = (parse_snapshot_name(info.name) for info in folder.list(SNAPSHOTS_FOLDER))
    return sorted(number for number in numbers if number is not None)


def read_snapshot(folder: Folder, number: int) -> SnapshotRecord:
    """Return snapshot ``number``.

    Raises:
        StoreError: There is none, or its file is another snapshot's.
    """
    name = snapshot_name(number)
    try:
        return read_numbered(folder, name, number)
    except FileNotFoundError:
        existing = ", ".join(str(one) for one in list_snapshots(folder)) or "none yet"
        raise StoreError(
            f"snapshot must be one of the store's ({existing}), got {number} ({folder.label}); "
            f"open another"
        ) from None


def read_numbered(folder: Folder, name: str, number: int) -> SnapshotRecord:
    """Return the snapshot record ``name``, which must say that it is snapshot ``number``.

    Raises:
        FileNotFoundError: There is none.
        StoreError: It does not parse, or says another number.
    """
    record = SnapshotRecord.parse(folder.read(name), where=name)
    if record.number != number:
        raise StoreError(
            f"number of a snapshot must be {number} as its name says, got {record.number} "
            f"({name} in {folder.label}); it was renamed: give it its own name again, or delete it"
        )
    return record


def read_newest_snapshot(folder: Folder) -> SnapshotRecord | None:
    """Return the snapshot with the highest number, or None if there is none."""
    numbers = list_snapshots(folder)
    return read_snapshot(folder, numbers[-1]) if numbers else None


def read_pinned_snapshot(folder: Folder, pin: Pin) -> SnapshotRecord:
    """Return the snapshot that ``pin`` means.

    Raises:
        StoreError: The store has none of that number, or one that differs; both are shown.
    """
    record = read_snapshot(folder, pin.number)
    if pin_of(record) != pin:
        raise StoreError(
            f"snapshot must be {pin}, got {pin_of(record)} ({folder.label}); open the store that "
            f"the run was started with"
        )
    return record
