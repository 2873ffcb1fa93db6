"""Decoded tasks for several readers: each row is decoded once, for all who need it.

Readers take rows in ascending order. One that is ahead waits for the slowest, so that no more than
a few tasks are held beside what the stream holds; one that ends is waited for no more.

Dimension letters: N rows, T frames, H height, W width.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from latentcache.runner.decode.decode_tasks import DecodedRows, DecodeOrder, DecodeRow
from latentcache.runner.decode.pixel_stream import PixelStream

_TASKS_AHEAD = 2
"""Tasks that wait for one reader before the others wait with it."""


class DecodedStream(Protocol):
    """The decoded tasks of some rows, in row order.

    Attributes:
        num_pending: Tasks launched and not yet taken.
    """

    @property
    def num_pending(self) -> int:
        """Tasks launched and not yet taken."""
        ...

    def __iter__(self) -> Iterator[DecodedRows]:
        """Yield each task's rows."""
        ...


class SharedPixels:
    """A stream of decoded tasks that several readers, each on its own thread, take rows of."""

    def __init__(
        self,
        stream: Callable[[list[DecodeRow]], PixelStream],
        needs: Sequence[Sequence[DecodeRow]],
    ) -> None:
        """Prepare; nothing is decoded before a reader asks.

        Args:
            stream: Decodes rows that are given in ascending order.
            needs: The rows of each reader, ascending; all of one bucket.
        """
        rows = {each.row: each for mine in needs for each in mine}
        self._stream = stream([rows[number] for number in sorted(rows)])
        self._tasks = iter(self._stream)
        self._needs = [{each.row for each in mine} for mine in needs]
        self._waiting: list[deque[DecodedRows]] = [deque() for _ in needs]
        self._changed = threading.Condition()
        self._is_pulling = self._is_over = False
        self._error: Exception | None = None

    @property
    def num_pending(self) -> int:
        """Tasks launched and not yet taken."""
        return self._stream.num_pending

    def reader(self, number: int) -> "PixelReader":
        """Return the reader of the rows that were given as ``needs[number]``."""
        return PixelReader(self, number)

    def take(self, number: int) -> DecodedRows | None:
        """Return the next task, cut to the rows that a reader needs; None after the last one.

        Raises:
            Exception: What the stream raised, whoever was reading.
        """
        mine = self._waiting[number]
        while True:
            with self._changed:
                while not mine and (self._is_pulling or self._is_full()) and not self._has_ended():
                    self._changed.wait()
                if mine:
                    self._changed.notify_all()
                    return mine.popleft()
                if self._error is not None:
                    raise self._error
                if self._is_over:
                    return None
                self._is_pulling = True
            self._pull()

    def put_back(self, number: int, rest: DecodedRows) -> None:
        """Have a reader get the rest of its last task again."""
        with self._changed:
            self._waiting[number].appendleft(rest)

    def leave(self, number: int) -> None:
        """Forget a reader; decoding ends with the last one."""
        with self._changed:
            self._needs[number] = set()
            self._waiting[number].clear()
            is_last = not any(self._needs) and not self._is_pulling
            self._changed.notify_all()
        if is_last:
            self._tasks.close()

    def _is_full(self) -> bool:
        return any(len(each) >= _TASKS_AHEAD for each in self._waiting)

    def _has_ended(self) -> bool:
        return self._is_over or self._error is not None

    def _pull(self) -> None:
        """Decode the next task and put it where it is needed; one thread at a time."""
        task, error = None, None
        try:
            task = next(self._tasks, None)
        except Exception as raised:  # noqa: BLE001  each reader is told
            error = raised
        with self._changed:
            self._is_pulling = False
            self._is_over, self._error = task is None, error
            if task is not None:
                self._hand_out(task)
            self._changed.notify_all()

    def _hand_out(self, task: DecodedRows) -> None:
        is_counted = False
        for needed, waiting in zip(self._needs, self._waiting, strict=True):
            if part := cut_to(task, needed):
                # What it cost is told to one reader alone.
                waiting.append(_at_no_cost(part) if is_counted else part)
                is_counted = True


class PixelReader:
    """One reader of shared pixels."""

    def __init__(self, pixels: SharedPixels, number: int) -> None:
        self._pixels, self._number = pixels, number

    def stream(self, _: DecodeOrder, rows: Sequence[DecodeRow]) -> DecodedStream:
        """Return the decoded tasks of the next rows that this reader needs."""
        return _ReaderStream(self._pixels, self._number, rows)

    def close(self) -> None:
        """Need nothing any more."""
        self._pixels.leave(self._number)


class _ReaderStream:
    def __init__(self, pixels: SharedPixels, number: int, rows: Sequence[DecodeRow]) -> None:
        self._pixels, self._number = pixels, number
        self._left = {each.row for each in rows}

    @property
    def num_pending(self) -> int:
        # Of all readers the first one shows it, so that it is not counted twice.
        return self._pixels.num_pending if self._number == 0 else 0

    def __iter__(self) -> Iterator[DecodedRows]:
        while self._left:
            task = self._pixels.take(self._number)
            assert task is not None, "every row that is needed is answered for"
            part = cut_to(task, self._left)
            assert part is not None, "rows are read in the order in which they are needed"
            if rest := cut_to(task, set(task.rows) - self._left):
                self._pixels.put_back(self._number, _at_no_cost(rest))
            self._left.difference_update(part.rows)
            yield part


def _at_no_cost(task: DecodedRows) -> DecodedRows:
    return replace(task, source_bytes=0, busy_s=0.0, storage_retries=0)


def cut_to(task: DecodedRows, rows: set[int]) -> DecodedRows | None:
    """Return a task with some of its rows alone; None if it has none of them."""
    places = [place for place, row in enumerate(task.rows) if row in rows]
    if len(places) == len(task.rows):
        return task
    if not places:
        return None
    kept = tuple(task.rows[place] for place in places)
    return replace(
        task,
        rows=kept,
        pixels_NTHWC=task.pixels_NTHWC[places],
        rejects={row: each for row, each in task.rejects.items() if row in rows},
        source_digests={row: each for row, each in task.source_digests.items() if row in rows},
    )
