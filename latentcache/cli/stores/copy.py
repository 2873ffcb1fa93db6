"""``latentcache copy``: a store, or some of its samples, to another place."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from latentcache.cli.flags import json_flag
from latentcache.terminal import bytes_text, count_text, counting, print_json

if TYPE_CHECKING:
    from latentcache.exchange import CopyResult, SubsetResult


@click.command(short_help="Copy a store, or the samples that a filter selects.")
@click.argument("store")
@click.argument("dest")
@click.option("--snapshot", type=int, metavar="N", help="That one alone; all without it.")
@click.option(
    "--filter",
    "filter_text",
    default="",
    metavar="EXPRESSION",
    help='Only samples that it selects, into a store of its own, e.g. "score > 5".',
)
@json_flag
def copy(store: str, dest: str, snapshot: int | None, filter_text: str, as_json: bool) -> None:
    """Copy STORE to DEST, both a folder or a URL; every object is compared with its checksum.

    Run again it finishes what is missing. A whole copy keeps the store's id, so that runs find
    their snapshots in it.
    """
    from latentcache.exchange import copy_store, copy_subset
    from latentcache.store import Store

    opened = Store.open(store)
    result: CopyResult | SubsetResult
    with counting("copy") as on_progress:
        if filter_text:
            result = copy_subset(
                opened.snapshot(snapshot), dest, filter_text=filter_text, on_progress=on_progress
            )
        else:
            result = copy_store(opened, dest, snapshot=snapshot, on_progress=on_progress)
    if as_json:
        print_json(asdict(result))
        return
    click.echo(_told(result))


def _told(result: "CopyResult | SubsetResult") -> str:
    from latentcache.exchange import SubsetResult

    there = f"; {result.num_there:,} were there" if result.num_there else ""
    if isinstance(result, SubsetResult):
        return (
            f"copied {count_text(result.num_samples, 'sample')} in "
            f"{count_text(result.num_units, 'unit')}{there}"
        )
    numbers = ", ".join(map(str, result.snapshots))
    sent = f"{count_text(result.num_objects, 'object')}, {bytes_text(result.num_bytes)}"
    return f"copied {sent}{there}; snapshots {numbers}"
