"""One unit of texts on one actor: each distinct text through the encoder once, rows in order.

Which texts share a batch follows from the unit's texts alone, in the order in which rows have them,
and a batch always has its pinned shape.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from latentcache.core.rejects import RETIRED_ROW, Reject
from latentcache.runner.forward.encoded_rows import EncodedBatch
from latentcache.runner.forward.stored_batch import float32_of, row_payloads
from latentcache.runner.kept.batch_log import KeptBatch
from latentcache.runner.messages.stage_times import WRITE
from latentcache.runner.messages.unit_orders import (
    DEATHS_ALONE,
    KILLS_ITS_ENCODER,
    UnitOrder,
    UnitOutcome,
)
from latentcache.runner.text.kept_rows import KeptRows
from latentcache.runner.text.text_batch import TextBatch
from latentcache.runner.text.text_source import Texts, read_texts, text_digest
from latentcache.runner.units.unit_tools import UnitTally, UnitTools
from latentcache.store import Generation, UnitWriter

_BATCHES_AHEAD = 2

_ROWS_MEASURED = 64
"""Rows that go into the statistics together: row by row they would cost more than their tokens."""

Fields = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Group:
    """Texts that are encoded together."""

    index: int
    texts: tuple[str, ...]


class TextRun:
    """Encodes and commits one unit of texts."""

    def __init__(
        self, order: UnitOrder, table: pa.Table, generation: Generation, tools: UnitTools
    ) -> None:
        """Read the unit's texts.

        Args:
            order: Which unit, of which texts, and what happened to it before.
            table: The unit's plan rows.
            generation: The unit's.
            tools: Of the actor.
        """
        self._order, self._tools, self._record = order, tools, tools.record
        self._planned: list[dict[str, Any]] = table.select(["row", "key"]).to_pylist()
        texts = read_texts(tools.store, generation, order.annotation, order.unit)
        # Nothing of a row that is live no more goes through the tower.
        self._texts = [
            () if planned["row"] in order.retired else each
            for planned, each in zip(self._planned, texts, strict=True)
        ]
        self._size = tools.record.batch_size(order.unit.bucket)
        self._old = KeptRows(tools.store, tools.record, order, self._texts)
        self._statistics = tools.statistics(order.unit.bucket)
        self._tally = UnitTally(tools, order)
        self._log = tools.log(order)
        self._results: dict[str, Fields | Reject] = {}
        self._measured: list[Fields] = []
        self._num_users = Counter(
            text for row, texts in self._rows() if row not in self._old.rows for text in texts
        )
        self._num_done = self._num_cut = 0
        self._cut: set[str] = set()

    def run(self) -> UnitOutcome:
        """Return the outcome once the unit is committed, or the piece that was asked for kept.

        Raises:
            UnitCancelledError: The run was stopped; nothing was committed, what was encoded
                is kept.
            EncoderOutOfMemoryError: The device has no room for the pinned batch.
        """
        kept = self._log.kept()
        groups = self._groups()
        first, last = self._order.batches or (0, len(groups))
        waiting: deque[tuple[_Group, Future[EncodedBatch]]] = deque()
        try:
            with self._tools.writer(self._order) as writer:
                for group in groups[first:last]:
                    if group.index in kept:
                        self._take(group, kept[group.index], writer)
                        continue
                    waiting.append((group, self._submit(group)))
                    if len(waiting) > _BATCHES_AHEAD:
                        self._receive(*waiting.popleft(), writer)
                while waiting:
                    self._receive(*waiting.popleft(), writer)
                self._tools.check_cancelled()
                return self._finished(writer)
        finally:
            self._log.flush()
            self._tally.close()

    def _finished(self, writer: UnitWriter) -> UnitOutcome:
        if self._order.batches is not None:
            self._log.flush()
            return self._tally.outcome(is_committed=False)
        self._write_ready(writer)
        assert self._num_done == len(self._planned), "every text was encoded or rejected"
        self._measure()
        outcome = self._tally.committed(writer, self._statistics, num_cut=self._num_cut)
        if outcome.is_committed:
            self._log.forget()
        return outcome

    def _rows(self) -> Iterator[tuple[int, Texts]]:
        for planned, texts in zip(self._planned, self._texts, strict=True):
            yield planned["row"], texts

    def _groups(self) -> list[_Group]:
        """Return the batches: distinct texts of one padded length, in the order they come in."""
        texts = list(self._num_users)
        encoder: Any = self._tools.encoder.encoder
        tokens = self._tools.wait(
            self._tools.encoder.call(lambda: encoder.tokens(texts), where="tokens")
        )
        self._cut = {text for text, each in zip(texts, tokens, strict=True) if each.num_cut}
        found: list[_Group] = []
        open_: dict[int, list[str]] = {}
        for text, each in zip(texts, tokens, strict=True):
            filling = open_.setdefault(encoder.padded_length(max(1, len(each.ids))), [])
            filling.append(text)
            if len(filling) == self._size:
                found.append(_Group(len(found), tuple(filling)))
                filling.clear()
        for _, left in sorted(open_.items()):
            if left:
                found.append(_Group(len(found), tuple(left)))
        return found

    def _submit(self, group: _Group) -> "Future[EncodedBatch]":
        tools, order = self._tools, self._order
        batch, place = TextBatch.of(group.texts, self._size), f"batch:{group.index}"
        if not order.is_careful:
            return tools.encoder.submit(batch)
        if not order.deaths.get(place, 0):
            return tools.encoder.submit(batch, note=tools.noting(order.unit, place))
        return self._one_by_one(group, batch)

    def _one_by_one(self, group: _Group, batch: TextBatch) -> "Future[EncodedBatch]":
        """Encode a batch that killed an actor text by text, each noted before it runs."""
        tools, order = self._tools, self._order
        rows, positions, rejects = [], [], {}
        for position in range(len(group.texts)):
            place = f"text:{group.index}.{position}"
            if order.deaths.get(place, 0) >= DEATHS_ALONE:
                rejects[position] = KILLS_ITS_ENCODER
                continue
            note = tools.noting(order.unit, place)
            alone = tools.wait(tools.encoder.submit_alone(batch, position, note=note))
            rejects.update(alone.rejects)
            if alone.positions:
                positions.append(position)
                rows.append({name: values[0] for name, values in alone.fields.items()})
        joined: Future[EncodedBatch] = Future()
        joined.set_result(
            EncodedBatch(
                positions=tuple(positions),
                fields={name: [row[name] for row in rows] for name in rows[0]} if rows else {},
                logvar=None,
                rejects=rejects,
            )
        )
        return joined

    def _receive(self, group: _Group, future: "Future[EncodedBatch]", writer: UnitWriter) -> None:
        encoded = self._tools.wait(future)
        with self._tools.stages.during(WRITE):
            self._keep(group, encoded, writer)

    def _keep(self, group: _Group, encoded: EncodedBatch, writer: UnitWriter) -> None:
        kept = KeptBatch(
            index=group.index,
            positions=encoded.positions,
            fields=encoded.fields,
            logvar=None,
            rejects=encoded.rejects,
        )
        is_safe = self._log.add(kept)
        if self._order.batches is not None:
            self._tally.encoded(len(group.texts))
        self._tally.worked(sum(self._num_users[text] for text in group.texts))
        self._take(group, kept, writer)
        if is_safe:
            self._tally.keep()

    def _take(self, group: _Group, kept: KeptBatch, writer: UnitWriter) -> None:
        """Hold what a batch gave, and write the rows that have all their texts now."""
        if self._order.batches is not None:
            return
        for index, position in enumerate(kept.positions):
            row = {name: values[index] for name, values in kept.fields.items()}
            self._results[group.texts[position]] = row
        for position, reject in kept.rejects.items():
            self._results[group.texts[position]] = reject
        self._write_ready(writer)

    def _write_ready(self, writer: UnitWriter) -> None:
        while self._num_done < len(self._planned):
            planned, texts = self._planned[self._num_done], self._texts[self._num_done]
            row, digest = planned["row"], text_digest(texts)
            if row in self._order.retired:
                writer.reject(row, RETIRED_ROW)
                self._tally.rejected(RETIRED_ROW)
            elif row in self._old.rows:
                self._write(writer, planned, self._old.read(row), digest)
            elif all(text in self._results for text in texts):
                found = [self._results[text] for text in texts]
                reject = next((each for each in found if isinstance(each, Reject)), None)
                if reject is not None:
                    writer.reject(row, reject, source_digest=digest)
                    self._tally.rejected(reject)
                else:
                    joined = self._joined([each for each in found if not isinstance(each, Reject)])
                    self._write(writer, planned, joined, digest)
                self._num_cut += any(text in self._cut for text in texts)
                self._let_go(texts)
            else:
                return
            self._num_done += 1

    def _write(
        self, writer: UnitWriter, planned: Mapping[str, Any], fields: Fields, digest: bytes
    ) -> None:
        payloads = {name: row_payloads(values[None])[0] for name, values in fields.items()}
        writer.add(planned["row"], planned["key"], payloads, source_digest=digest)
        self._measured.append(fields)
        if len(self._measured) == _ROWS_MEASURED:
            self._measure()
        self._tally.encoded(1)

    def _measure(self) -> None:
        """Add rows to the statistics, joined: their first axis is no channel's."""
        rows = [row for row in self._measured if len(row["lengths"])]  # the others hold nothing
        self._measured.clear()
        if rows:
            joined = {name: torch.cat([row[name] for row in rows])[None] for name in rows[0]}
            stored = {name: float32_of(values) for name, values in joined.items()}
            self._statistics.add(stored, num_samples=len(rows))

    def _joined(self, found: list[Fields]) -> Fields:
        """Return a sample's fields: its texts one after the other; none leave fields of size 0."""
        if not found:
            return {
                field.name: torch.empty(
                    [field.channels or 0 if axis == "C" else 0 for axis in field.axes],
                    dtype=getattr(torch, field.dtype),
                )
                for field in self._record.fields
            }
        return {name: torch.cat([each[name] for each in found]) for name in found[0]}

    def _let_go(self, texts: Texts) -> None:
        for text in texts:
            self._num_users[text] -= 1
            if not self._num_users[text]:
                del self._results[text]
