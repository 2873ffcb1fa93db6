"""``latentcache stats``: what the latents of a store look like in numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.flags import json_flag
from latentcache.terminal import print_json, print_table

if TYPE_CHECKING:
    from latentcache.stats import ColumnStatistics
    from latentcache.store import ColumnView, Snapshot


@click.command(short_help="Exact statistics of the stored latents.")
@click.argument("store")
@click.option("--column", metavar="NAME", help="Only this column.")
@click.option("--snapshot", type=int, metavar="N", help="Another snapshot than the newest.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Also write a page with histograms of one column.",
)
@json_flag
def stats(
    store: str, column: str | None, snapshot: int | None, page: Path | None, as_json: bool
) -> None:
    """Print per-channel statistics of STORE's columns, over stored values.

    They speak of the stored field mean, z or sample, before normalization. The z columns
    say what normalization as published makes of them: mean 0 and std 1 if it fits.
    """
    from latentcache import open_store
    from latentcache.stats import ColumnStatistics
    from latentcache.stats import as_json as statistics_json

    opened = open_store(store).snapshot(snapshot)
    names = [column] if column else sorted(opened.columns)
    views = {name: opened.column(name) for name in names}
    found = {name: ColumnStatistics.from_arrays(view.statistics()) for name, view in views.items()}
    ops = {name: published_ops(view) for name, view in views.items()}
    if page is not None:
        _write_page(page, opened, names)
    if as_json:
        sizes = {name: codebook_size(view) for name, view in views.items()}
        print_json(statistics_json(found, ops, sizes))
        return
    for name in names:
        _print_column(views[name], found[name], ops[name])
    if page is not None:
        click.echo(f"{page}: a page of {names[0]}, snapshot {opened.number}")


def _write_page(page: Path, opened: "Snapshot", names: Sequence[str]) -> None:
    from latentcache.report import read_store_page, stats_page

    if len(names) != 1:
        raise click.UsageError(
            f"--html shows one column, name it with --column: {', '.join(names)}"
        )
    page.write_text(stats_page(read_store_page(opened, names[0])), encoding="utf-8")


def published_ops(view: "ColumnView") -> Sequence[Mapping[str, Any]]:
    """Return the normalization that the encoder of a column publishes, as plain JSON."""
    normalizer = view.record.normalizer
    return list(normalizer["ops"]) if normalizer else []


def codebook_size(view: "ColumnView") -> int | None:
    """Return how many entries each codebook of a column's encoder has, None without one."""
    codebook = view.record.spec.get("codebook")
    return int(codebook["size"]) if codebook else None


def _print_column(
    view: "ColumnView", statistics: "ColumnStatistics", ops: Sequence[Mapping[str, Any]]
) -> None:
    from latentcache.stats import (
        CODES_HEADER,
        TABLE_HEADER,
        codes_rows,
        summary_rows,
        table_rows,
    )

    encoder = view.record.spec.get("source") or view.record.spec.get("name")
    click.echo(f"{view.name} ({encoder}, encoding {view.record.fingerprint})")
    for name, value in summary_rows(statistics, ops):
        click.echo(f"  {name}: {value}")
    counted = statistics.primary.pooled.num_samples if statistics.primary else 0
    if counted > view.entry.num_encoded > 0:
        gone = counted - view.entry.num_encoded
        click.echo(f"  of {counted:,} samples, {gone:,} of which were retired since")
    for header, rows in (
        (TABLE_HEADER, table_rows(statistics, ops)),
        (CODES_HEADER, codes_rows(statistics, codebook_size(view))),
    ):
        if rows:
            print_table(header, rows)
    if not statistics.latents and not statistics.codes:
        click.echo("  no sample is encoded, so there is nothing to count")
