"""Encoded batches of open units, kept until the unit is committed: what a stop or a kill leaves.

A log is a set of immutable objects under ``open/``, each some batches of one unit, written
whole. A later run, another actor, or the one that joins the pieces of a unit takes them up
instead of encoding again; a batch goes into the tar and the statistics exactly as if it had
just been encoded, so bytes do not depend on what was taken up. What was written for another
encoding, plan, revision or by other software is never taken up. Names begin with ``.tmp.``:
readers do not see them, and ``gc`` removes what nobody came back for.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from latentcache.core.fingerprint import canonical_json, sha256_hex
from latentcache.core.rejects import Reject
from latentcache.core.seeds import new_write_id
from latentcache.storage import Folder
from latentcache.storage.objects import TEMPORARY_PREFIX

if TYPE_CHECKING:
    import torch

    from latentcache.runner.forward.encoded_rows import Rows

FLUSH_BYTES = 64 * 2**20
"""Held in memory at most, however rarely a log is written."""

_DIGEST_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBatch:
    """One batch after the encoder, with all that its rows leave in tar, meta and statistics.

    Attributes:
        index: In the unit.
        positions: Rows of the batch that are encoded, ascending.
        fields: Per stored field one row per position; a list where rows differ in shape.
        logvar: Posterior log-variance in float32, or None.
        rejects: By row of the shard.
        digests: Of the sources, by row of the shard.
    """

    index: int
    positions: tuple[int, ...]
    fields: "dict[str, Rows]"
    logvar: "Rows | None"
    rejects: dict[int, Reject] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Bytes of its tensors."""
        kept = [*self.fields.values(), *([] if self.logvar is None else [self.logvar])]
        tensors = [each for rows in kept for each in _tensors(rows)]
        return sum(each.numel() * each.element_size() for each in tensors)


class BatchLog:
    """The kept batches of one unit."""

    def __init__(
        self,
        folder: Folder,
        unit: str,
        identity: Mapping[str, Any],
        *,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; touches no storage.

        Args:
            folder: Where logs lie, of the encoding.
            unit: Name of the unit and revision.
            identity: What must be equal for a batch to be taken up, as plain values.
            every_s: At most so much of the unit's time is not kept.
            clock: For tests.
        """
        self._folder, self._unit, self._identity = folder, unit, canonical_json(dict(identity))
        self._every_s, self._clock = every_s, clock
        self._writer = new_write_id()
        self._open: list[KeptBatch] = []
        self._open_bytes = 0
        self._written_s = clock()
        self._names: set[str] = set()

    def kept(self) -> dict[int, KeptBatch]:
        """Return the batches that are there, by index; what is damaged or foreign is left out."""
        found: dict[int, KeptBatch] = {}
        prefix = f"{TEMPORARY_PREFIX}{self._unit}."
        for info in self._folder.list(with_temporary=True):
            if not info.name.startswith(prefix):
                continue
            try:
                data = self._folder.read(info.name)
            except FileNotFoundError:  # another run has committed the unit meanwhile
                continue
            self._names.add(info.name)
            found.update((batch.index, batch) for batch in _parsed(data, self._identity))
        return found

    def add(self, batch: KeptBatch) -> bool:
        """Keep a batch, at the latest with the next that comes after ``every_s``.

        Returns:
            Whether all that was added is safe now.
        """
        self._open.append(batch)
        self._open_bytes += batch.num_bytes
        is_due = self._clock() - self._written_s >= self._every_s
        if is_due or self._open_bytes >= FLUSH_BYTES:
            self.flush()
            return True
        return False

    def flush(self) -> None:
        """Write what is not written yet.

        Raises:
            StorageError: The disk is full, or cannot be written.
        """
        if self._open:
            name = f"{TEMPORARY_PREFIX}{self._unit}.{self._writer}.{self._open[0].index:06d}"
            self._folder.write(name, _packed(self._open, self._identity))
            self._names.add(name)
        self._open, self._open_bytes = [], 0
        self._written_s = self._clock()

    def forget(self) -> None:
        """Remove what the unit's commit has made useless."""
        self._folder.delete(sorted(self._names))
        self._names.clear()


def _packed(batches: list[KeptBatch], identity: str) -> bytes:
    """Return a line of JSON, the tensors' bytes, and the SHA-256 of both in hex."""
    payloads: list[bytes] = []
    described = []
    for batch in batches:
        tensors: dict[str, Rows] = dict(batch.fields)
        if batch.logvar is not None:
            tensors[""] = batch.logvar
        described.append(
            {
                "index": batch.index,
                "positions": batch.positions,
                "rejects": {str(row): asdict(each) for row, each in batch.rejects.items()},
                "digests": {str(row): each.hex() for row, each in batch.digests.items()},
                "fields": [
                    [
                        name,
                        isinstance(rows, list),
                        [_described(t, payloads) for t in _tensors(rows)],
                    ]
                    for name, rows in tensors.items()
                ],
            }
        )
    head = json.dumps({"identity": identity, "batches": described}).encode()
    data = b"\n".join((head, b"".join(payloads)))
    return data + sha256_hex(data).encode()


def _tensors(rows: "Rows") -> "list[torch.Tensor]":
    return rows if isinstance(rows, list) else [rows]


def _described(tensor: "torch.Tensor", payloads: list[bytes]) -> list[Any]:
    import torch  # noqa: PLC0415  the driver imports this module too

    payloads.append(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), len(payloads[-1])]


def _parsed(data: bytes, identity: str) -> Iterator[KeptBatch]:
    data, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if sha256_hex(data).encode() != digest:
        return
    head, _, payload = data.partition(b"\n")
    told = json.loads(head)
    if told["identity"] != identity:
        return
    start = 0
    for each in told["batches"]:
        tensors: dict[str, Rows] = {}
        for name, is_list, described in each["fields"]:
            rows = []
            for dtype, shape, size in described:
                rows.append(_tensor(payload[start : start + size], dtype, shape))
                start += size
            tensors[name] = rows if is_list else rows[0]
        yield KeptBatch(
            index=each["index"],
            positions=tuple(each["positions"]),
            logvar=tensors.pop("", None),
            fields=tensors,
            rejects={int(row): Reject(**values) for row, values in each["rejects"].items()},
            digests={int(row): bytes.fromhex(text) for row, text in each["digests"].items()},
        )


def _tensor(payload: bytes, dtype: str, shape: list[int]) -> "torch.Tensor":
    import torch  # noqa: PLC0415  see above

    flat = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    return flat.view(getattr(torch, dtype)).reshape(shape)
