"""What a run of a column of a role has beside one of pixels: which revision it is of."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from latentcache.core.counts import count_text
from latentcache.core.roles import role_of_annotation
from latentcache.core.units import UnitId
from latentcache.runner.encode.text_columns import TextColumn
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.runner.roles.role_table import RoleTable, stale_rows
from latentcache.runner.run_progress import Reporter
from latentcache.store import EncodingRecord, NamedText, Store


class RoleColumn:
    """One run of a column of a role, seen from the driver.

    Attributes:
        table: Where the media lie, as it was when the run began.
    """

    def __init__(self, store: Store, request: EncodeRequest, table: RoleTable) -> None:
        """Keep the parts.

        Args:
            store: Where the column goes.
            request: What is asked.
            table: Where the media lie.
        """
        self._store, self._request, self.table = store, request, table

    def stale_units(self, record: EncodingRecord, reporter: Reporter) -> frozenset[UnitId]:
        """Return the units that hold rows of other media than there are now, and say so."""
        corpus_url = self._request.corpus_url or self._store.generations()[-1].corpus_url
        stale = stale_rows(self._store, record, self.table, corpus_url)
        if stale:
            num_rows = sum(map(len, stale.values()))
            role = role_of_annotation(self.table.name)
            reporter.message(
                f"{record.column}: {count_text(num_rows, 'sample')} "
                f"{'has' if num_rows == 1 else 'have'} another {role} than was encoded; "
                f"{count_text(len(stale), 'unit')} to be encoded again"
            )
        return frozenset(stale)

    def placed(
        self,
        _: EncodingRecord,
        orders: Sequence[UnitOrder],
        stale: Collection[UnitId] = (),
    ) -> list[UnitOrder]:
        """Return orders with the table of each unit's media."""
        return [
            replace(
                order,
                annotation=self.table.file_of(order.unit),
                min_present=0 if order.unit.unit in stale else order.min_present,
            )
            for order in orders
        ]

    def note_end(self, record: EncodingRecord, _: int, reporter: Reporter) -> None:
        """Say it where the media were revised while they were encoded."""
        now = RoleTable.newest(self._store, self._request.encode.input)
        if now is not None and now != self.table:
            role = role_of_annotation(self.table.name)
            reporter.message(
                f"{record.column}: where media of {role} lie was revised meanwhile; run it again "
                "to encode what is new"
            )

    def named_texts(self, *_: object) -> tuple[NamedText, ...]:
        """Return none: nothing is encoded once for all samples."""
        return ()


def side_column(store: Store, request: EncodeRequest) -> TextColumn | RoleColumn | None:
    """Return the run of a request, None if it is one of the samples' own media.

    Raises:
        ConfigError: There is no such annotation or role.
    """
    table = RoleTable.newest(store, request.encode.input)
    return TextColumn.of(store, request) if table is None else RoleColumn(store, request, table)
