"""``latentcache gc``: delete what no kept snapshot names."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.flags import json_flag, note
from latentcache.cli.values import AGE
from latentcache.terminal import bytes_text, count_text, duration_text, print_json, reporting

if TYPE_CHECKING:
    from latentcache.runner import CompactResult
    from latentcache.store import EncodingRecord, GcReport, Store


@click.command(short_help="Delete what no kept snapshot names; dry run by default.")
@click.argument("store")
@click.option("--delete", is_flag=True, help="Really delete; without it nothing is touched.")
@click.option(
    "--free",
    metavar="ENCODING",
    help="Give up one encoding, with the snapshots that serve it, at once: its first digits or "
    "its encoder, after COLUMN/ where two columns have it. Never what the newest snapshot serves.",
)
@click.option(
    "--compact",
    is_flag=True,
    expose_value=False,
    callback=note("compact"),
    help="Write units and captions again without the samples that were retired, and give up the "
    "snapshots that show them.",
)
@click.option("--retire", type=int, multiple=True, metavar="N", help="Give up snapshot N.")
@click.option(
    "--drop",
    multiple=True,
    metavar="ENCODING",
    expose_value=False,
    callback=note("drop"),
    help="Give up what an encoding has that no snapshot serves.",
)
@click.option(
    "--grace",
    type=AGE,
    expose_value=False,
    callback=note("grace_s"),
    help="Touch nothing younger than this, e.g. 24h, which is the default.",
)
@json_flag
@click.pass_context
def gc(
    context: click.Context,
    *,
    store: str,
    delete: bool,
    free: str | None,
    retire: tuple[int, ...],
    as_json: bool,
) -> None:
    """Say what STORE holds that nothing names any more, and with --delete remove it.

    Snapshots are kept unless retired by number, encodings unless freed or dropped by name.
    """
    from latentcache.store import GRACE_S, QUIET_S, Store, collect_garbage, free_encoding

    opened = Store.open(store)
    drop: tuple[str, ...] = context.meta["drop"]
    compact: bool = context.meta["compact"]
    told_s: float | None = context.meta["grace_s"]
    grace_s = GRACE_S if told_s is None else told_s
    compacted: CompactResult | None = None
    if free is not None:
        if retire or drop or compact:
            raise click.UsageError("--free goes alone: it retires and drops what it has to")
        quiet_s = QUIET_S if told_s is None else told_s
        record = _encoding_named(opened, free)
        report = free_encoding(opened, record, dry_run=not delete, quiet_s=quiet_s)
    else:
        named = [_encoding_named(opened, text) for text in drop]
        if compact:
            compacted = _compacted(opened, delete=delete)
            newest = max(opened.snapshots(), default=0)
            retire = (*retire, *(each for each in compacted.showing if each != newest))
        report = collect_garbage(
            opened,
            retire=retire,
            drop=[(record.column, record.fingerprint) for record in named],
            grace_s=grace_s,
            dry_run=not delete,
        )
    if as_json:
        told = {} if compacted is None else {"compacted": asdict(compacted)}
        print_json({**_report_json(report, grace_s), **told})
        return
    if compacted is not None:
        _print_compacted(compacted, report)
    _print_report(report, grace_s, was_freed=free is not None)


def _compacted(store: "Store", *, delete: bool) -> "CompactResult":
    from latentcache.runner import compact

    with reporting() as reporter:
        return compact(store, dry_run=not delete, reporter=reporter)


def _print_compacted(result: "CompactResult", report: "GcReport") -> None:
    left = len(set(result.left) - {info.name for info in report.deleted})
    if not (result.num_units or result.num_values or left):
        click.echo("no object holds what was retired")
        return
    did, cleared = ("would copy", "would clear") if report.is_dry_run else ("copied", "cleared")
    click.echo(
        f"{did} {count_text(result.num_units, 'unit')}, {bytes_text(result.num_bytes)}, without "
        f"{count_text(result.num_samples, 'retired sample')}; {cleared} "
        f"{count_text(result.num_values, 'value')} of annotations"
    )
    if result.showing:
        numbers = ", ".join(map(str, result.showing))
        click.echo(f"snapshots {numbers} show retired samples and have to go with their bytes")
    if left and not report.is_dry_run:
        click.echo(
            f"{count_text(left, 'older object')} still hold some of it until the grace has passed: "
            "run it again then"
        )


def _report_json(report: "GcReport", grace_s: float) -> dict[str, Any]:
    spared = report.waiting_s
    until = None if spared is None else _utc(spared[1] + grace_s)
    return {
        "deleted": [info.name for info in report.deleted],
        "bytes": report.num_bytes,
        "retired": list(report.retired),
        "waiting": len(report.waiting),
        "waiting_bytes": _num_bytes(report),
        "waiting_until": until,
        "kept": report.num_kept,
        "dry_run": report.is_dry_run,
    }


def _print_report(report: "GcReport", grace_s: float, *, was_freed: bool) -> None:
    did, retired = ("would delete", "would retire") if report.is_dry_run else ("deleted", "retired")
    kinds = ", ".join(f"{count:,} in {kind}" for kind, count in sorted(report.by_kind().items()))
    click.echo(
        f"{did} {count_text(len(report.deleted), 'object')}, {bytes_text(report.num_bytes)}"
        + (f" ({kinds})" if kinds else "")
    )
    if report.retired:
        numbers = ", ".join(map(str, report.retired))
        click.echo(f"{retired} snapshot {numbers}; a run that reads it has to go on with another")
    if not was_freed:
        click.echo(f"kept {count_text(report.num_kept, 'object')}")
    spared = report.waiting_s
    if spared is not None:
        first, last = _utc(spared[0] + grace_s), _utc(spared[1] + grace_s)
        when = f"until {last}" if first == last else f"the first until {first}, the last {last}"
        click.echo(
            f"spared {count_text(len(report.waiting), 'object')}, "
            f"{bytes_text(_num_bytes(report))}: named by nothing, and younger than the grace of "
            f"{duration_text(grace_s)}, {when}; run it again then"
        )
    if report.is_dry_run and (report.deleted or report.retired):
        click.echo("nothing was touched; add --delete to do it")


def _num_bytes(report: "GcReport") -> int:
    return sum(max(0, info.size_bytes) for info in report.waiting)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _encoding_named(store: "Store", text: str) -> "EncodingRecord":
    """Return the encoding whose fingerprint begins with ``text``, or whose encoder it is.

    ``COLUMN/`` or ``COLUMN:`` may stand before either.
    """
    from latentcache.core.errors import ConfigError
    from latentcache.runner import EncodeOptions

    known = [record for column in store.columns() for record in store.encodings(column)]
    within, named = known, text
    for column in store.columns():
        if text.startswith((f"{column}/", f"{column}:")) and len(text) > len(column) + 1:
            within = [record for record in known if record.column == column]
            named = text[len(column) + 1 :]
    encoders = {named, EncodeOptions(encoder=named).for_workers().encoder}
    ways = (
        [record for record in within if record.fingerprint.startswith(named)],
        [record for record in within if record.spec.get("source") in encoders],
    )
    for matching in ways:
        if len(matching) == 1:
            return matching[0]
    raise ConfigError(
        f"encoding must be one of the store's ({_shown(known)}), got {text!r} which names "
        f"{max(map(len, ways))}; give one as it stands there, COLUMN/DIGITS"
    )


def _shown(known: "Sequence[EncodingRecord]") -> str:
    shown = [
        f"{each.column}/{each.fingerprint[:12]} {each.spec.get('source', '')}".strip()
        for each in known
    ]
    return ", ".join(shown) or "none"
