"""Rounds: every entry once per round, each time in a fresh process, in a turning order."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.loading.cases import Case
from tests.benchmarks.loading.entries import Entry
from tests.benchmarks.loading.machine import CORES, busy_s, own_s
from tests.benchmarks.loading.measuring import MARK, Spec
from tests.benchmarks.loading.page_cache import drop, files_of, fill, resident_share
from tests.benchmarks.loading.preparing import case_folder, digests_path, last_line

MODULE = "tests.benchmarks.loading.measuring"
LIMIT_S = 180.0
LARGEST_COLD_SHARE = 0.02
SMALLEST_WARM_SHARE = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the rounds go.

    Attributes:
        work: Where the data sets lie.
        rounds: Kept measurements of every entry.
        warm_up_s: Most time before a warm measurement counts; one pass if that is shorter.
        warm_s: Counted time of a warm measurement, at least.
        longest_s: Of a warm pass.
        cold_s: Of a cold pass; long enough to pay back a buffer filled before the first batch.
        foreign_limit: Share of the machine that others may take; above, measured again.
        tries: Measurements of an entry and round, at most.
    """

    work: Path
    rounds: int = 3
    warm_up_s: float = 0.5
    warm_s: float = 1.0
    longest_s: float = 2.5
    cold_s: float = 5.0
    foreign_limit: float = 0.05
    tries: int = 2


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What one entry did in all rounds of one case, warm or cold."""

    entry: Entry
    case: Case
    is_cold: bool
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


def run_rounds(
    plan: Plan, case: Case, entries: list[Entry], failed: dict[str, str], *, is_cold: bool
) -> list[Outcome]:
    """Return what every entry did; one that fails is not tried again."""
    outcomes = [
        Outcome(entry=entry, case=case, is_cold=is_cold, error=failed.get(entry.folder, ""))
        for entry in entries
    ]
    for number in range(plan.rounds):
        # Who runs first gains or loses by what the disk and the processor did before.
        turn = number * len(outcomes) // plan.rounds
        for outcome in outcomes[turn:] + outcomes[:turn]:
            if not outcome.error:
                _run_once(plan, outcome, number)
    return outcomes


def _run_once(plan: Plan, outcome: Outcome, number: int) -> None:
    entry, case = outcome.entry, outcome.case
    files = [] if _is_in_memory(entry) else files_of(case_folder(plan.work, case) / entry.folder)
    best: dict[str, Any] | None = None
    for _ in range(plan.tries):
        try:
            share = _set_page_cache(files, is_cold=outcome.is_cold)
            found = _measure(plan, outcome)
        except RuntimeError as error:
            outcome.error = str(error)
            break
        found |= {"round": number, "resident_share": share}
        if best is None or found["foreign_share"] < best["foreign_share"]:
            best = found
        if best["foreign_share"] <= plan.foreign_limit:
            break
    mode = "cold" if outcome.is_cold else "warm"
    said = outcome.error or f"{best['samples_per_s']:,.0f}/s" if best else outcome.error
    print(f"{case.name} {mode} round {number + 1}: {entry.name}: {said}", file=sys.stderr)
    if best is not None and not outcome.error:
        outcome.runs.append(best)


def _is_in_memory(entry: Entry) -> bool:
    return entry.kind == "limit" and entry.option != "read"


def _set_page_cache(files: list[Path], *, is_cold: bool) -> float | None:
    """Return the share of pages in memory afterwards; None if nothing was to be done.

    Raises:
        RuntimeError: The page cache is not as asked for.
    """
    if not files:
        return None
    (drop if is_cold else fill)(files)
    share = resident_share(files)
    if is_cold and share > LARGEST_COLD_SHARE:
        raise RuntimeError(f"{share:.1%} of its pages stayed in the page cache")
    if not is_cold and share < SMALLEST_WARM_SHARE:
        raise RuntimeError(f"only {share:.1%} of its pages are in the page cache, is memory short?")
    return share


def _measure(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """Return what the process printed, and the share of the machine that others took.

    Raises:
        RuntimeError: The process failed; says its last words.
    """
    entry, case = outcome.entry, outcome.case
    spec = Spec(
        case=case.name,
        num_samples=case.num_samples,
        module=entry.module,
        folder=str(case_folder(plan.work, case) / entry.folder),
        digests=str(digests_path(plan.work, case, entry.folder)),
        option=entry.option,
        workers=entry.workers,
        threads=entry.threads,
        cores=entry.cores,
        is_cold=outcome.is_cold,
        warm_up_s=plan.warm_up_s,
        measure_s=plan.warm_s,
        longest_s=plan.cold_s if outcome.is_cold else plan.longest_s,
    )
    command = [sys.executable, "-m", MODULE, json.dumps(asdict(spec))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(entry.threads)}
    before = (time.monotonic(), busy_s(), own_s())
    output, errors, code = _talk(command, environment)
    wall_s = time.monotonic() - before[0]
    foreign_s = (busy_s() - before[1]) - (own_s() - before[2])
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    if not lines:
        raise RuntimeError(f"exit {code}: {last_line(errors)}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    return found | {"foreign_share": max(0.0, foreign_s) / (wall_s * CORES), "wall_s": wall_s}


def _talk(command: list[str], environment: dict[str, str]) -> tuple[str, str, int]:
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        # Its workers are in its session and would hold the pipes open.
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        errors += f"\nstill running after {LIMIT_S:.0f} s"
    return output, errors, process.returncode
