"""Markdown tables of what was measured; ratios are between medians of one run."""

import statistics
from typing import Any

from tests.benchmarks.loading.entries import ORDERS
from tests.benchmarks.loading.running import Outcome

RANKS = {"none": 0, "blocks": 1, "window": 2, "global": 3}
"""Orders by strength; ``none`` is no shuffle."""
GATHER = "in-memory gather, fresh"


def samples_per_s(outcome: Outcome) -> float:
    """Return the median over the rounds, 0 without any."""
    return statistics.median(_rates(outcome)) if outcome.runs else 0.0


def as_markdown(outcomes: list[Outcome]) -> str:
    """Return one table: of one case, warm or cold."""
    case, is_cold = outcomes[0].case, outcomes[0].is_cold
    against = ["files read in order"] if is_cold else [GATHER, "memcpy"]
    limits = [_named(outcomes, name) for name in against]
    title = f"## {case.name}, {'cold' if is_cold else 'warm'}: {case.describe()}"
    head = [
        "loader",
        "order",
        "samples/s",
        "GB/s",
        "spread",
        *(f"of {name}" for name in against),
        "of the best peer",
        "of the best peer, same order or stronger",
        "first batch spans",
        "opening s",
    ]
    head += ["first batch s"] if is_cold else ["first pass"]
    lines = [title, "", _row(head), _row(["---"] * len(head))]
    lines += [_line(outcome, outcomes, limits) for outcome in _sorted(outcomes)]
    lines += ["", *_remarks(outcomes)]
    return "\n".join(lines)


def orders_as_markdown() -> str:
    """Return what the words in the column ``order`` mean."""
    return "\n".join(f"- {name}: {meaning}" for name, meaning in ORDERS.items() if name != "none")


def as_json(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return everything that was measured."""
    return [
        {
            "case": outcome.case.name,
            "mode": "cold" if outcome.is_cold else "warm",
            "name": outcome.entry.name,
            "order": outcome.entry.order,
            "samples_per_s": samples_per_s(outcome),
            "error": outcome.error,
            "runs": outcome.runs,
        }
        for outcome in outcomes
    ]


def _line(outcome: Outcome, outcomes: list[Outcome], limits: list[float]) -> str:
    entry, rate = outcome.entry, samples_per_s(outcome)
    if not rate:
        return _row([entry.name, entry.order, f"failed: {outcome.error}".replace("|", "/")])
    rates = _rates(outcome)
    peers = [each for each in outcomes if each.entry.kind == "peer"]
    strong = [each for each in peers if RANKS[each.entry.order] >= RANKS[entry.order]]
    reach = outcome.runs[0].get("reach")
    last = "first_batch_s" if outcome.is_cold else "first_pass_samples_per_s"
    extra = statistics.median(run[last] for run in outcome.runs)
    is_ours = entry.kind == "ours"
    return _row(
        [
            f"**{entry.name}**" if is_ours else entry.name,
            "-" if entry.order == "none" else entry.order,
            f"{rate:,.0f}",
            f"{rate * outcome.case.row_bytes / 1e9:.2f}",
            f"{min(rates) / rate - 1:+.0%} {max(rates) / rate - 1:+.0%}",
            *(_ratio(rate, limit) for limit in limits),
            _ratio(rate, max(map(samples_per_s, peers), default=0.0)) if is_ours else "",
            _ratio(rate, max(map(samples_per_s, strong), default=0.0)) if is_ours else "",
            "" if reach is None else f"{reach:.1%}",
            f"{statistics.median(run['open_s'] for run in outcome.runs):.2f}",
            f"{extra:.3f}" if outcome.is_cold else f"{extra / rate:.2f}",
        ]
    )


def _remarks(outcomes: list[Outcome]) -> list[str]:
    shares = [run["foreign_share"] for outcome in outcomes for run in outcome.runs]
    if not shares:
        return []
    rounds = max(len(outcome.runs) for outcome in outcomes)
    return [
        f"Median of {rounds} rounds, spread from the slowest to the fastest. Other processes took "
        f"{statistics.median(shares):.1%} of the machine in the median, {max(shares):.1%} at most."
    ]


def _sorted(outcomes: list[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda one: (one.entry.kind != "limit", -samples_per_s(one)))


def _named(outcomes: list[Outcome], name: str) -> float:
    return next((samples_per_s(one) for one in outcomes if one.entry.name == name), 0.0)


def _rates(outcome: Outcome) -> list[float]:
    return [run["samples_per_s"] for run in outcome.runs]


def _ratio(rate: float, other: float) -> str:
    return f"{rate / other:.2f}" if other else ""


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
