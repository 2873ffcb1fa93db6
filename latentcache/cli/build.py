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
    update_flags,
)
from latentcache.cli.places import corpus_and_store, places_argument
from latentcache.cli.results import print_encode_results, print_plan_result
from latentcache.cli.run_reporting import run_reporting
from latentcache.terminal import say_first


@click.command(short_help="Plan a corpus, encode it, publish: the main job.")
@places_argument
@plan_flags
@update_flags
@encode_flags
@seed_flag("plan.seed", "encode.seed")
@run_flags
@resource_flags
@config_flags
@json_flag
@click.pass_context
def build(context: click.Context, places: tuple[str, ...], as_json: bool) -> None:
    """Turn CORPUS into latents in STORE: scan, plan, encode, publish a snapshot.

    CORPUS is a folder of images, of WebDataset tars or of manifests, or one of those files;
    several are planned together, and '{00000..00031}.tar' and '*.tar' are understood. Run it
    again to finish what was interrupted. CORPUS and STORE may come from --config.

    Several columns are encoded in one pass: --column latents=flux:PATH --column dino=dinov2:PATH.
    """
    recipe = recipe_of(context, **corpus_and_store(places))
    say_first("looking into the corpus")
    from latentcache import runner

    with run_reporting(recipe.store, recipe.resources) as reporter:
        planned, encoded = runner.build_columns(
            recipe.store, recipe.plan_request(), recipe.encode_requests(), reporter=reporter
        )
    if not as_json:
        print_plan_result(planned)
    print_encode_results(context, encoded, as_json=as_json, planned=planned)
