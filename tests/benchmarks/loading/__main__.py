"""Loaders of latents against each other on the same latents, in one run; not a test.

    python -m tests.benchmarks.loading --work FOLDER [--markdown FILE] [--json FILE]

Runs in a virtual environment of its own: docs/benchmarks/loading_cpu_202611.md says which, and
what is measured.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from tests.benchmarks.loading import machine, tables
from tests.benchmarks.loading.cases import CASES, Case
from tests.benchmarks.loading.entries import ENTRIES, Entry
from tests.benchmarks.loading.preparing import case_folder, missing_bytes, prepare, used_bytes
from tests.benchmarks.loading.running import Outcome, Plan, run_rounds


def main() -> None:
    """Prepare, measure, print."""
    options = _options()
    cases = [
        case.of(options.num_samples or case.num_samples)
        for case in map(CASES.__getitem__, options.case)
    ]
    plan = Plan(work=options.work, rounds=options.rounds, foreign_limit=options.foreign)
    print(machine.describe(), flush=True)
    began, outcomes = time.monotonic(), []
    for number, case in enumerate(cases):
        entries = _chosen(options, case)
        if not _make_room(options, case, entries, done=cases[:number]):
            print(f"case {case.name}: over --disk, not prepared", file=sys.stderr)
            continue
        failed = prepare(options.work, case, entries)
        if options.only_prepare:
            print(f"{case.name}: {failed or 'ready'}", file=sys.stderr)
            continue
        for is_cold in (False, True):
            if ("cold" if is_cold else "warm") in options.mode:
                part = [one for one in entries if case.name in (one.cold if is_cold else one.warm)]
                outcomes += _measure(options, plan, case, part, failed, is_cold=is_cold)
    print(f"\n{tables.orders_as_markdown()}\n\n{time.monotonic() - began:.0f} s in all")


def _measure(
    options: argparse.Namespace,
    plan: Plan,
    case: Case,
    entries: list[Entry],
    failed: dict[str, str],
    *,
    is_cold: bool,
) -> list[Outcome]:
    """Run, and write at once: an interrupted run keeps what it has."""
    if not entries:
        return []
    outcomes = run_rounds(plan, case, entries, failed, is_cold=is_cold)
    text = f"\n{tables.as_markdown(outcomes)}\n"
    print(text, flush=True)
    if options.markdown:
        with options.markdown.open("a") as file:
            file.write(text)
    if options.json:
        with options.json.open("a") as file:
            file.writelines(f"{json.dumps(one)}\n" for one in tables.as_json(outcomes))
    return outcomes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where the data sets lie")
    parser.add_argument("--case", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--mode", nargs="*", default=["warm", "cold"], choices=["warm", "cold"])
    parser.add_argument("--loader", nargs="*", help="parts of names; all without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--foreign", type=float, default=0.05, help="share of the machine others may take"
    )
    parser.add_argument("--num-samples", type=int, help="of each case, to try things out")
    parser.add_argument("--only-prepare", action="store_true")
    parser.add_argument("--disk", type=float, default=15.0, help="GB that data sets may take")
    parser.add_argument("--markdown", type=Path, help="tables are added to this file as well")
    parser.add_argument("--json", type=Path, help="a line of JSON per loader, case and mode")
    return parser.parse_args()


def _chosen(options: argparse.Namespace, case: Case) -> list[Entry]:
    wanted = [one.lower() for one in options.loader or [""]]
    return [
        entry
        for entry in ENTRIES
        if any(part in entry.name.lower() for part in wanted)
        and (case.name in entry.warm or case.name in entry.cold)
    ]


def _make_room(
    options: argparse.Namespace, case: Case, entries: list[Entry], *, done: list[Case]
) -> bool:
    """Remove the data sets of measured cases while there is too little room; say if there is."""
    needed = missing_bytes(options.work, case, entries)
    removable = [] if options.only_prepare else list(done)
    while needed and used_bytes(options.work) + needed > options.disk * 1e9:
        if not removable:
            return False
        shutil.rmtree(case_folder(options.work, removable.pop(0)), ignore_errors=True)
    return True


if __name__ == "__main__":
    main()
