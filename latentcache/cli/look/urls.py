"""``latentcache status --urls``: what another reader opens, and how its parts are joined."""

from typing import TYPE_CHECKING

import click

from latentcache.core.errors import StoreError
from latentcache.core.log_lines import say
from latentcache.terminal import count_text, print_json

if TYPE_CHECKING:
    from latentcache.store import ColumnView, Snapshot

_USUAL_COLUMN = "latents"


def print_urls(snapshot: "Snapshot", column: str | None, *, as_json: bool) -> None:
    """Print the tars of one served column on stdout, and on stderr what belongs to them."""
    view = _chosen(snapshot, column)
    tars = view.tar_urls()
    annotations, plan = _annotation_urls(snapshot), _plan_urls(snapshot)
    others = sorted(set(snapshot.columns) - {view.name})
    if as_json:
        print_json(
            {
                "column": view.name,
                "snapshot": snapshot.number,
                "member": f"{view.name}.safetensors",
                "tars": tars,
                "other_columns": others,
                "annotations": annotations,
                "plan": plan,
            }
        )
        return
    for url in tars:
        click.echo(url)
    for line in _joining(view, snapshot.number, others, annotations):
        say(line)


def _chosen(snapshot: "Snapshot", column: str | None) -> "ColumnView":
    names = sorted(snapshot.columns)
    if column is None and len(names) > 1 and _USUAL_COLUMN not in names:
        raise StoreError(
            f"column must be named where there are several, got none of {', '.join(names)} "
            f"(snapshot {snapshot.number}); add --column {names[0]}"
        )
    usual = _USUAL_COLUMN if _USUAL_COLUMN in names or not names else names[0]
    return snapshot.column(column or usual)


def _joining(
    view: "ColumnView", number: int, others: list[str], annotations: dict[str, list[str]]
) -> list[str]:
    """Return what a person has to know to put the parts together."""
    lines = [
        f"column {view.name} of snapshot {number}: {count_text(len(view.tar_urls()), 'tar')}, "
        f"members KEY.{view.name}.safetensors"
    ]
    if others:
        lines.append(
            f"also served: {', '.join(others)}; add --column NAME, and join by the member's key"
        )
    if annotations:
        names = ", ".join(f"{name} ({', '.join(urls)})" for name, urls in annotations.items())
        lines.append(
            f"annotations: {names}; Arrow files of one value per planned sample, in the order of "
            "the keys in plan/: --json has all of it, docs/quickstart.md reads it"
        )
    return lines


def _annotation_urls(snapshot: "Snapshot") -> dict[str, list[str]]:
    root = snapshot.folder.label
    return {
        name: [f"{root}/{entry.name}" for entry in entries]
        for name, entries in sorted(snapshot.record.annotations.items())
    }


def _plan_urls(snapshot: "Snapshot") -> list[str]:
    root = snapshot.folder.label
    return [f"{root}/{part.name}" for one in snapshot.generations for part in one.parts]
