"""The budget: how many bytes of decoded pixels one actor may have in flight."""

import threading


class ByteBudget:
    """A budget of bytes that the threads of one actor share."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._used_bytes = 0
        self._changed = threading.Condition()

    @property
    def used_bytes(self) -> int:
        """Bytes taken now."""
        return self._used_bytes

    def try_acquire(self, num_bytes: int) -> bool:
        """Take ``num_bytes`` if they fit now.

        An empty budget always fits, so a sample larger than the budget runs alone.
        """
        with self._changed:
            if self._used_bytes and self._used_bytes + num_bytes > self._size_bytes:
                return False
            self._used_bytes += num_bytes
            return True

    def acquire(self, num_bytes: int, *, cancelled: threading.Event) -> bool:
        """Wait until ``num_bytes`` fit and take them; False if cancelled meanwhile."""
        while not self.try_acquire(num_bytes):
            with self._changed:
                self._changed.wait(timeout=0.2)
            if cancelled.is_set():
                return False
        return True

    def release(self, num_bytes: int) -> None:
        """Give ``num_bytes`` back."""
        with self._changed:
            self._used_bytes -= num_bytes
            assert self._used_bytes >= 0
            self._changed.notify_all()
