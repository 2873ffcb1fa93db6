"""``latentcache export``: latents as another tool reads them."""

from dataclasses import asdict
from typing import Any

import click

from latentcache.cli.flags import json_flag, note
from latentcache.core.log_lines import say
from latentcache.terminal import count_text, counting, print_json


@click.command(short_help="Write latents as another tool reads them.")
@click.argument("store")
@click.argument("dest")
@click.option(
    "--format",
    "name",
    required=True,
    metavar="NAME",
    help="webdataset (tars with captions inside), mds (mosaicml-streaming), musubi or simpletuner "
    "(a cache folder of that trainer).",
)
@click.option(
    "--column", multiple=True, metavar="NAME", expose_value=False, callback=note("column"),
    help="Default: latents; repeat for more.",
)  # fmt: skip
@click.option("--snapshot", type=int, metavar="N", help="Another than the newest.")
@click.option(
    "--filter", "filter_text", default="", metavar="EXPRESSION", expose_value=False,
    callback=note("filter_text"), help='Only samples that it selects, e.g. "score > 5".',
)  # fmt: skip
@click.option(
    "--architecture", default="", metavar="ARCH", expose_value=False,
    callback=note("architecture"), help="Of musubi-tuner's names, e.g. wan, qi, hv.",
)  # fmt: skip
@click.option(
    "--posterior", default="mode", metavar="mode|sample", expose_value=False,
    callback=note("draw"), help="What a trainer's folder gets of a posterior.",
)  # fmt: skip
@click.option(
    "--dtype", default="auto", type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
    expose_value=False, callback=note("dtype"), help="Of tensors in a trainer's folder.",
)  # fmt: skip
@json_flag
@click.pass_context
def export(
    context: click.Context,
    *,
    store: str,
    dest: str,
    name: str,
    snapshot: int | None,
    as_json: bool,
) -> None:
    """Write the live samples of STORE to DEST in another tool's own format.

    Trainers' folders get values as that trainer caches them, scaled or raw; the others get them as
    they are stored, and the published figures stand in the store.
    """
    from latentcache.exchange import ExportRequest, export_samples
    from latentcache.store import Store

    asked: dict[str, Any] = {
        each: context.meta[each] for each in ("filter_text", "architecture", "draw", "dtype")
    }
    request = ExportRequest(format=name, columns=context.meta["column"] or ("latents",), **asked)
    opened = Store.open(store).snapshot(snapshot)
    with counting("export") as on_progress:
        result = export_samples(opened, dest, request, on_progress=on_progress)
    if as_json:
        print_json(asdict(result))
        return
    click.echo(f"exported {count_text(result.num_samples, 'sample')} to {dest}")
    for lacking, count in result.lacking.items():
        click.echo(f"left out: {count_text(count, 'sample')} that {lacking} has nothing of")
    for each in result.notes:
        say(each)
