"""What an actor is asked to do of a unit, and what it answers; plain values."""

from dataclasses import dataclass, field

from latentcache.core.rejects import Reject, RejectCode
from latentcache.core.units import UnitRange
from latentcache.store import CommitRef

DEATHS_ALONE = 2
"""Deaths on one row alone before it is to blame: one may be a lost node."""

KILLS_ITS_ENCODER = Reject(
    code=RejectCode.CRASHED.word,
    stage="encode",
    reason="the encoder dies or hangs on it, alone too",
    is_transient=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOrder:
    """What the driver asks of an actor.

    Attributes:
        column: Whose unit it is.
        corpus_url: Root of the generation's sources.
        generation_digest: Of the plan generation's record.
        rev: 0, or one more than the commit that a repair or retry replaces.
        min_present: Samples that the commit to be replaced holds; with fewer there is no commit.
        is_careful: An actor died with this unit in flight; note each batch before it runs.
        deaths: Per noted place (``batch:3``, ``row:17``) how often an actor died on it.
        batches: First and last (not included) of those to encode and keep, with no commit; None
            for the whole unit.
        is_joining: All batches were kept as pieces; what is left is to commit them.
        annotation: File of the annotation that says what is encoded: texts, or where media of a
            role lie; "" where that is the samples' own media.
        previous: Commit whose rows are taken over where their texts are the same; or None.
        retired: Rows of the shard that are live no more: they are not encoded.
    """

    unit: UnitRange
    column: str
    corpus_url: str
    generation_digest: str
    rev: int = 0
    min_present: int = 0
    is_careful: bool = False
    deaths: dict[str, int] = field(default_factory=dict)
    batches: tuple[int, int] | None = None
    is_joining: bool = False
    annotation: str = ""
    previous: CommitRef | None = None
    retired: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """Its column and unit, as notes of careful batches have it."""
        return f"{self.column}/{self.unit.unit}"

    @property
    def log_name(self) -> str:
        """Name of its unit's kept batches."""
        return f"{self.unit.unit}.r{self.rev}"


UnitPass = tuple[UnitOrder, ...]
"""Units of one or several columns over the same rows, which are decoded once for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOutcome:
    """What an actor answers once a unit is committed, or a piece of it kept.

    Attributes:
        rejects: Rejected rows by code word, those left out by option not counted.
        is_committed: Whether it was; not if it holds fewer samples than what it should replace.
        num_cut: Samples with a text that is longer than the encoder takes.
    """

    unit: UnitRange
    num_present: int
    num_rejected: int
    num_by_option: int
    rejects: dict[str, int]
    is_committed: bool = True
    num_cut: int = 0


UnitAnswer = UnitOutcome | Exception | None
"""What became of one unit of a pass: the outcome, what it raised, or None if it was not begun."""


@dataclass(slots=True)
class UnitCounters:
    """Running totals of one actor, read by its control thread.

    Attributes:
        rows_worked: Rows that went through the encoder here, committed since or not.
        rows_taken_up: Rows that were found encoded by somebody who was stopped.
        kept: Per open unit or piece, how many rows a kill would not cost.
        under_way: Per open unit or piece, how many rows a kill would cost; of a long clip which
            share of it is encoded.
    """

    rows_worked: int = 0
    rows_taken_up: int = 0
    source_bytes: int = 0
    decode_busy_s: float = 0.0
    tasks_pending: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    under_way: dict[str, float] = field(default_factory=dict)
