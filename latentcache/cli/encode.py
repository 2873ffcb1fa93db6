"""``latentcache encode``: a column more, or another encoder for one."""

import click

from latentcache.cli.flags import (
    config_flags,
    encode_flags,
    json_flag,
    recipe_of,
    resource_flags,
    run_flags,
    seed_flag,
)
from latentcache.cli.results import print_encode_results
from latentcache.cli.run_reporting import run_reporting
from latentcache.terminal import say_first


@click.command(short_help="Add a column, or swap the encoder of one.")
@click.argument("store", required=False)
@encode_flags
@seed_flag("encode.seed")
@run_flags
@resource_flags
@config_flags
@json_flag
@click.pass_context
def encode(context: click.Context, store: str | None, as_json: bool) -> None:
    """Encode the planned STORE with one encoder and publish a snapshot that serves it.

    Nothing is scanned again. Snapshots that exist stay readable. Several columns are encoded in
    one pass over the pixels: --column latents=flux:PATH --column dino=dinov2:PATH.
    """
    recipe = recipe_of(context, store=store)
    say_first("opening the store")
    from latentcache import runner

    with run_reporting(recipe.store, recipe.resources) as reporter:
        results = runner.encode_columns(recipe.store, recipe.encode_requests(), reporter=reporter)
    print_encode_results(context, results, as_json=as_json)
