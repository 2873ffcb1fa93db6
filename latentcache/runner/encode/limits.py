"""What a run did, counted, and when too much of it is quarantine."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latentcache.core.errors import LatentCacheError
from latentcache.core.rejects import RejectCode

if TYPE_CHECKING:
    from latentcache.runner.messages.unit_orders import UnitOutcome
    from latentcache.store import EncodingRecord

LIMIT_JUDGED_AFTER = 200
FINISHES_ANYWAY_ROWS = 2_000
"""A run this close to its end finishes before it fails: stopping would save nothing."""


@dataclass(slots=True)
class DispatchResult:
    """What one run did.

    Attributes:
        num_encoded: Samples committed as encoded.
        num_quarantined: Samples committed as rejected.
        num_by_option: Of those, left out by the plan's own options.
        rejects: The others, by code word.
        kept_units: Left as they were, because again they would have held fewer samples.
        num_cut: Samples with a text that is longer than the encoder takes.
    """

    num_encoded: int = 0
    num_quarantined: int = 0
    num_by_option: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    kept_units: int = 0
    num_cut: int = 0

    def merge(self, other: "DispatchResult") -> None:
        """Count what ``other`` did too."""
        self.num_encoded += other.num_encoded
        self.num_quarantined += other.num_quarantined
        self.num_by_option += other.num_by_option
        self.rejects.update(other.rejects)
        self.kept_units += other.kept_units
        self.num_cut += other.num_cut

    def add(self, outcome: "UnitOutcome") -> None:
        """Count ``outcome``."""
        if not outcome.is_committed:
            self.kept_units += 1
            return
        self.num_encoded += outcome.num_present
        self.num_quarantined += outcome.num_rejected
        self.num_by_option += outcome.num_by_option
        self.rejects.update(outcome.rejects)
        self.num_cut += outcome.num_cut


@dataclass(slots=True, kw_only=True)
class ColumnWork:
    """One column of a run, as its dispatcher sees it.

    Attributes:
        record: Its encoding.
        limit: Of its quarantine.
        result: What the run has done of it.
        failure: Why the run has given it up, other columns being there to go on with; or None.
    """

    record: "EncodingRecord"
    limit: "QuarantineLimit"
    result: DispatchResult = field(default_factory=DispatchResult)
    failure: LatentCacheError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineLimit:
    """Largest share of rejected samples; those left out by option do not count.

    Attributes:
        share: 0 to 1.
        seen_before: Samples refused while planning, or by earlier runs.
        rejected_before: Of those, the ones that count.
        allows_absent: Samples without a medium of a role do not count.
    """

    share: float
    seen_before: int = 0
    rejected_before: int = 0
    allows_absent: bool = False

    def passed(self, result: DispatchResult, *, is_finished: bool = False) -> str | None:
        """Return the sentence that says the limit is passed, or None.

        Args:
            result: So far.
            is_finished: Nothing more comes: a few samples are judged too.
        """
        counted = Counter(result.rejects)
        num_absent = counted.pop(RejectCode.ABSENT.word, 0)
        if num_absent and not self.allows_absent:
            counted[RejectCode.ABSENT.word] = num_absent
        rejected = self.rejected_before + counted.total()
        seen = self.seen_before + result.num_encoded + result.num_quarantined
        judged_after = 0 if is_finished else LIMIT_JUDGED_AFTER
        if seen < judged_after or rejected <= self.share * seen:
            return None
        common = ", ".join(f"{count} {code}" for code, count in counted.most_common(3))
        way_out = ", or --absent allow" if RejectCode.ABSENT.word in counted else ""
        return (
            f"quarantined samples must be at most {self.share:.1%} of those seen, got {rejected} "
            f"of {seen}{f' ({common})' if common else ''}; look at them with `latentcache status "
            f"STORE --quarantined`, then mend the corpus or raise --max-quarantine{way_out}"
        )
