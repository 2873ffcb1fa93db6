"""Why a sample was not encoded: one small vocabulary for scan, decode and encode.

The codes are part of store format 1 (``reject_code`` in a unit's meta): numbers are
never reused, new ones are added at the end.
"""

from dataclasses import dataclass
from enum import IntEnum


class RejectCode(IntEnum):
    """Stable numbers of the reasons; 0 means the row is not rejected."""

    NONE = 0
    UNREADABLE = 1  # I/O error, missing file, no permission
    EMPTY = 2  # zero bytes
    NOT_MEDIA = 3  # no decoder knows these bytes
    TRUNCATED = 4  # the header parses, the pixels end early
    CORRUPT = 5  # the decoder refuses the pixels
    BOMB = 6  # more pixels than the limit
    UNSUPPORTED = 7  # a known format or colour mode we do not read
    TOO_SMALL = 8  # would be upscaled past the plan's limit
    TOO_NARROW = 9  # aspect ratio beyond the plan's limit
    NOT_AN_IMAGE = 10  # a video where the plan holds images only
    SIZE_MISMATCH = 11  # decoded size differs from the planned one
    TIMED_OUT = 12
    CRASHED = 13  # a decoder or encoder process died on it
    NON_FINITE = 14  # the encoder gave NaN or infinity, in fp32 too
    ENCODER_FAILED = 15
    DUPLICATE = 16  # two live samples with one key
    CHANGED = 17  # the bytes are not the ones that were planned
    BAD_RECORD = 18  # a manifest line or tar member that makes no sense
    TOO_SHORT = 19  # a video with fewer frames than the plan's shortest clip
    STANDS_STILL = 20  # a clip that shows one picture for three frames or more
    RETIRED = 21  # live no more, and its bytes were taken out of the unit
    ABSENT = 22  # the sample has no such input: an outcome of its own, counted apart

    @property
    def word(self) -> str:
        """The code as users and JSON see it, e.g. ``too_small``."""
        return self.name.lower()


#: Left out because the plan itself says so; these do not count towards ``--max-quarantine``.
BY_OPTION = frozenset(
    {
        RejectCode.TOO_SMALL,
        RejectCode.TOO_NARROW,
        RejectCode.NOT_AN_IMAGE,
        RejectCode.TOO_SHORT,
        RejectCode.STANDS_STILL,
        RejectCode.RETIRED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One sample that ended in quarantine.

    Attributes:
        code: A ``RejectCode`` word.
        stage: Where it failed: ``scan``, ``decode`` or ``encode``.
        reason: One sentence a person understands; holds no time, host or path.
        is_transient: ``--retry-quarantined`` tries it again.
        trace_digest: First 16 hex digits of a hash over the traceback, or empty.
    """

    code: str
    stage: str
    reason: str
    is_transient: bool = False
    trace_digest: str = ""

    def __post_init__(self) -> None:
        if self.code.upper() not in RejectCode.__members__ or self.code == "none":
            raise ValueError(f"code must be one of the reject codes, got {self.code!r}")
        if self.stage not in ("scan", "decode", "encode"):
            raise ValueError(f"stage must be scan, decode or encode, got {self.stage!r}")

    @property
    def number(self) -> int:
        """The code's number, as stored."""
        return int(RejectCode[self.code.upper()])

    @property
    def is_by_option(self) -> bool:
        """Whether the plan itself left the sample out."""
        return RejectCode[self.code.upper()] in BY_OPTION


RETIRED_ROW = Reject(
    code=RejectCode.RETIRED.word, stage="scan", reason="it was retired, and is not in this unit"
)
"""Of a row that is live no more: it is never encoded, and taken out where it was."""
