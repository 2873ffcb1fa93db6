"""``latentcache plan``: scan and plan only, or say what it would come to."""

import click

from latentcache.cli.estimates import estimate_json, print_estimate
from latentcache.cli.flags import (
    config_flags,
    encode_flags,
    json_flag,
    note,
    plan_flags,
    recipe_of,
    resource_flags,
    seed_flag,
    update_flags,
    was_given,
)
from latentcache.cli.places import corpora_alone, corpus_and_store, places_argument
from latentcache.cli.results import (
    empty_sentence,
    leave_if_incomplete,
    plan_json,
    plan_sentences,
    print_plan_result,
)
from latentcache.cli.run_reporting import run_reporting
from latentcache.terminal import print_json, say_first


@click.command(short_help="Scan and plan only; --estimate says what it would take.")
@places_argument
@click.option(
    "--estimate",
    is_flag=True,
    help="Write nothing: print samples, buckets, shards, bytes; with --encoder also hours.",
)
@click.option(
    "--prices", default="", metavar="HOUR,TB_MONTH[,MONTHS]", expose_value=False,
    callback=note("prices"), help="Of this machine and of storage, for --estimate: from which "
    "epoch on caching pays.",
)  # fmt: skip
@plan_flags
@update_flags
@seed_flag("plan.seed")
@encode_flags
@resource_flags
@config_flags
@json_flag
@click.pass_context
def plan(
    context: click.Context,
    places: tuple[str, ...],
    estimate: bool,
    as_json: bool,
) -> None:
    """Give every sample of CORPUS its bucket, crop, shard and row in STORE.

    Only headers are read. The encoder's flags matter to --estimate alone, which needs no
    STORE.
    """  # fmt: skip
    if estimate:
        _estimate(context, places, as_json=as_json)
        return
    recipe = recipe_of(context, **corpus_and_store(places))
    say_first("looking into the corpus")
    from latentcache import runner

    with run_reporting(recipe.store, recipe.resources) as reporter:
        result = runner.plan_corpus(recipe.store, recipe.plan_request(), reporter=reporter)
    if as_json:
        print_json(plan_json(result))
    else:
        print_plan_result(result, with_buckets=True)
    leave_if_incomplete(context, plan_sentences(result))


def _estimate(context: click.Context, places: tuple[str, ...], *, as_json: bool) -> None:
    recipe = recipe_of(context, **corpora_alone(places))
    say_first("looking into the corpus")
    from latentcache import runner

    told = context.meta["prices"]
    prices = runner.Prices.parse(told) if told else None
    encode = recipe.encode if was_given(context, "encode.encoder") else None
    if was_given(context, "column"):  # it may say its encoder
        request = recipe.encode_request()
        encode = request.encode if "encoder" in (request.given or ()) else None
    with run_reporting(recipe.store, recipe.resources) as reporter:
        found = runner.estimate(recipe.plan_request(), encode, reporter=reporter)
    if as_json:
        print_json(estimate_json(found, prices))
    else:
        print_estimate(found, prices)
    leave_if_incomplete(context, [empty_sentence(found.num_samples, sum(found.rejects.values()))])
