"""Bounded retries of storage operations; the only retries below the runner."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from latentcache.storage.storage_errors import backend_errors, is_transient

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently an operation is tried; s3fs tries 5 times below this."""

    attempts: int = 4
    first_delay_s: float = 0.2
    """Doubled after each failure, with up to as much again at random."""
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int) -> None:
        """Wait after failed attempt number ``attempt``, counted from 0."""
        # Jitter need not be keyed: it moves no result, only keeps workers apart.
        self.sleep(self.first_delay_s * 2**attempt * (1 + random.random()))


DEFAULT_POLICY = RetryPolicy()


def with_retries(operation: Callable[[], ResultT], *, policy: RetryPolicy, what: str) -> ResultT:
    """Return what ``operation`` returns, trying again after transient failures.

    Raises:
        OSError: Or a backend's own exception: the last failure, as it came.
    """
    for attempt in range(policy.attempts):
        try:
            return operation()
        except backend_errors() as error:
            if attempt + 1 == policy.attempts or not is_transient(error):
                raise
            logger.warning("%s failed (%s), trying again", what, type(error).__name__)
            policy.wait(attempt)
    raise AssertionError("attempts must be at least 1")
