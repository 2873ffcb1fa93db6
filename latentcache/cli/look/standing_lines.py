"""How far each encoding is, in words: a table, and below it what to do about each."""

import time
from collections.abc import Iterator, Sequence

import click

from latentcache.cli.look.standing import Standing, mixed_pixels
from latentcache.cli.output import bytes_text, count_text, duration_text, print_table

_HEADINGS = (
    "column", "encoder", "encoding", "encoded", "quarantined", "missing", "bytes", "served"
)  # fmt: skip
_SHOWN_DAMAGE = 3


def print_standings(standings: Sequence[Standing]) -> None:
    """Print every encoding's figures, and what is to be done."""
    if not standings:
        click.echo("no column is encoded yet; run latentcache build or encode")
        return
    print_table(_HEADINGS, [_row(each) for each in standings])
    warning = mixed_pixels(standings)
    if warning:
        click.echo(warning)
    for each in standings:
        for line in _lines(each, time.time()):
            click.echo(line)
    if any(each.is_served for each in standings):
        click.echo("counted from records and listings; latentcache verify reads every byte")


def _row(each: Standing) -> tuple[object, ...]:
    return (
        each.column,
        each.encoder,
        each.fingerprint[:12],
        each.encoded,
        each.quarantined,
        each.missing,
        bytes_text(each.num_bytes),
        "yes" if each.is_served else "no",
    )


def _lines(each: Standing, now_s: float) -> Iterator[str]:
    if each.damage:
        yield (
            f"{each.column}: gone or cut short of what is served: "
            f"{count_text(len(each.damage), 'object')}; run latentcache verify --repair"
        )
        yield from (f"  {what}" for what in each.damage[:_SHOWN_DAMAGE])
    if not each.missing:
        return
    name = f"{each.column} ({each.encoder}, {each.fingerprint[:12]})"
    rate, last_s = each.rate(now_s), each.last_commit_s
    if rate:
        left = duration_text(each.missing / rate)
        yield f"{each.column}: {rate:.4g} samples/s lately, about {left} left"
        return
    units = count_text(each.num_units_missing, "unit")
    ended = "" if last_s is None else f", last commit {duration_text(now_s - last_s)} ago"
    if each.is_given_up:
        yield (
            f"{name}: a try that was not finished, {each.missing:,} samples missing{ended}; finish "
            f"it with encode --encoder {each.encoder}, or give it up with gc --free "
            f"{each.fingerprint[:12]} --delete"
        )
    else:
        yield (
            f"{name}: {each.missing:,} samples in {units} missing{ended}; run the same build or "
            "encode again"
        )
