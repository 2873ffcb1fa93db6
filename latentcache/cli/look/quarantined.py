"""What was left out of a store, and why: the quarantine as ``status`` and ``plan`` show it."""

from typing import TYPE_CHECKING, Any

import click

from latentcache.terminal import print_json, print_table

if TYPE_CHECKING:
    from latentcache.store import ColumnView, Snapshot, Store


def read_quarantine(store: "Store", number: int | None, column: str | None) -> list[dict[str, Any]]:
    """Return the rows left out, once each though every column has the refused ones."""
    from latentcache.store import unpublished_rejects

    if number is None and not store.snapshots():
        return [quarantine_json(row) for row in unpublished_rejects(store, column)]
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
