"""How far each encoding is, in words: a table, and below it what to do about each."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from latentcache.core.inputs import parse_input, recorded_input
from latentcache.decode import pixel_rules
from latentcache.store import EncodingProgress
from latentcache.terminal import bytes_text, count_text, duration_text, print_table

_HEADINGS = (
    "column", "encoder", "encoding", "encoded", "quarantined", "missing", "bytes", "served"
)  # fmt: skip
_SHOWN_DAMAGE = 3


def print_progress(encodings: Sequence[EncodingProgress]) -> None:
    """Print every encoding's figures, and what is to be done."""
    if not encodings:
        click.echo("no column is encoded yet; run latentcache build or encode")
        return
    has_roles = any("role" in each.transform for each in encodings)
    headings = (*_HEADINGS[:5], "absent", *_HEADINGS[5:]) if has_roles else _HEADINGS
    print_table(headings, [_row(each, has_roles=has_roles) for each in encodings])
    warning = mixed_pixels(encodings)
    if warning:
        click.echo(warning)
    for each in encodings:
        for line in _lines(each, time.time()):
            click.echo(line)
    if any(each.is_served for each in encodings):
        click.echo("counted from records and listings; latentcache verify reads every byte")


def progress_json(each: EncodingProgress) -> dict[str, Any]:
    """Return the figures of an encoding as ``--json`` shows them."""
    return {
        "encoding": each.fingerprint,
        "encoded": each.encoded,
        "quarantined": each.quarantined,
        **({"absent": each.absent} if "role" in each.transform else {}),
        **({} if is_of_sample(each) else {"stale": each.stale}),
        "missing": each.missing,
        "bytes": each.num_bytes,
        "damaged": list(each.damage),
        "pixels": dict(pixel_rules(each.transform)),
    }


def mixed_pixels(encodings: Sequence[EncodingProgress]) -> str:
    """Return a warning where served columns were made of pixels by different rules, else ""."""
    served = [
        each
        for each in encodings
        if each.is_served and not parse_input(recorded_input(each.transform)).annotation
    ]
    rules = [pixel_rules(each.transform) for each in served]
    for each, theirs in zip(served[1:], rules[1:], strict=True):
        first, ours = served[0], rules[0]
        unlike = sorted(name for name in {*ours} & {*theirs} if theirs[name] != ours[name])
        if unlike:
            return (
                f"columns {first.column} and {each.column} were made of pixels by different rules "
                f"({', '.join(f'{n} {ours[n]} and {theirs[n]}' for n in unlike)}); "
                "encode one of them again where they have to see the same"
            )
    return ""


def is_of_sample(each: EncodingProgress) -> bool:
    """Whether an encoding is of the samples' own media, and not of texts or a role."""
    return parse_input(recorded_input(each.transform)).is_of_sample


def _row(each: EncodingProgress, *, has_roles: bool) -> tuple[object, ...]:
    return (
        each.column,
        each.encoder,
        each.fingerprint[:12],
        each.encoded,
        each.quarantined,
        *([each.absent] if has_roles else []),
        each.missing,
        bytes_text(each.num_bytes),
        _served_by(each),
    )


def _served_by(each: EncodingProgress) -> str:
    if each.is_served:
        return "yes"
    if not each.older_snapshots:
        return "no"
    return f"by snapshot {', '.join(map(str, each.older_snapshots[-_SHOWN_DAMAGE:]))}"


def _lines(each: EncodingProgress, now_s: float) -> Iterator[str]:
    if each.damage:
        yield (
            f"{each.column}: gone or cut short of what is served: "
            f"{count_text(len(each.damage), 'object')}; run latentcache verify --repair"
        )
        yield from (f"  {what}" for what in each.damage[:_SHOWN_DAMAGE])
    if each.stale:
        yield (
            f"{each.column}: {count_text(each.stale, 'sample')} stale: what they were made of "
            f"({recorded_input(each.transform)}) is another by now; run encode again"
        )
    if each.older_snapshots:
        since = f"; {count_text(each.missing, 'sample')} came since" if each.missing else ""
        yield (
            f"{each.column} ({each.encoder}, {each.fingerprint[:12]}): another encoding took its "
            f"place, runs that began with it read on{since}; when none does: "
            f"latentcache gc STORE --free {each.column}/{each.fingerprint[:12]} --delete"
        )
        return
    if not each.missing:
        return
    name = f"{each.column} ({each.encoder}, {each.fingerprint[:12]})"
    rate, last_s = each.rate(now_s), each.last_commit_s
    if rate:
        left = duration_text(each.missing / rate)
        yield (
            f"{each.column}: {rate:.4g} samples/s lately, about {left} left if a run is at work; "
            "else run the same build or encode again"
        )
        return
    if each.kept_bytes:
        yield (
            f"{each.column}: {bytes_text(each.kept_bytes)} of encoded batches are kept of units "
            "that were begun; the same run takes them up, and counts them once their unit is whole"
        )
    units = count_text(each.num_units_missing, "unit")
    ended = "" if last_s is None else f", last commit {duration_text(now_s - last_s)} ago"
    if each.is_given_up:
        yield (
            f"{name}: a try that was not finished, {count_text(each.missing, 'sample')} missing"
            f"{ended}; finish it with encode --column {each.column} --encoder {each.encoder}, or "
            f"give it up with gc --free {each.column}/{each.fingerprint[:12]} --delete"
        )
    else:
        yield (
            f"{name}: {count_text(each.missing, 'sample')} in {units} missing{ended}; run the "
            "same build or encode again"
        )
