"""``latentcache build``: the main job."""

import click

from latentcache.cli.flags import (
    config_flags,
    encode_flags,
    json_flag,
    plan_flags,
    recipe_of,
    resource_flags,
    run_flags,
    seed_flag,
)
from latentcache.cli.progress_bar import reporting
from latentcache.cli.results import print_encode_result, print_plan_result


@click.command(short_help="Plan a corpus, encode it, publish: the main job.")
@click.argument("corpus", required=False)
@click.argument("store", required=False)
@plan_flags
@encode_flags
@seed_flag("plan.seed", "encode.seed")
@run_flags
@resource_flags
@config_flags
@json_flag
@click.pass_context
def build(context: click.Context, corpus: str | None, store: str | None, as_json: bool) -> None:
    """Turn CORPUS into latents in STORE: scan, plan, encode, publish a snapshot.

    CORPUS is a folder of images, of WebDataset tars or of manifests. Run it again to
    finish what was interrupted. CORPUS and STORE may come from --config.
    """
    recipe = recipe_of(context, corpus=corpus, store=store)
    from latentcache import runner

    with reporting() as reporter:
        planned, encoded = runner.build(
            recipe.store, recipe.plan_request(), recipe.encode_request(), reporter=reporter
        )
    if not as_json:
        print_plan_result(planned)
    print_encode_result(context, encoded, as_json=as_json, planned=planned)
