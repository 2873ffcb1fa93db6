"""``latentcache fold``: pack what many small updates left in full shards, without an encoder."""

from dataclasses import asdict

import click

from latentcache.cli.flags import json_flag
from latentcache.terminal import count_text, counting, print_json


@click.command(short_help="Pack what many small updates left into full shards.")
@click.argument("store")
@click.option("--dry-run", is_flag=True, help="Say what would be done; nothing is written.")
@json_flag
def fold(store: str, dry_run: bool, as_json: bool) -> None:
    """Move the samples of STORE's small generations into one, as they are, in every column.

    A run that began before keeps its snapshot and its order. Run again it finishes what was killed.
    """
    from latentcache.exchange import fold_store
    from latentcache.store import Store

    with counting("fold") as on_progress:
        result = fold_store(Store.open(store), dry_run=dry_run, on_progress=on_progress)
    if as_json:
        print_json(asdict(result))
        return
    if not result.num_samples:
        click.echo("nothing to fold: no bucket has two generations of less than a shard")
        return
    did = "would fold" if dry_run else "folded"
    click.echo(
        f"{did} {count_text(result.num_samples, 'sample')} of "
        f"{count_text(result.num_generations, 'generation')}: "
        f"{count_text(result.num_shards_before, 'shard')} are {result.num_shards:,}"
    )
    if not dry_run:
        click.echo(
            f"snapshot {result.snapshot} serves them; older ones are as they were, and gc "
            "--compact frees what lies there twice when no run needs them"
        )
