"""What a run of a column of texts has beside one of pixels: revisions, and texts encoded once."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from latentcache.core.counts import count_text
from latentcache.core.fingerprint import sha256_hex
from latentcache.core.seeds import new_write_id
from latentcache.core.units import UnitId
from latentcache.runner.encode.actor_pool import ActorPool
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.runner.run_progress import Reporter
from latentcache.runner.text.text_source import TextSource, stale_rows
from latentcache.store import EncodingRecord, NamedText, Store
from latentcache.store.format import ObjectRef, named_text_name

EMPTY, NEGATIVE = "empty", "negative"


class TextColumn:
    """One run of a column of texts, seen from the driver.

    Attributes:
        source: The texts, as they were when the run began.
    """

    def __init__(self, store: Store, request: EncodeRequest, source: TextSource) -> None:
        """Keep the parts.

        Args:
            store: Where the column goes.
            request: What is asked.
            source: The texts.
        """
        self._store, self._request, self.source = store, request, source

    @classmethod
    def of(cls, store: Store, request: EncodeRequest) -> "TextColumn | None":
        """Return the run of a request, None if it is one of pixels.

        Raises:
            ConfigError: There is no such annotation, or it holds no texts.
        """
        source = TextSource.newest(store, request.encode.input)
        return None if source is None else cls(store, request, source)

    def stale_units(self, record: EncodingRecord, reporter: Reporter) -> frozenset[UnitId]:
        """Return the units that hold rows of other texts than there are now, and say so."""
        stale = stale_rows(self._store, record, self.source)
        if stale:
            num_rows = sum(map(len, stale.values()))
            reporter.message(
                f"{record.column}: {count_text(num_rows, 'sample')} "
                f"{'has' if num_rows == 1 else 'have'} another {self.source.name} than was "
                f"encoded and will be encoded again, the rest of "
                f"{count_text(len(stale), 'unit')} is kept"
            )
        return frozenset(stale)

    def placed(
        self,
        record: EncodingRecord,
        orders: Sequence[UnitOrder],
        stale: Collection[UnitId] = (),
    ) -> list[UnitOrder]:
        """Return orders with the texts of each unit, and what it may take over."""
        committed = self._store.commits(record) if stale else {}
        return [
            replace(
                order,
                annotation=self.source.file_of(order.unit),
                previous=committed.get(order.unit.unit) if order.unit.unit in stale else None,
                min_present=0 if order.unit.unit in stale else order.min_present,
            )
            for order in orders
        ]

    def note_end(self, record: EncodingRecord, num_cut: int, reporter: Reporter) -> None:
        """Say what was cut off, and whether the texts were revised while they were encoded.

        Args:
            record: The encoding.
            num_cut: Samples with a text that is longer than the encoder takes.
            reporter: Is told.
        """
        if num_cut:
            reporter.message(
                f"{record.column}: {num_cut:,} samples have a text longer than "
                f"{record.spec['knobs'].get('max_length')} tokens, and what comes after is left "
                "out; give the encoder ?max_length=N for more"
            )
        now = TextSource.newest(self._store, self._request.encode.input)
        if now is None or now == self.source:
            return
        num_rows = sum(map(len, stale_rows(self._store, record, now).values()))
        if num_rows:
            reporter.message(
                f"{record.column}: {self.source.name} was revised meanwhile, {num_rows:,} samples "
                "were encoded as it was when the run began; run it again to encode these anew"
            )

    def named_texts(self, record: EncodingRecord, pool: ActorPool) -> tuple[NamedText, ...]:
        """Return the texts that are encoded once: those that are there, and those asked for."""
        view = (
            self._store.snapshot().columns.get(record.column) if self._store.snapshots() else None
        )
        there: dict[str, NamedText] = {}
        if view is not None and view.entry.encoding_digest == record.digest:
            there = {text.name: text for text in view.entry.texts}
        asked = {EMPTY: ""}
        if self._request.negative:
            asked[NEGATIVE] = self._request.negative
        lacking = [
            name for name, text in asked.items() if name not in there or there[name].text != text
        ]
        if lacking:
            pool.begin(record)
            found = pool.encode_texts(record.column, tuple(asked[name] for name in lacking))
            for name, data in zip(lacking, found, strict=True):
                there[name] = self._written(record, name, asked[name], data)
        return tuple(there[name] for name in sorted(there))

    def _written(self, record: EncodingRecord, name: str, text: str, data: bytes) -> NamedText:
        where = named_text_name(record.column, record.fingerprint, name, new_write_id())
        self._store.folder.write(where, data)
        ref = ObjectRef(name=where, size_bytes=len(data), sha256=sha256_hex(data))
        return NamedText(name=name, text=text, fields=ref)
