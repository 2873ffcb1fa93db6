"""How a unit may fail without a sample being to blame."""

from latentcache.core.errors import EncoderError, RunError


class UnitCancelledError(RunError):
    """The run was stopped while this unit was under way."""


class EncoderOutOfMemoryError(EncoderError):
    """The device had no room for one batch, twice."""


class EncoderBrokenError(EncoderError):
    """The encoder fails on plain grey too, as a CUDA device does after an illegal access."""
