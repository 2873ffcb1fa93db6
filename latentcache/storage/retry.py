"""Bounded retries of storage operations; the only retries below the runner."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from latentcache.core.errors import ConfigError
from latentcache.storage.storage_errors import backend_errors, is_transient

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_VARIABLE = "LATENTCACHE_STORAGE_DEADLINE_S"


DEADLINE_S = 120.0
"""Of one operation with all its tries, unless LATENTCACHE_STORAGE_DEADLINE_S says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently an operation is tried; clients try a few times below this."""

    attempts: int = 4
    first_delay_s: float = 0.2
    """Doubled after each failure, with up to as much again at random."""
    deadline_s: float | None = None
    """No further try begins later than this after the first began; None for the environment's."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def allowed_s(self) -> float:
        """Return the deadline in seconds.

        Raises:
            ConfigError: The environment's is no number above 0.
        """
        return _environment_s() if self.deadline_s is None else self.deadline_s

    def wait(self, attempt: int) -> None:
        """Wait after failed attempt number ``attempt``, counted from 0."""
        # Jitter need not be keyed: it moves no result, only keeps workers apart.
        self.sleep(self.first_delay_s * 2**attempt * (1 + random.random()))


DEFAULT_POLICY = RetryPolicy()


class _Count:
    """How many operations of this process were tried again."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.value += 1


_retries = _Count()


def num_retries() -> int:
    """Return how many operations of this process were tried again so far."""
    return _retries.value


def with_retries(operation: Callable[[], ResultT], *, policy: RetryPolicy, what: str) -> ResultT:
    """Return what ``operation`` returns, trying again after transient failures.

    Raises:
        OSError: Or a backend's own exception: the last failure, as it came.
    """
    began_s = policy.clock()
    for attempt in range(policy.attempts):
        try:
            return operation()
        except backend_errors() as error:
            if (
                policy.clock() - began_s >= policy.allowed_s()
                or attempt + 1 == policy.attempts
                or not is_transient(error)
            ):
                raise
            _retries.add()
            logger.warning("%s failed (%s), trying again", what, type(error).__name__)
            policy.wait(attempt)
    raise AssertionError("attempts must be at least 1")


def _environment_s() -> float:
    text = os.environ.get(_VARIABLE, "")
    try:
        given = float(text) if text else DEADLINE_S
    except ValueError:
        given = 0.0
    if not 0 < given < float("inf"):
        raise ConfigError(f"{_VARIABLE} must be seconds above 0, got {text!r}; unset or correct it")
    return given
