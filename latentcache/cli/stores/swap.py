"""``latentcache swap``: another encoder for a column, from the estimate to the last byte."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from latentcache.cli.estimates import print_calibration
from latentcache.cli.flags import (
    config_flags,
    encode_flags,
    json_flag,
    recipe_of,
    resource_flags,
    run_flags,
    seed_flag,
)
from latentcache.cli.results import leave_if_incomplete, print_encode_results
from latentcache.cli.run_reporting import run_reporting
from latentcache.terminal import (
    bytes_text,
    count_text,
    duration_text,
    print_json,
    print_table,
    say_first,
)

if TYPE_CHECKING:
    from latentcache.runner import EncoderEstimate, SwapEstimate, SwapResult


@click.command(short_help="Move a column to another encoder; --estimate says what it takes.")
@click.argument("store", required=False)
@click.option("--estimate", is_flag=True, help="Write nothing: both encoders side by side.")
@encode_flags
@seed_flag("encode.seed")
@run_flags
@resource_flags
@config_flags
@json_flag
@click.pass_context
def swap(context: click.Context, store: str | None, estimate: bool, as_json: bool) -> None:
    """Encode a column of STORE with another encoder, verify it, and only then serve it.

    Run it again if it was stopped. Runs that have begun stay on the old encoding, which stays until
    it is given up by name; the last line says how.
    """
    recipe = recipe_of(context, store=store)
    if not recipe.encode_request().given:
        raise click.UsageError(
            "a swap must be told what is to be another: give --encoder, or an option like "
            "--storage-dtype"
        )
    say_first("opening the store")
    from latentcache import runner

    with run_reporting(recipe.store, recipe.resources) as reporter:
        if estimate:
            found = runner.estimate_swap(recipe.store, recipe.encode_request(), reporter=reporter)
        else:
            result = runner.swap_column(recipe.store, recipe.encode_request(), reporter=reporter)
    if estimate:
        _print_estimate(found, as_json=as_json)
        return
    if as_json:
        print_json(asdict(result))
        leave_if_incomplete(context, [result.encoded.limit_sentence])
        return
    old = old_sentence(result, recipe.store)
    print_encode_results(context, [result.encoded], as_json=False, last=old)


def old_sentence(result: "SwapResult", store: str) -> str:
    """Return what became of the old encoding, and how it is given up."""
    if not result.old_encoding:
        return "nothing else was served before"
    return (
        f"{result.old_encoder} is still there for runs that began with it, "
        f"{bytes_text(result.old_bytes)}; when none does: latentcache gc {store} --free "
        f"{result.encoded.column}/{result.old_encoding[:12]} --delete"
    )


def _print_estimate(found: "SwapEstimate", *, as_json: bool) -> None:
    if as_json:
        values = asdict(found)
        if found.calibration is not None:
            values["calibration"]["bucket"] = str(found.calibration.bucket)
        print_json(values)
        return
    click.echo(f"{count_text(found.num_samples, 'sample')} of column {found.column}")
    rows = [_row("now", found.old), _row("then", found.new)]
    print_table(("", "encoder", "bytes", "time here"), rows)
    if found.new.refused:
        click.echo(f"does not fit: {', '.join(found.new.refused)}")
    if found.calibration is not None:
        print_calibration(found.calibration)
    click.echo("nothing was written")


def _row(when: str, each: "EncoderEstimate | None") -> tuple[str, str, str, str | None]:
    if each is None:
        return when, "none", "", None
    hours = None if each.hours is None else duration_text(each.hours * 3600)
    return when, each.name, bytes_text(each.bytes), hours
