"""The second pass of an import: latents loaded, checked and committed, unit by unit."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from latentcache.core.errors import MediaError, first_line
from latentcache.core.rejects import Reject, RejectCode
from latentcache.core.units import UnitRange
from latentcache.exchange.copying import Progress
from latentcache.exchange.imported_encoding import ImportRequest
from latentcache.exchange.imported_rows import ByRow
from latentcache.exchange.layouts.foreign import ForeignSample
from latentcache.exchange.layouts.known_layouts import LAYOUTS
from latentcache.exchange.side_by_side import LEAST_ITEMS, side_by_side
from latentcache.stats import count_stored
from latentcache.storage import map_ahead
from latentcache.store import EncodingRecord, Provenance, Store, TensorBytes, UnitWriter

_NUM_CHECKED = 64


class UnitImport:
    """The second pass: loads and commits what is not there yet."""

    def __init__(
        self,
        store: Store,
        record: EncodingRecord,
        by_row: ByRow,
    ) -> None:
        self._store, self._record, self._by_row = store, record, by_row
        self._digests = {each.number: each.digest for each in store.generations()}

    def run(self, on_progress: Progress) -> int:
        """Commit every unit that is not there and return the rows of all."""
        committed = self._store.commits(self._record)
        units = self._store.units(self._record)
        total = sum(unit.num_rows for unit in units)
        missing = [unit for unit in units if unit.unit not in committed]
        rest = sum(unit.num_rows for unit in missing)
        done = total - rest
        on_progress(done, total)
        written = side_by_side(
            lambda number: self._write(missing[number]),
            len(missing),
            is_worth_it=rest >= LEAST_ITEMS,
        )
        for unit, _ in zip(missing, written, strict=True):
            done += unit.num_rows
            on_progress(done, total)
        return total

    def _write(self, unit: UnitRange) -> None:
        record = self._record
        provenance = Provenance(generation_digest=self._digests[unit.generation], software={})
        keys: list[Any] = self._store.read_rows(unit, ["key"])["key"].to_pylist()

        def written() -> Iterator[Mapping[str, TensorBytes]]:
            for row, found in enumerate(map_ahead(_loaded, self._by_row(unit))):
                if isinstance(found, Reject):
                    writer.reject(unit.first_row + row, found)
                    continue
                fields = _stored(found, record)
                writer.add(unit.first_row + row, keys[row], fields, bytes(16))
                yield fields

        with UnitWriter(self._store.folder, record, unit, provenance=provenance) as writer:
            writer.finish(count_stored(record, unit.bucket, written()))


def first_statistics(
    record: EncodingRecord, request: ImportRequest, samples: Sequence[ForeignSample]
) -> Mapping[str, Any]:
    """Return statistics over some samples of the first bucket."""
    alike = (each for each in samples if each.shape == samples[0].shape)
    loaded = map_ahead(_loaded, islice(alike, _NUM_CHECKED))
    fields = (_stored(each, record) for each in loaded if not isinstance(each, Reject))
    return count_stored(record, request.bucket(samples[0]), fields)


def _loaded(sample: ForeignSample | Reject) -> torch.Tensor | Reject:
    if isinstance(sample, Reject):
        return sample
    try:
        found = sample.load()
    except MediaError as error:
        return Reject(code=error.code, stage="decode", reason=first_line(error))
    if tuple(found.shape) != sample.shape or found.dtype != sample.dtype:
        return Reject(code=RejectCode.CHANGED.word, stage="decode", reason="it was replaced")
    if not bool(torch.isfinite(found).all()):
        return Reject(
            code=RejectCode.NON_FINITE.word, stage="encode", reason="it holds NaN or infinity"
        )
    return found


def _stored(latents: torch.Tensor, record: EncodingRecord) -> dict[str, TensorBytes]:
    """Return a foreign tensor as our fields: of moments the mean and the log of the variance."""
    if len(record.fields) == 1:
        return {record.fields[0].name: _tensor_bytes(latents)}
    mean, spread = latents.chunk(2)
    if LAYOUTS[record.identity["imported"]["layout"]].tells_logvar:
        return {"mean": _tensor_bytes(mean), "logvar": _tensor_bytes(spread)}
    logvar = 2 * torch.log(spread.double().clamp_min(1e-15)).to(latents.dtype)
    return {"mean": _tensor_bytes(mean), "logvar": _tensor_bytes(logvar)}


def _tensor_bytes(tensor: torch.Tensor) -> TensorBytes:
    dtype = str(tensor.dtype).removeprefix("torch.")
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return TensorBytes(dtype, tuple(tensor.shape), data)
