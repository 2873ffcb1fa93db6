"""``latentcache annotate``: captions and labels revised without a plan."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from latentcache.cli.flags import CommandT, json_flag, note
from latentcache.cli.results import leave_if_incomplete
from latentcache.core.findings import finding_lines
from latentcache.terminal import count_text, print_json

if TYPE_CHECKING:
    from latentcache.plan import Revision


def _column(name: str, what: str) -> Callable[[CommandT], CommandT]:
    return click.option(
        f"--{name}-column", callback=note(f"{name}_column"), default="", metavar="NAME",
        expose_value=False, help=f"Column that {what}.",
    )  # fmt: skip


@click.command(short_help="Revise captions and labels of a store from a table.")
@click.argument("store")
@click.argument("table", metavar="TABLE")
@_column("path", "names the sample")
@_column("caption", "is the caption")
@_column("label", "is the label")
@json_flag
@click.pass_context
def annotate(context: click.Context, store: str, table: str, as_json: bool) -> None:
    """Give samples of STORE the captions, labels and other values of TABLE.

    TABLE is a .csv, .tsv, .jsonl or .parquet with a column `key`, or one of file names (file_name,
    path ...) as they were planned. Samples that it does not name keep what they have. Nothing is
    scanned or encoded; a new snapshot serves the revision, and runs under way keep theirs.
    """
    from latentcache.plan import PlanOptions, annotate
    from latentcache.store import Store

    names = ("path_column", "caption_column", "label_column")
    options = PlanOptions(**{name: context.meta[name] for name in names})
    found = annotate(Store.open(store), table, options)
    if as_json:
        print_json({**asdict(found), "findings": found.findings.as_dict()})
    else:
        _print(found)
    sentence = ""
    if found.num_unmatched:
        sentence = (
            f"rows must name samples of the plan, got {found.num_unmatched:,} of "
            f"{found.num_rows:,} that do not (e.g. {', '.join(found.unmatched)}); the others are "
            "revised"
        )
    leave_if_incomplete(context, [sentence])


def _print(found: "Revision") -> None:
    revised = ", ".join(f"{name} {count:,}" for name, count in sorted(found.revised.items()))
    click.echo(
        f"{count_text(found.num_rows, 'row')}, {count_text(found.num_samples, 'sample')} found; "
        f"revised: {revised or 'nothing'}"
    )
    if found.num_empty:
        click.echo(
            f"{count_text(found.num_empty, 'value')} of the table are empty; what was there stays"
        )
    for line in finding_lines(found.findings.as_dict()):
        click.echo(line)
    if found.snapshot is None:
        click.echo("nothing is encoded yet; the next build serves it")
    else:
        click.echo(f"snapshot {found.snapshot} serves it")
