"""Workers of this machine: what they import before they are forked is there."""

import importlib
import pickle
from concurrent.futures import Future

import pytest

from latentcache.runner.workers.local_process import answer_of
from latentcache.runner.workers.local_workers import ENCODE_MODULES, SCAN_MODULES


@pytest.mark.parametrize("name", sorted({*SCAN_MODULES, *ENCODE_MODULES}))
def test_what_is_imported_before_the_fork_exists(name: str) -> None:
    """A name that is gone ends the warm-up without a word, and each process imports alone."""
    importlib.import_module(name)


class _JustLate(Future[bytes]):
    """Answered after the wait has ended and before anybody looks."""

    def __init__(self, answer: object, *, is_answer: bool) -> None:
        super().__init__()
        self._late = pickle.dumps((is_answer, answer))

    def result(self, timeout: float | None = None) -> bytes:
        if not self.done():
            self.set_result(self._late)
            raise TimeoutError
        return super().result(timeout)


def test_an_answer_that_comes_as_the_wait_for_it_ends_is_taken() -> None:
    assert answer_of(_JustLate(7, is_answer=True), 0.0) == 7
    with pytest.raises(ValueError, match="of the call"):
        answer_of(_JustLate(ValueError("of the call"), is_answer=False), 0.0)
