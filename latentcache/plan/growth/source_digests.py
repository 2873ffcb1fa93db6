"""Whether a file still holds the bytes that were encoded: digests decide, times only nominate."""

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import MediaError
from latentcache.core.media import SourceRef
from latentcache.plan.open_samples import open_source
from latentcache.storage import Folder
from latentcache.store import ColumnView, Store, UnitEntry
from latentcache.store.format import SOURCE_DIGEST_BYTES, read_meta

_OF_PIXELS = ("image", "video")
_OTHER_INPUTS = ("role:", "text:")


class SourceDigests:
    """Digests of the bytes that the columns of the newest snapshot were made of, by row."""

    def __init__(self, store: Store) -> None:
        """Open the newest snapshot; metas are read as rows are asked for."""
        self._store = store
        self._units: dict[int, list[UnitEntry]] = {}
        self._read: dict[str, npt.NDArray[np.uint8]] = {}
        columns = store.snapshot().columns.values() if store.snapshots() else ()
        for view in columns:
            if _is_of_pixels(view):
                for entry in view.units():
                    self._units.setdefault(entry.unit.unit.shard, []).append(entry)

    def of_row(self, shard: int, row: int) -> bytes | None:
        """Return the digest that was recorded for a row, None if no column has it."""
        for entry in self._units.get(shard, ()):
            unit = entry.unit
            if unit.first_row <= row < unit.first_row + unit.num_rows:
                digest: bytes = self._of_unit(entry)[row - unit.first_row].tobytes()
                if any(digest):
                    return digest
        return None

    def _of_unit(self, entry: UnitEntry) -> npt.NDArray[np.uint8]:
        name, unit = entry.meta.name, entry.unit
        if name not in self._read:
            data = self._store.folder.read(name)
            meta = read_meta(data, first_row=unit.first_row, num_rows=unit.num_rows, where=name)
            digests = np.asarray(meta.source_digest, np.uint8)
            self._read[name] = digests.reshape(-1, SOURCE_DIGEST_BYTES)
        return self._read[name]


def digest_now(root: Folder, source: SourceRef) -> bytes | None:
    """Return the digest of a file as it is now, None if it cannot be read."""
    try:
        with open_source(root, source) as (_, _, digest):
            return digest
    except MediaError:
        return None


def _is_of_pixels(view: ColumnView) -> bool:
    asked = str(view.record.transform.get("input", ""))
    is_other = asked.startswith(_OTHER_INPUTS)
    return view.record.spec.get("modality") in _OF_PIXELS and not is_other
