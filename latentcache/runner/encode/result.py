"""What a run of one column left behind."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeResult:
    """What a run left behind.

    Attributes:
        encoding: Fingerprint of the encoding that serves the column.
        snapshot: Number of the snapshot that serves it, or None if none was published.
        planned: Live samples; ``encoded + quarantined + missing``.
        num_bytes: Of the column's tars.
        newly_encoded: By this run.
        newly_quarantined: By this run.
        newly_retired: Samples that this run took out of the plan, as their file was replaced.
        elapsed_s: From the first unit given out to the last one done.
        limit_sentence: Why the quarantine limit is passed; "" if it is not.
    """

    column: str
    encoding: str
    snapshot: int | None
    planned: int
    encoded: int
    quarantined: int
    missing: int
    num_bytes: int
    newly_encoded: int
    newly_quarantined: int
    elapsed_s: float
    num_actors: int
    threads: int
    device_type: str
    limit_sentence: str = ""
    newly_retired: int = 0

    @property
    def is_over_limit(self) -> bool:
        """Whether more samples are quarantined than allowed."""
        return bool(self.limit_sentence)
