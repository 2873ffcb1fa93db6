"""Create-if-absent: exactly one writer wins a name, as far as the storage can promise it."""

import logging
import secrets
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Protocol

from latentcache.storage.objects import TEMPORARY_PREFIX, Backend
from latentcache.storage.retry import RetryPolicy, with_retries
from latentcache.storage.storage_errors import backend_errors, is_transient

logger = logging.getLogger(__name__)

NUM_RACERS = 8
"""Writers of the probe's race; Swift let two of 16 win in 5 of 10 races, serially none."""


def create_if_absent(
    backend: Backend, name: str, data: bytes, *, write_id: str, policy: RetryPolicy
) -> bool:
    """Return whether the object under ``name`` is ours; False means another writer's.

    The object is read back after *every* outcome: a put whose answer was lost is sent
    again by the client below and collides with itself, and some stores let two win.

    Args:
        backend: Where.
        name: Of the object.
        data: Holds ``write_id`` somewhere, which no other writer's data does.
        write_id: Tells our object from another's.
        policy: For failures that leave no object behind.

    Raises:
        OSError: Nothing could be written. Or a backend's own exception.
    """
    mark = write_id.encode()
    assert mark in data, "an exclusive object holds its write id"
    for attempt in range(policy.attempts):
        failure: Exception | None = None
        stored = _read_back(backend, name, policy)
        if stored is None:
            try:
                backend.put_if_absent(name, data)
            except backend_errors() as error:
                failure = error
            stored = _read_back(backend, name, policy)
        if stored is not None:
            return mark in stored
        if failure is not None and not (
            is_transient(failure) or isinstance(failure, FileExistsError)
        ):
            raise failure
        if attempt + 1 == policy.attempts:
            break
        policy.wait(attempt)
    raise failure or OSError(f"object must be readable after it was written, got none ({name})")


def _read_back(backend: Backend, name: str, policy: RetryPolicy) -> bytes | None:
    try:
        return with_retries(lambda: backend.read(name, None, None), policy=policy, what="read")
    except FileNotFoundError:
        return None


class CreateIfAbsentSupport(Enum):
    """What a storage does with "create this unless it is there"."""

    EXCLUSIVE = "one writer wins"
    WEAK = "refuses an object that is there, but lets two writers win a race"
    ABSENT = "replaces an object that is there"


class _Probed(Protocol):
    def __call__(self, name: str, data: bytes) -> None: ...


def probe_create_if_absent(backend: Backend) -> CreateIfAbsentSupport:
    """Return what ``backend`` really does, by racing some writers for two fresh names.

    Raises:
        OSError: The destination cannot be written at all.
    """
    token = secrets.token_hex(8)
    names = [f"{TEMPORARY_PREFIX}probe.{token}.{number}" for number in range(2)]
    try:
        backend.write(names[0], b"first")
        if _accepts(backend.put_if_absent, names[0], b"second"):
            return CreateIfAbsentSupport.ABSENT
        racers = [b"%d" % number for number in range(NUM_RACERS)]
        with ThreadPoolExecutor(NUM_RACERS) as pool:
            won = list(
                pool.map(lambda data: _accepts(backend.put_if_absent, names[1], data), racers)
            )
        if sum(won) > 1:
            return CreateIfAbsentSupport.WEAK
        return CreateIfAbsentSupport.EXCLUSIVE
    finally:
        backend.delete(names)


def _accepts(put: _Probed, name: str, data: bytes) -> bool:
    try:
        put(name, data)
    except backend_errors():
        return False
    return True
