"""What one run of one column is asked."""

from dataclasses import dataclass

from latentcache.core.units import UnitId
from latentcache.runner.options import EncodeOptions, Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeRequest:
    """What one run of one column is asked.

    Attributes:
        allow_partial: Publish even if rows are missing.
        retry_quarantined: Run units again whose rejects are transient.
        rerun: Units to run again whatever they hold, as a repair does.
        expected_fingerprint: Refuse to work on another encoding than this; "" takes any.
    """

    column: str
    encode: EncodeOptions
    resources: Resources
    allow_partial: bool = False
    retry_quarantined: bool = False
    rerun: frozenset[UnitId] = frozenset()
    expected_fingerprint: str = ""
