"""What a run of one column left behind."""

from dataclasses import dataclass, field
from typing import Any

from latentcache.runner.messages.run_times import RunTimes
from latentcache.store import ColumnView


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeResult:
    """What a run left behind.

    Attributes:
        encoding: Fingerprint of the encoding that serves the column.
        snapshot: Number of the snapshot that serves it, or None if none was published.
        planned: Live samples; ``encoded + quarantined + absent + missing``.
        absent: Samples that have no medium of the column's role.
        num_bytes: Of the column's tars.
        newly_encoded: By this run.
        newly_quarantined: By this run.
        newly_retired: Samples that this run took out of the plan, as their file was replaced.
        times: Where its encoders' time went.
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
    threads: int
    device_type: str
    newly_encoded: int = 0
    newly_quarantined: int = 0
    elapsed_s: float = 0.0
    num_actors: int = 0
    limit_sentence: str = ""
    newly_retired: int = 0
    absent: int = 0
    times: RunTimes = field(default_factory=RunTimes)

    @classmethod
    def from_view(cls, view: ColumnView, *, snapshot: int, **of_run: Any) -> "EncodeResult":
        """Return the result of a run after which a snapshot serves ``view``.

        Args:
            view: Of the column, as the snapshot serves it.
            snapshot: Its number.
            of_run: What the run itself did; nothing if it is left out.
        """
        entry, record = view.entry, view.record
        return cls(
            column=view.name,
            encoding=record.fingerprint,
            snapshot=snapshot,
            planned=entry.num_planned,
            encoded=entry.num_encoded,
            quarantined=entry.num_quarantined - view.num_absent,
            absent=view.num_absent,
            missing=entry.num_missing,
            num_bytes=entry.num_bytes,
            threads=record.threads,
            device_type=record.device_type,
            **of_run,
        )

    @property
    def is_over_limit(self) -> bool:
        """Whether more samples are quarantined than allowed."""
        return bool(self.limit_sentence)
