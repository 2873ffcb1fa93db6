"""``latentcache status``: what is planned, encoded, quarantined and missing."""

import time
from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.corpus_report import corpus_json, print_corpus
from latentcache.cli.flags import json_flag
from latentcache.cli.output import bytes_text, count_text, duration_text, print_json, print_table

if TYPE_CHECKING:
    from latentcache.cli.standing import Standing
    from latentcache.store import ColumnView, Snapshot, Store


@click.command(short_help="What is planned, encoded, quarantined, missing.")
@click.argument("store")
@click.option("--quarantined", is_flag=True, help="List what was left out: key, source, reason.")
@click.option("--urls", is_flag=True, help="Print the tars of the snapshot.")
@click.option("--column", metavar="NAME", help="Only this column.")
@click.option("--snapshot", type=int, metavar="N", help="Another snapshot than the newest.")
@json_flag
def status(
    *,
    store: str,
    quarantined: bool,
    urls: bool,
    column: str | None,
    snapshot: int | None,
    as_json: bool,
) -> None:
    """Say how far STORE is: per column, encoded + quarantined + missing = planned.

    While a run is on, its commits are counted as they land.
    """
    from latentcache.store import Store

    opened = Store.open(store)
    if urls:
        _print_urls(opened.snapshot(snapshot), column, as_json=as_json)
    elif quarantined:
        rows = _quarantine(opened, snapshot, column)
        _print_quarantine(rows, as_json=as_json)
    else:
        _print_status(opened, snapshot, column, as_json=as_json)


def _views(snapshot: "Snapshot", column: str | None) -> "list[ColumnView]":
    names = [column] if column else sorted(snapshot.columns)
    return [snapshot.column(name) for name in names]


def _print_urls(snapshot: "Snapshot", column: str | None, *, as_json: bool) -> None:
    urls = [url for view in _views(snapshot, column) for url in view.tar_urls()]
    if as_json:
        print_json(urls)
        return
    for url in urls:
        click.echo(url)


def _quarantine(store: "Store", number: int | None, column: str | None) -> list[dict[str, Any]]:
    """Return the rows left out, once each though every column has the refused ones."""
    from latentcache.cli.standing import unpublished_quarantine

    if number is None and not store.snapshots():
        return unpublished_quarantine(store, column)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for view in _views(store.snapshot(number), column):
        for row in view.quarantine().to_pylist():
            shown = quarantine_json(row)
            rows.setdefault((row["key"], f"{row['stage']} {row['reason']}"), shown)
    return list(rows.values())


def quarantine_json(row: dict[str, Any]) -> dict[str, Any]:
    """Return a quarantined sample as ``--json`` shows it."""
    member = f"!{row['member']}" if row["member"] else ""
    return {
        "key": row["key"],
        "source": row["path"] + member,
        "stage": row["stage"],
        "reason": row["reason"],
        "transient": row["is_transient"],
    }


def _print_quarantine(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("nothing is quarantined")
    else:
        print_table(
            ("key", "source", "stage", "reason"),
            [
                (
                    row["key"],
                    row["source"],
                    row["stage"],
                    row["reason"] + _advice(row),
                )
                for row in rows
            ],
        )


def _advice(row: dict[str, Any]) -> str:
    """Return what may help a quarantined sample: its file is opened again, or the plan is made."""
    if not row["transient"]:
        return ""
    if row["stage"] == "scan":
        return " (may pass: plan into another store, this plan is made)"
    return " (may pass: --retry-quarantined)"


def _print_status(store: "Store", number: int | None, column: str | None, *, as_json: bool) -> None:
    from latentcache.cli.standing import num_planned, read_standings

    numbers = store.snapshots()
    snapshot = store.snapshot(number) if numbers or number is not None else None
    standings = read_standings(store, snapshot, column)
    planned = num_planned(store)
    shown = snapshot.number if snapshot else None
    if as_json:
        found = _status_json(standings, planned, shown, numbers)
        if generations := store.generations():
            found["corpus"] = corpus_json(generations[-1].totals)
        print_json(found)
        return
    if not store.generations():
        click.echo("nothing is planned yet; run latentcache build or plan")
        return
    click.echo(f"planned: {count_text(planned, 'sample')}")
    for generation in store.generations():
        print_corpus(generation.totals, generation.num_rows)
    if shown is None:
        click.echo("snapshot: none yet")
    else:
        others = [str(each) for each in numbers if each != shown]
        also = f" (also {', '.join(others)})" if others else ""
        click.echo(f"snapshot: {shown}{also}")
    _print_standings(standings)


def _status_json(
    standings: "list[Standing]", planned: int, snapshot: int | None, numbers: list[int]
) -> dict[str, Any]:
    leading = {each.column: each for each in reversed(standings)}
    return {
        "planned": planned,
        "snapshot": snapshot,
        "columns": {name: leading[name].as_json() for name in sorted(leading)},
        "snapshots": numbers,
        "encodings": [
            {"column": each.column, "encoder": each.encoder, "served": each.is_served}
            | each.as_json()
            for each in standings
        ],
    }


def _print_standings(standings: "list[Standing]") -> None:
    if not standings:
        click.echo("no column is encoded yet; run latentcache build or encode")
        return
    print_table(
        ("column", "encoder", "encoding", "encoded", "quarantined", "missing", "bytes", "served"),
        [
            (
                each.column,
                each.encoder,
                each.fingerprint[:12],
                each.encoded,
                each.quarantined,
                each.missing,
                bytes_text(each.num_bytes),
                "yes" if each.is_served else "no",
            )
            for each in standings
        ],
    )
    from latentcache.cli.standing import mixed_pixels

    warning = mixed_pixels(standings)
    if warning:
        click.echo(warning)
    for each in standings:
        rate = each.rate(time.time())
        if each.missing and rate:
            left = duration_text(each.missing / rate)
            click.echo(f"{each.column}: {rate:.4g} samples/s lately, about {left} left")
        elif each.missing:
            units = count_text(each.num_units_missing, "unit")
            click.echo(
                f"{each.column} ({each.encoder}): {each.missing:,} samples in {units} missing; "
                "run the same build or encode again"
            )
