"""``latentcache import``: another trainer's cache becomes a store."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.flags import json_flag, note
from latentcache.terminal import count_text, counting, print_json

if TYPE_CHECKING:
    from latentcache.exchange import ImportResult


@click.command("import", short_help="Make a store of another trainer's cache.")
@click.argument("cache")
@click.argument("store")
@click.option("--layout", required=True, metavar="NAME", help="Whose cache it is; list names them.")
@click.option(
    "--encoder",
    required=True,
    metavar="NAME[:WEIGHTS]",
    help="The VAE that made it, as latentcache encoders lists it; with weights, their published "
    "figures are taken.",
)
@click.option(
    "--values", default="", metavar="raw|scaled", expose_value=False, callback=note("values"),
    help="Whether the trainer has scaled them; where its models differ in that.",
)  # fmt: skip
@click.option(
    "--posterior", default="", metavar="mean|sample|moments", expose_value=False,
    callback=note("kind"), help="What of the posterior is kept; likewise.",
)  # fmt: skip
@click.option(
    "--corpus", default="", metavar="FOLDER", expose_value=False, callback=note("corpus"),
    help="The pictures it was made of, which tell names that the cache has hashed or cut.",
)  # fmt: skip
@click.option(
    "--column", default="latents", metavar="NAME", expose_value=False, callback=note("column"),
    help="That it becomes; default latents.",
)  # fmt: skip
@click.option(
    "--unchecked", is_flag=True, expose_value=False, callback=note("unchecked"),
    help="Take the values though they look like the other space.",
)  # fmt: skip
@click.option(
    "--tell", multiple=True, metavar="NAME=VALUE", expose_value=False, callback=note("tell"),
    help="What a layout wants to know, e.g. field=latents_256, shape=4,32,32 of mds.",
)  # fmt: skip
@json_flag
@click.pass_context
def import_command(
    context: click.Context, *, cache: str, store: str, layout: str, encoder: str, as_json: bool
) -> None:
    """Read the CACHE of another trainer into a STORE, its latents bit for bit.

    A new store gets a plan of what the cache holds; one that is planned gets a column, row for row.

    Nothing is encoded. What a cache cannot tell has to be given, is checked where it can be, and
    stands in the encoding, which is marked as imported.
    """
    from latentcache.exchange import ImportRequest, import_cache

    asked: dict[str, Any] = {
        each: context.meta[each] for each in ("values", "kind", "corpus", "column")
    }
    request = ImportRequest(
        layout=layout,
        encoder=encoder,
        is_checked=not context.meta["unchecked"],
        told=dict(_pair(each) for each in context.meta["tell"]),
        **asked,
    )
    with counting("import") as on_progress:
        result = import_cache(cache, store, request, on_progress=on_progress)
    if as_json:
        print_json(asdict(result))
        return
    _print(result)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.UsageError(f"--tell must be NAME=VALUE, got {text!r}")
    return name, value


def _print(result: "ImportResult") -> None:
    click.echo(f"imported {count_text(result.num_samples, 'sample')}, snapshot {result.snapshot}")
    for each in result.said:
        click.echo(f"values: {each}")
    for name, count in result.left_out.items():
        click.echo(f"left out: {count:,} {name}")
    if result.num_refused:
        told = ", ".join(f"{count:,} {code}" for code, count in result.num_refused.items())
        click.echo(f"refused: {told} (e.g. {result.example})")
    if result.unnamed:
        click.echo(
            f"unnamed: {count_text(result.unnamed, 'sample')} whose picture the cache does not "
            "name; --corpus finds those that are hashed"
        )
