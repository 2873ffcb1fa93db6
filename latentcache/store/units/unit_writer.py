"""Writing one unit: a tar streamed to scratch, a meta, and last the commit that makes them exist.

Nothing a reader looks at changes until the commit record is there, and the commit is
written only after what landed was compared with what was meant.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from latentcache.core.fingerprint import sha256_hex
from latentcache.core.rejects import Reject
from latentcache.core.seeds import new_write_id
from latentcache.core.units import UnitRange
from latentcache.storage import Folder
from latentcache.storage.storage_errors import write_failure
from latentcache.store.format.object_names import UnitObject, UnitObjectKind, unit_object_name
from latentcache.store.format.records import Commit, EncodingRecord, ObjectRef
from latentcache.store.format.tar import TarWriter
from latentcache.store.format.tensors import TensorSource, as_tensor_sources
from latentcache.store.format.unit_meta import (
    SOURCE_DIGEST_BYTES,
    FixedLayout,
    UnitMeta,
    meta_bytes,
)
from latentcache.store.format.write_check import STALE_AFTER_S, check_landed
from latentcache.store.units.scratch import ScratchLock, scratch_path

_BUFFER_BYTES = 2**20
_ABSENT, _PRESENT, _REJECTED = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a commit says about how its unit was made, beside the encoding.

    Attributes:
        generation_digest: Of the plan generation whose rows these are.
        software: Versions, device and threads, as plain values.
    """

    generation_digest: str
    software: Mapping[str, Any]


class _HashingFile:
    """A scratch file whose SHA-256 is known when its last byte is written."""

    def __init__(self, path: Path) -> None:
        self._folder = str(path.parent)
        self._hash = hashlib.sha256()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("xb", buffering=_BUFFER_BYTES)
        except OSError as error:
            raise write_failure(error, where=self._folder) from error

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        self._hash.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise write_failure(error, where=self._folder) from error

    def close(self) -> str:
        try:
            self._file.close()
        except OSError as error:
            raise write_failure(error, where=self._folder) from error
        return self._hash.hexdigest()


