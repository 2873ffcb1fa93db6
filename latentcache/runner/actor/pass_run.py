"""One pass of an actor: units of one or several columns over the same rows, decoded once.

Each column has its units run one after the other on a thread of its own, exactly as if it were
alone; only where its pixels come from is shared. What goes wrong with one column ends that column's
part of the pass.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from latentcache.runner.actor.column_worker import ColumnWorker, SharedTools
from latentcache.runner.decode.decode_tasks import DecodeOrder
from latentcache.runner.decode.pixel_stream import PixelStream
from latentcache.runner.decode.shared_pixels import PixelReader, SharedPixels
from latentcache.runner.messages.run_errors import sendable
from latentcache.runner.messages.stage_times import DECODE
from latentcache.runner.messages.unit_orders import UnitAnswer, UnitOrder, UnitOutcome, UnitPass
from latentcache.runner.units.unit_run import UnitRun


class PassRun:
    """Runs the units of a pass and answers for each of them."""

    def __init__(
        self, orders: UnitPass, columns: Mapping[str, ColumnWorker], shared: SharedTools
    ) -> None:
        """Prepare a run.

        Args:
            orders: What is asked; of several columns only units of the samples' own pixels.
            columns: Of the actor.
            shared: What they have in common.
        """
        self._orders, self._columns, self._shared = orders, columns, shared
        self._answers: dict[str, UnitAnswer] = {}

    def run(self) -> tuple[UnitAnswer, ...]:
        """Return an answer per order once all columns have ended their part."""
        by_column: dict[str, list[UnitOrder]] = {}
        for order in self._orders:
            by_column.setdefault(order.column, []).append(order)
        if len(by_column) == 1:
            for name, mine in by_column.items():
                self._run_alone(self._columns[name], mine)
        else:
            self._run_together(by_column)
        return tuple(self._answers.get(order.name) for order in self._orders)

    def _run_alone(self, column: ColumnWorker, orders: Sequence[UnitOrder]) -> None:
        for order in orders:
            if not self._has_done(order, partial(column.run_unit, order)):
                return

    def _run_together(self, by_column: Mapping[str, Sequence[UnitOrder]]) -> None:
        planned = [self._planned(self._columns[name], orders) for name, orders in by_column.items()]
        template = _template([unit for mine in planned for unit in mine])
        if template is None:  # no column got as far as its rows
            return
        pixels = SharedPixels(
            lambda rows: PixelStream(
                template,
                rows,
                calls=self._shared.calls,
                budget=self._shared.budget,
                cancelled=self._shared.cancelled,
            ),
            [[row for unit in mine for row in unit.needed_rows()] for mine in planned],
        )
        with ThreadPoolExecutor(len(planned), thread_name_prefix="column") as threads:
            running = [
                threads.submit(self._run_column, mine, pixels.reader(number))
                for number, mine in enumerate(planned)
            ]
        for each in running:
            each.result()

    def _planned(self, column: ColumnWorker, orders: Sequence[UnitOrder]) -> list[UnitRun]:
        """Return a column's units up to the first that cannot even begin."""
        units: list[UnitRun] = []
        for order in orders:
            try:
                units.append(column.planned_unit(order))
            except Exception as error:  # noqa: BLE001  the driver decides what it means
                self._answers[order.name] = sendable(error)
                break
        return units

    def _run_column(self, units: Sequence[UnitRun], reader: PixelReader) -> None:
        try:
            with self._shared.stages.during(DECODE):
                for unit in units:
                    if not self._has_done(unit.order, partial(unit.run, reader.stream)):
                        return
        finally:
            reader.close()  # the other columns wait for it no more

    def _has_done(self, order: UnitOrder, run: Callable[[], UnitOutcome]) -> bool:
        """Run one unit and keep what became of it; whether the column can go on."""
        try:
            self._answers[order.name] = run()
        except Exception as error:  # noqa: BLE001  the driver decides what it means
            self._answers[order.name] = sendable(error)
            return False
        return True


def _template(units: Sequence[UnitRun]) -> DecodeOrder | None:
    """Return how the pixels of all units are made.

    An encoder of clips says more of it than one of pictures, which is nothing to pictures.
    """
    templates = [unit.template() for unit in units]
    of_clips = [each for each in templates if each.settings.transform.video is not None]
    return next(iter([*of_clips, *templates]), None)
