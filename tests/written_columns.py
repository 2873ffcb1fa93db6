"""Columns written row by row, as an encoder would have left them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from latentcache.core.fields import Field
from latentcache.core.fingerprint import fingerprint, sha256_hex
from latentcache.core.rejects import Reject
from latentcache.stats import merge_arrays, unit_statistics
from latentcache.store import ColumnChange, NamedText, Provenance, Store, UnitWriter
from latentcache.store.format import ObjectRef, as_tensor_bytes, named_text_name, write_tensors
from latentcache.testing.synthetic import SyntheticColumn

Fields = Mapping[str, np.ndarray]


def write_column(
    store: Store,
    name: str,
    fields: tuple[Field, ...],
    outcome_of: Callable[[int, int], Fields | Reject],
    *,
    rows_per_unit: int = 8,
    spec: Mapping[str, Any] | None = None,
    transform: Mapping[str, Any] | None = None,
    empty: Fields | None = None,
) -> None:
    """Write and publish a column whose row (shard, row) is ``outcome_of(shard, row)``."""
    record = SyntheticColumn(name=name, rows_per_unit=rows_per_unit).record()
    record = replace(
        record,
        fields=fields,
        fingerprint=fingerprint(name),
        spec={**record.spec, **(spec or {})},
        transform=dict(transform or record.transform),
        normalizer=None,
    )
    store.write_encoding(record)
    record = store.read_encoding(name, record.fingerprint)
    (generation,) = store.generations()
    for unit in store.units(record):
        provenance = Provenance(generation_digest=generation.digest, software={})
        keys = store.read_rows(unit, ["key"])["key"].to_pylist()
        statistics = unit_statistics(record, unit.bucket)
        with UnitWriter(store.folder, record, unit, provenance=provenance) as writer:
            for row, key in enumerate(keys, unit.first_row):
                sample = outcome_of(unit.unit.shard, row)
                if isinstance(sample, Reject):
                    writer.reject(row, sample)
                    continue
                writer.add(row, key, sample, bytes(16))
                statistics.add({each: value[None] for each, value in sample.items()})
            writer.finish(statistics.arrays())
    texts: tuple[NamedText, ...] = ()
    if empty is not None:
        data = write_tensors(as_tensor_bytes(dict(empty)))
        where = named_text_name(name, record.fingerprint, "empty", "cd" * 8)
        store.folder.write(where, data)
        ref = ObjectRef(name=where, size_bytes=len(data), sha256=sha256_hex(data))
        texts = (NamedText(name="empty", text="", fields=ref),)
    store.publish([ColumnChange(record=record, merge_statistics=merge_arrays, texts=texts)])
