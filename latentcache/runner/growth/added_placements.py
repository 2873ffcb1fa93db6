"""Rows for placements that a plan takes in later: a generation of their own, no file opened."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentcache.core.placements import Placement
from latentcache.core.units import BucketRun
from latentcache.plan import PlacedBefore, PlanOptions, assign, plan_base
from latentcache.runner.run_progress import Reporter
from latentcache.store import Generation, GenerationDraft, Store

Admit = Callable[[Sequence[BucketRun]], None]
"""Is asked before anything is written, with the runs that would be."""

_OF_CORPUS = ("file", "places", "classes")


def add_placements(
    store: Store,
    options: PlanOptions,
    added: frozenset[Placement],
    *,
    reporter: Reporter,
    admit: Admit | None,
) -> Generation:
    """Return the generation that gives every live sample some further placements.

    Args:
        store: With a plan.
        options: With the placements that are planned and those that are added.
        added: The latter.
        reporter: Told how many rows there are.
        admit: See ``plan_into``.
    """
    generations = store.generations()
    newest = [each for each in generations if not each.only_retires][-1]
    before = PlacedBefore(store, generations)
    with tempfile.TemporaryDirectory(prefix="latentcache-plan-") as scratch:
        base = replace(plan_base(store, generations), only=added)
        assignment = assign(before, options, Path(scratch), base=base)
        if admit is not None:
            admit(assignment.runs)
        kept: dict[str, Any] = {
            name: newest.totals[name] for name in _OF_CORPUS if name in newest.totals
        }
        if base.classes:
            kept["classes"] = list(base.classes)
        draft = GenerationDraft(
            corpus_url=newest.corpus_url,
            corpus_kind=newest.corpus_kind,
            options=options.as_dict(),
            seed=options.seed,
            runs=assignment.runs,
            rows=assignment.iter_rows(),
            annotations={
                name: assignment.iter_values(name) for name in assignment.annotation_schema.names
            },
            given=before.given_of(assignment.iter_rows()),
            num_placements=len(options.placements),
            totals={
                **kept,
                **assignment.findings.as_dict(),
                "listed": 0,
                "rows": assignment.num_rows,
                "rejects": 0,
                "samples": 0,  # of the generations before
            },
        )
        generation = store.write_generation(draft)
    labels = "; ".join(each.label for each in sorted(added))
    reporter.message(
        f"placements: {assignment.num_rows:,} rows for {assignment.num_samples:,} samples that "
        f"were planned before ({labels})"
    )
    return generation
