"""What one run of one column is asked."""

from dataclasses import dataclass
from typing import Literal, get_args

from latentcache.core.errors import ConfigError
from latentcache.core.inputs import ALL_PIXELS
from latentcache.core.units import UnitId
from latentcache.runner.run_options import EncodeOptions, Resources

Changed = Literal["refuse", "retire"]

MAIN_COLUMN = "latents"
"""What is trained on, if nothing else is said; it holds whole samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeRequest:
    """What one run of one column is asked.

    Attributes:
        allow_partial: Publish even if rows are missing.
        retry_quarantined: Run units again whose rejects are transient.
        rerun: Units to run again whatever they hold, as a repair does.
        expected_fingerprint: Refuse to work on another encoding than this; "" takes any.
        given: Names of the encode options that somebody gave; a served column keeps its own for
            the others. None takes all options as they are.
        may_replace: Another encoding may take the place of the one that serves the column.
        corpus_url: Where the corpus lies now, if not where it was planned; "" if it does.
        changed: What becomes of samples whose file was replaced since another column was made:
            ``refuse`` the column, or ``retire`` them from the plan and so from every column.
        negative: Of a column of texts: one more text that is encoded once, by this name.
        verifies: Compare every object of the encoding with what was recorded before it is served.
    """

    column: str
    encode: EncodeOptions
    resources: Resources
    allow_partial: bool = False
    retry_quarantined: bool = False
    rerun: frozenset[UnitId] = frozenset()
    expected_fingerprint: str = ""
    given: frozenset[str] | None = None
    may_replace: bool = True
    corpus_url: str = ""
    changed: Changed = "refuse"
    negative: str = ""
    verifies: bool = False

    def __post_init__(self) -> None:
        if self.changed not in get_args(Changed):
            raise ConfigError(f"changed must be refuse or retire, got {self.changed!r}")
        if self.encode.input != ALL_PIXELS and self.column == MAIN_COLUMN:
            raise ConfigError(
                f"column must be another than {MAIN_COLUMN} for input {self.encode.input}, got "
                f"{self.column}; name it for instance --column cond"
            )