class UnitWriter:
    """Takes every row of a unit exactly once, as fields or as a reject, then commits.

    Rows are numbered as in the plan's shard. As a context manager it removes its scratch
    file on the way out, whatever happened.
    """

    def __init__(
        self,
        folder: Folder,
        record: EncodingRecord,
        unit: UnitRange,
        *,
        provenance: Provenance,
        rev: int = 0,
        scratch: Path | None = None,
    ) -> None:
        """Prepare to write; touches no storage before the first sample.

        Args:
            folder: The store.
            record: The encoding.
            unit: Which rows.
            provenance: Goes into the commit.
            rev: One more than that of the commit it shall replace.
            scratch: Folder for the growing tar; by default the root of a local store,
                where landing the tar costs a link, and else a temporary folder.
        """
        self._folder, self._record, self._unit, self._rev = folder, record, unit, rev
        self._provenance = provenance
        self._scratch_folder = scratch
        self._scratch: Path | None = None
        self._lock: ScratchLock | None = None
        self._file: _HashingFile | None = None
        self._tar: TarWriter | None = None
        self._state = np.zeros(unit.num_rows, np.uint8)
        self._reject_code = np.zeros(unit.num_rows, np.uint8)
        self._source_digest = np.zeros((unit.num_rows, SOURCE_DIGEST_BYTES), np.uint8)
        self._rejects: list[tuple[int, Reject]] = []
        self._last_added = -1
        self._dtypes = {field.name: field.dtype for field in record.fields}
        self._clock: Callable[[], float] = folder.policy.clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def add(
        self,
        row: int,
        key: str,
        fields: Mapping[str, np.ndarray[Any, Any] | TensorSource],
        source_digest: bytes,
    ) -> None:
        """Append one encoded sample; rows must ascend.

        Args:
            row: In the shard.
            key: 20 hex digits.
            fields: The encoding's stored fields, no more and no less.
            source_digest: 16 bytes that tell the encoded source bytes from others.

        Raises:
            ValueError: The fields are not those of the encoding.
        """
        tensors = as_tensor_sources(fields)
        dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        if dtypes != self._dtypes:
            raise ValueError(
                f"fields must be {self._dtypes}, got {dtypes} (row {row} of {self._unit.unit}); "
                f"the encoder does not keep to its own record"
            )
        # Only now: whoever catches the error above may still reject the row.
        index = self._take(row, _PRESENT)
        assert index > self._last_added, f"rows must ascend, got {row} too late"
        self._last_added = index
        self._set_digest(index, source_digest)
        self._open_tar().add(key, tensors)

    def reject(self, row: int, reject: Reject, source_digest: bytes = b"") -> None:
        """Note that a row has no sample, and why; in any order."""
        index = self._take(row, _REJECTED)
        self._reject_code[index] = reject.number
        self._rejects.append((row, reject))
        if source_digest:
            self._set_digest(index, source_digest)

    def finish(self, statistics: Mapping[str, np.ndarray[Any, Any]]) -> Commit:
        """Make the unit exist and return its commit.

        Args:
            statistics: Arrays for the meta, by name.

        Raises:
            StorageError: The store cannot be written.
            ShardCorruptError: What landed differs from what was sent.
        """
        missing = np.flatnonzero(self._state == _ABSENT)
        assert not len(missing), f"every row must be added or rejected, got {len(missing)} neither"
        meta = meta_bytes(self._meta(statistics))
        tar_digest = self._close_tar()
        while True:
            started = self._clock()
            written = UnitObject(self._unit.unit, self._rev, new_write_id())
            tar = self._land_tar(written, tar_digest) if tar_digest else None
            meta_ref = self._land_meta(written, meta)
            if self._clock() - started < STALE_AFTER_S:
                break
        commit = self._commit(written, tar, meta_ref)
        self._folder.write(self._name("commits", written), commit.to_bytes())
        self.abort()
        return commit

    def abort(self) -> None:
        """Forget the unit and remove the scratch file; what landed already is gc's."""
        # A full disk fails once more when the file is closed; the error is known already.
        with suppress(OSError):
            self._close_tar_file()
        if self._scratch is not None:
            self._scratch.unlink(missing_ok=True)
            self._scratch = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take(self, row: int, state: int) -> int:
        index = row - self._unit.first_row
        assert 0 <= index < self._unit.num_rows, f"row {row} is not one of {self._unit}"
        assert self._state[index] == _ABSENT, f"row {row} of {self._unit.unit} came twice"
        self._state[index] = state
        return index

    def _set_digest(self, index: int, digest: bytes) -> None:
        if len(digest) != SOURCE_DIGEST_BYTES:
            raise ValueError(f"source_digest must be 16 bytes, got {len(digest)}")
        self._source_digest[index] = np.frombuffer(digest, np.uint8)

    def _open_tar(self) -> TarWriter:
        if self._tar is None:
            self._scratch = scratch_path(self.scratch_folder, str(self._unit.unit))
            self._file = _HashingFile(self._scratch)
            self._lock = ScratchLock(self._scratch)
            self._tar = TarWriter(self._file, column=self._record.column)
        return self._tar

    @property
    def scratch_folder(self) -> Path:
        """Where the tar grows; there is room for its parts too."""
        # The root of a local store exists already and is on the tar's own file system.
        return self._scratch_folder or self._folder.local_path() or Path(tempfile.gettempdir())

    def _close_tar(self) -> str:
        """Return the SHA-256 of the finished tar, or "" if no row is present."""
        if self._tar is None or self._file is None:
            return ""
        self._tar.finish()
        return self._close_tar_file()

    def _close_tar_file(self) -> str:
        file, self._file = self._file, None
        return file.close() if file else ""

    def _meta(self, statistics: Mapping[str, np.ndarray[Any, Any]]) -> UnitMeta:
        tar, layout, offsets = self._tar, None, None
        if tar is not None and tar.is_fixed and tar.layout is not None:
            layout = FixedLayout(
                first_payload=tar.layout.first_payload,
                stride=tar.layout.stride,
                payload_bytes=tar.layout.payload_bytes,
            )
        elif tar is not None:
            offsets = np.array(tar.offsets, np.int64)
        return UnitMeta(
            first_row=self._unit.first_row,
            present=self._state == _PRESENT,
            reject_code=self._reject_code,
            source_digest=self._source_digest,
            rejects=self._rejects,
            layout=layout,
            offsets=offsets,
            statistics=statistics,
        )

    def _land_tar(self, written: UnitObject, sha256: str) -> ObjectRef:
        assert self._scratch is not None
        size_bytes = self._scratch.stat().st_size
        ref = ObjectRef(name=self._name("shards", written), size_bytes=size_bytes, sha256=sha256)
        self._folder.upload(ref.name, self._scratch)
        check_landed(self._folder, ref, sent=self._scratch)
        return ref

    def _land_meta(self, written: UnitObject, data: bytes) -> ObjectRef:
        name = self._name("meta", written)
        ref = ObjectRef(name=name, size_bytes=len(data), sha256=sha256_hex(data))
        self._folder.write(name, data)
        check_landed(self._folder, ref)
        return ref

    def _name(self, kind: UnitObjectKind, written: UnitObject) -> str:
        return unit_object_name(self._record.column, self._record.fingerprint, kind, written)

    def _commit(self, written: UnitObject, tar: ObjectRef | None, meta: ObjectRef) -> Commit:
        num_present = int((self._state == _PRESENT).sum())
        return Commit(
            write_id=written.write_id,
            unit=str(written.unit),
            rev=written.rev,
            column=self._record.column,
            fingerprint=self._record.fingerprint,
            encoding_digest=self._record.digest,
            generation=self._unit.generation,
            generation_digest=self._provenance.generation_digest,
            num_rows=self._unit.num_rows,
            num_present=num_present,
            num_rejected=self._unit.num_rows - num_present,
            tar=tar,
            meta=meta,
            software=dict(self._provenance.software),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
