"""``latentcache status``: what is planned, encoded, quarantined and missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.corpus_report import corpus_json, joined_totals, print_corpus, samples_of
from latentcache.cli.flags import json_flag, note
from latentcache.cli.look.quarantined import print_quarantine, read_quarantine
from latentcache.cli.look.watching import watch
from latentcache.cli.results import DAMAGED
from latentcache.terminal import count_text, print_json

if TYPE_CHECKING:
    from latentcache.store import Commit, EncodingProgress, Generation, Store


@click.command(short_help="What is planned, encoded, quarantined, missing.")
@click.argument("store")
@click.option("--quarantined", is_flag=True, help="List what was left out: key, source, reason.")
@click.option("--urls", is_flag=True, help="Print the tars of a served column.")
@click.option(
    "--column",
    metavar="NAME",
    expose_value=False,
    callback=note("column"),
    help="Only this column.",
)
@click.option("--snapshot", type=int, metavar="N", help="Another snapshot than the newest.")
@click.option(
    "--watch",
    is_flag=True,
    expose_value=False,
    callback=note("watch"),
    help="Say it again every 5 s until nothing is missing.",
)
@json_flag
@click.pass_context
def status(
    context: click.Context,
    *,
    store: str,
    quarantined: bool,
    urls: bool,
    snapshot: int | None,
    as_json: bool,
) -> None:
    """Say how far STORE is: per column, encoded + quarantined + missing = planned.

    While a run is on, its commits are counted as they land. Tars are listed, not read: verify
    does that. Leaves with 3 if one that is served is gone or cut short.
    """
    from latentcache.store import Store

    opened, column = Store.open(store), context.meta["column"]
    if urls:
        from latentcache.cli.look.urls import print_urls

        print_urls(opened.snapshot(snapshot), column, as_json=as_json)
    elif quarantined:
        print_quarantine(read_quarantine(opened, snapshot, column), as_json=as_json)
    elif context.meta["watch"]:
        seen: dict[str, Commit] = {}
        look = partial(_read_status, opened, snapshot, column, seen)
        _leave_if_damaged(
            context, watch(lambda: _print_status(look(), as_json=as_json, indent=None))
        )
    else:
        look = partial(_read_status, opened, snapshot, column)
        _leave_if_damaged(context, _print_status(look(), as_json=as_json))


@dataclass(frozen=True, slots=True)
class _Status:
    """One look at a store."""

    encodings: "list[EncodingProgress]"
    planned: int
    samples: int | None
    shown: int | None
    numbers: list[int]
    generations: "list[Generation]"


def _leave_if_damaged(context: click.Context, encodings: "Sequence[EncodingProgress]") -> None:
    if any(each.damage for each in encodings):
        context.exit(DAMAGED)


def _read_status(
    store: "Store",
    number: int | None,
    column: str | None,
    seen: "dict[str, Commit] | None" = None,
) -> _Status:
    """Return how far a store is; everything is read before a line is printed."""
    from latentcache.store import num_planned, num_samples, read_progress

    numbers, generations = store.snapshots(), store.generations()
    snapshot = store.snapshot(number) if numbers or number is not None else None
    found = read_progress(store, snapshot, column, seen)
    return _Status(
        encodings=[_with_stale(store, each) for each in found],
        planned=num_planned(store),
        samples=num_samples(store),
        shown=snapshot.number if snapshot else None,
        numbers=numbers,
        generations=generations,
    )


def _print_status(
    status: _Status, *, as_json: bool, indent: int | None = 2
) -> "list[EncodingProgress]":
    """Print how far a store is and return the encodings."""
    from latentcache.cli.look.progress_lines import print_progress

    encodings, generations, shown = status.encodings, status.generations, status.shown
    if as_json:
        found = _status_json(encodings, status.planned, shown, status.numbers)
        if generations:
            found["corpus"] = corpus_json(joined_totals([each.totals for each in generations]))
            found["samples"] = status.planned if status.samples is None else status.samples
        print_json(found, indent=indent)
        return encodings
    if not generations:
        click.echo("nothing is planned yet; run latentcache build or plan")
        return encodings
    planned = count_text(status.planned, "sample")
    if status.samples is not None:
        planned = f"{count_text(status.planned, 'row')} of {count_text(status.samples, 'sample')}"
    click.echo(f"planned: {planned}")
    for generation in generations:
        of = f"generation {generation.number}: " if len(generations) > 1 else ""
        print_corpus(generation.totals, samples_of(generation.totals, generation.num_rows), of=of)
    if shown is None:
        click.echo("snapshot: none yet")
    else:
        others = [str(each) for each in status.numbers if each != shown]
        also = f" (also {', '.join(others)})" if others else ""
        click.echo(f"snapshot: {shown}{also}")
    print_progress(encodings)
    return encodings


def _with_stale(store: "Store", each: "EncodingProgress") -> "EncodingProgress":
    """Return ``each`` with how many of its rows are stale, if it is served and can have such."""
    from latentcache.cli.look.progress_lines import is_of_sample

    if not each.is_served or is_of_sample(each):
        return each
    from latentcache.runner import num_stale

    record = store.read_encoding(each.column, each.fingerprint)
    return replace(each, stale=num_stale(store, record))


def _status_json(
    encodings: "list[EncodingProgress]", planned: int, snapshot: int | None, numbers: list[int]
) -> dict[str, Any]:
    from latentcache.cli.look.progress_lines import progress_json

    leading = {each.column: each for each in reversed(encodings)}
    return {
        "planned": planned,
        "snapshot": snapshot,
        "columns": {name: progress_json(leading[name]) for name in sorted(leading)},
        "snapshots": numbers,
        "encodings": [
            {"column": each.column, "encoder": each.encoder, "served": each.is_served}
            | {"older_snapshots": list(each.older_snapshots)}
            | progress_json(each)
            for each in encodings
        ],
    }
