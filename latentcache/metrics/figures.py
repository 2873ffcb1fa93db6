"""The figures of a run by the names that Prometheus knows them under.

All carry ``stage`` (``scan``, ``encode``, ``copy``) and ``column`` ("" where none is encoded).
Names are a promise: dashboards and alerts hang on them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from latentcache.runner import RunProgress

PREFIX = "latentcache_"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: Without the prefix; of a counter without ``_total`` too.
        kind: ``counter`` only grows while a run lasts; ``gauge`` is as of now.
        meaning: For people, units included.
        value: Of a look at the run; by a further label's values where ``label`` is given.
        label: A further label, or "".
    """

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    value: Callable[[RunProgress], float | Mapping[str, float]]
    label: str = ""

    @property
    def full_name(self) -> str:
        """As Prometheus stores it."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def _worked(progress: RunProgress) -> float:
    return progress.done if progress.worked is None else progress.worked


FIGURES = (
    Figure(
        "samples_worked", "counter", "Samples that went through the scan or the encoders.", _worked
    ),
    Figure(
        "samples_done", "gauge", "Samples that are safe: a kill costs them no more.",
        lambda run: run.done,
    ),
    Figure("samples_expected", "gauge", "Samples of this run.", lambda run: run.total or 0),
    Figure(
        "samples_under_way", "gauge", "Samples that are encoded and not safe yet.",
        lambda run: run.under_way,
    ),
    Figure(
        "quarantined_samples", "counter", "Samples that could not be encoded.",
        lambda run: run.quarantined,
    ),
    Figure(
        "source_bytes", "counter", "Bytes of sources that were read.", lambda run: run.source_bytes
    ),
    Figure(
        "stored_bytes", "counter", "Bytes of tars that were committed.",
        lambda run: run.times.stored_bytes,
    ),
    Figure("encoders", "gauge", "Encoders, those that died included.", lambda run: run.num_actors),
    Figure(
        "encoder_seconds", "counter",
        "Seconds of all encoders: at work (encode), or not, and why not (decode, write, commit, "
        "wait).",
        lambda run: run.times.seconds, "spent",
    ),
    Figure(
        "encoder_busy_share", "gauge", "Share of their time that encoders were at work, 0 to 1.",
        lambda run: run.encoder_busy_share,
    ),
    Figure(
        "encoder_deaths", "counter", "Encoders that died and were replaced.",
        lambda run: run.num_deaths,
    ),
    Figure(
        "decode_queue", "gauge", "Decode tasks under way or waiting to be encoded.",
        lambda run: run.decode_queue,
    ),
    Figure(
        "decode_cpu_seconds", "counter", "Seconds that decode processes worked, of one core each.",
        lambda run: run.times.decode_core_s,
    ),
    Figure(
        "storage_retries", "counter", "Storage operations that were tried again.",
        lambda run: run.times.storage_retries,
    ),
    Figure("run_seconds", "gauge", "Seconds since the stage began.", lambda run: run.elapsed_s),
)  # fmt: skip

COMMIT_SECONDS = f"{PREFIX}commit_seconds"
"""Histogram: how long commits took, from the end of a tar until its commit is there."""
LAST_LOOK = f"{PREFIX}last_look_timestamp_seconds"
"""Gauge: when the run last said anything, in seconds since the epoch."""
STATE = f"{PREFIX}run_state"
"""Gauge: 1 for the state that the run is in: ``running``, ``done`` or ``failed``."""
INFO = f"{PREFIX}run_info"
"""Gauge: always 1; its labels say which store, and which version of latentcache."""

STATES = ("running", "done", "failed")


def stored_names() -> frozenset[str]:
    """Return every name under which Prometheus stores something of a run."""
    commits = {f"{COMMIT_SECONDS}_{part}" for part in ("bucket", "count", "sum")}
    return frozenset({*(each.full_name for each in FIGURES), *commits, LAST_LOOK, STATE, INFO})
