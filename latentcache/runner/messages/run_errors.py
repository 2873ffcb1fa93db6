"""How a unit may fail without a sample being to blame, and how what it raised is sent."""

import pickle

from latentcache.core.errors import EncoderError, RunError


class UnitCancelledError(RunError):
    """The run was stopped while this unit was under way."""


class EncoderOutOfMemoryError(EncoderError):
    """The device had no room for one batch, twice."""


class EncoderBrokenError(EncoderError):
    """The encoder fails on plain grey too, as a CUDA device does after an illegal access."""


def sendable(error: Exception) -> Exception:
    """Return ``error``, or its sentence where its class does not survive being sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  a class of somebody else's
        return RunError(f"{type(error).__name__}: {error}")
    return error
