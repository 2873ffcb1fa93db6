"""Rows of a unit that stay as they are when it is written again: their texts are the same."""

from collections.abc import Iterator, Sequence

import torch

from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.runner.text.text_source import Texts, text_digest
from latentcache.storage import Folder
from latentcache.store import EncodingRecord, TensorBytes
from latentcache.store.format import as_tensor_bytes
from latentcache.store.units import (
    UnitSample,
    commit_entry,
    iter_unit,
    read_commit,
    read_unit_meta,
)


class KeptRows:
    """Reads what a revision of a unit takes over from the one before, row by row.

    Attributes:
        rows: In the shard.
    """

    def __init__(
        self, store: Folder, record: EncodingRecord, order: UnitOrder, texts: Sequence[Texts]
    ) -> None:
        """Find which rows were encoded of the texts that they have now.

        Args:
            store: The store.
            record: The encoding.
            order: Names the commit to take over from, or none.
            texts: Of the unit's rows, now.
        """
        self.rows: frozenset[int] = frozenset()
        self._samples: Iterator[UnitSample] = iter(())
        if order.previous is None:
            return
        entry = commit_entry(read_commit(store, order.previous), order.unit)
        meta = read_unit_meta(store, entry)
        self.rows = frozenset(
            meta.first_row + index
            for index, row_texts in enumerate(texts)
            if meta.present[index] and meta.source_digest[index].tobytes() == text_digest(row_texts)
        )
        self._samples = iter_unit(store, entry, column=record.column)

    def read(self, row: int) -> dict[str, torch.Tensor]:
        """Return the stored fields of a row; rows must ascend."""
        sample = next(each for each in self._samples if each.row == row)
        fields = {
            name: value if isinstance(value, TensorBytes) else as_tensor_bytes({name: value})[name]
            for name, value in sample.fields.items()
        }
        return {name: _tensor(value) for name, value in fields.items()}


def _tensor(value: TensorBytes) -> torch.Tensor:
    dtype = getattr(torch, value.dtype)
    if not len(value.data):
        return torch.empty(value.shape, dtype=dtype)
    return (
        torch.frombuffer(bytearray(value.data), dtype=torch.uint8).view(dtype).reshape(value.shape)
    )
