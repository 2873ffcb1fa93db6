"""What was left out of a store, and why: the quarantine as ``status`` and ``plan`` show it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from latentcache.terminal import print_json, print_table

if TYPE_CHECKING:
    from latentcache.store import ColumnView, Snapshot, Store


def read_quarantine(store: "Store", number: int | None, column: str | None) -> list[dict[str, Any]]:
    """Return what was left out: tars, tables and folders that were lost, then samples.

    Samples are there once though every column has the refused ones.
    """
    from latentcache.store import unpublished_rejects

    lost = [each for one in store.generations() for each in lost_containers(one.totals)]
    if number is None and not store.snapshots():
        refused = unpublished_rejects(store, column)
        return [*lost, *(quarantine_json(row) for row in refused)]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for view in _views(store.snapshot(number), column):
        for row in view.quarantine().to_pylist():
            shown = quarantine_json(row)
            rows.setdefault((row["key"], f"{row['stage']} {row['reason']}"), shown)
    return [*lost, *rows.values()]


def lost_containers(totals: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the containers that a plan could not read whole as rows without a key."""
    return [
        {
            "key": "",
            "source": each["name"],
            "stage": "list",
            "reason": f"not read whole: {each['reason']}",
            "transient": False,
        }
        for each in totals.get("containers", {}).get("names", ())
    ]


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


def print_quarantine(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print what ``read_quarantine`` found."""
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


def _views(snapshot: "Snapshot", column: str | None) -> "list[ColumnView]":
    names = [column] if column else sorted(snapshot.columns)
    return [snapshot.column(name) for name in names]
