"""``latentcache verify``: is everything there, is it right, and can it be made right."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.flags import (
    cluster_flags,
    config_flags,
    json_flag,
    note,
)
from latentcache.cli.look.decoding_flags import DecodingOptions, decoding_flags, decoding_of
from latentcache.cli.results import DAMAGED
from latentcache.core.errors import StoreError
from latentcache.terminal import count_text, counting, print_json

if TYPE_CHECKING:
    from latentcache.evaluate import FidelityReport
    from latentcache.store import Damage, Snapshot, VerifyReport

_SHOWN_DAMAGE = 50
_SHOWN_SAMPLES = 20


@click.command(short_help="Checksums, shapes, finiteness, alignment; --decode, --repair.")
@click.argument("store")
@click.option(
    "--decode",
    "num_decoded",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Decode N samples and compare them with their sources (PSNR).",
)
@click.option("--repair", is_flag=True, help="Encode again what is damaged, and publish.")
@click.option("--column", metavar="NAME", help="Only this column.")
@click.option(
    "--snapshot",
    type=int,
    metavar="N",
    expose_value=False,
    callback=note("snapshot"),
    help="Another snapshot than the newest.",
)
@decoding_flags
@cluster_flags
@config_flags
@json_flag
@click.pass_context
def verify(
    context: click.Context,
    store: str,
    num_decoded: int,
    repair: bool,
    column: str | None,
    as_json: bool,
) -> None:
    """Compare every byte that a snapshot of STORE names with what was recorded: the newest's.

    Leaves with 3 if anything is damaged (and was not repaired).
    """  # fmt: skip
    from latentcache.store import Store

    opened = Store.open(store)
    number: int | None = context.meta["snapshot"]
    try:
        found = opened.snapshot(number)
    except StoreError as error:
        if number not in (None, *opened.snapshots()) or not opened.snapshots():
            raise
        # A record that is damaged or another's: what it names cannot be told.
        _show(_only(error), [], {}, as_json=as_json)
        context.exit(DAMAGED)
    if repair and number not in (None, opened.snapshots()[-1]):
        raise click.UsageError("--repair mends the newest snapshot; leave out --snapshot")
    columns = [found.column(column).name] if column else None
    report = _verify(found, columns)
    repaired: list[str] = []
    if repair and not report.ok:
        from latentcache.cli.look.repair import repair_damage

        repaired = repair_damage(context, opened, found, report.damaged)
        found = opened.snapshot()
        report = _verify(found, columns)
    fidelity = {}
    if num_decoded and report.ok:
        fidelity = _measure(found, columns, num_decoded, decoding_of(context))
    _show(report, repaired, fidelity, as_json=as_json)
    if not report.ok:
        context.exit(DAMAGED)


def _show(
    report: "VerifyReport",
    repaired: list[str],
    fidelity: "dict[str, FidelityReport]",
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json(_verify_json(report, repaired, fidelity))
    else:
        _print_report(report, repaired, fidelity)


def _only(error: StoreError) -> "VerifyReport":
    """Return the report of a snapshot that cannot be opened."""
    from latentcache.store import Damage, VerifyReport

    damage = Damage(column="", unit=None, key=None, what=str(error))
    return VerifyReport(num_shards=0, num_samples=0, damaged=(damage,))


def _verify(snapshot: "Snapshot", columns: Sequence[str] | None) -> "VerifyReport":
    from latentcache.store import verify_snapshot

    with counting("verify") as on_progress:
        return verify_snapshot(snapshot, columns=columns, on_progress=on_progress)


def _measure(
    snapshot: "Snapshot",
    columns: Sequence[str] | None,
    num_samples: int,
    options: DecodingOptions,
) -> "dict[str, FidelityReport]":
    """Return the fidelity of every column whose encoder can decode; one that was asked for must."""
    from latentcache.core.errors import EncoderError
    from latentcache.evaluate import load_recorded_encoder, measure_fidelity

    reports = {}
    for name in columns or sorted(snapshot.columns):
        view = snapshot.column(name)
        try:
            encoder = load_recorded_encoder(
                view.record,
                encoder=options.encoder,
                device=options.device,
                is_offline=options.is_offline,
            )
        except EncoderError:
            if columns or len(snapshot.columns) == 1:
                raise
            continue
        reports[name] = measure_fidelity(view, encoder, num_samples, corpus_url=options.corpus)
    return reports


def _verify_json(
    report: "VerifyReport", repaired: list[str], fidelity: "dict[str, FidelityReport]"
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ok": report.ok,
        "shards": report.num_shards,
        "samples": report.num_samples,
        "damaged": [_damage_json(damage) for damage in report.damaged],
    }
    if repaired:
        shown["repaired"] = repaired
    if fidelity:
        first, *others = fidelity.values()
        shown["psnr_db"] = _psnr_json(first)
        if others:
            shown["psnr_db_by_column"] = {name: _psnr_json(each) for name, each in fidelity.items()}
    return shown


def _damage_json(damage: "Damage") -> dict[str, Any]:
    return {**asdict(damage), "unit": str(damage.unit) if damage.unit else None}


def _psnr_json(report: "FidelityReport") -> dict[str, Any]:
    shown: dict[str, Any] = {
        "mean": report.mean_db,
        "min": report.min_db,
        "samples": {key: report.psnr_db[key] for key in report.worst_first()},
        "sources": report.sources,
        "skipped": report.skipped,
    }
    if report.rest_db:
        shown["first_frame"] = _part_json(report.first_frame_db)
        shown["rest"] = _part_json(report.rest_db)
    return shown


def _part_json(by_key: dict[str, float]) -> dict[str, Any]:
    from latentcache.evaluate import mean_of

    return {"mean": mean_of(by_key), "min": min(by_key.values()), "samples": by_key}


def _print_report(
    report: "VerifyReport", repaired: list[str], fidelity: "dict[str, FidelityReport]"
) -> None:
    if repaired:
        click.echo(f"repaired: {', '.join(repaired)}")
    for damage in report.damaged[:_SHOWN_DAMAGE]:
        where = f"{damage.column} {damage.unit or ''} {damage.key or ''}".strip() or "plan"
        click.echo(f"damaged: {' '.join(where.split())}: {damage.what}")
    if len(report.damaged) > _SHOWN_DAMAGE:
        click.echo(f"damaged: {len(report.damaged) - _SHOWN_DAMAGE:,} more")
    seen = f"{count_text(report.num_shards, 'shard')}, {count_text(report.num_samples, 'sample')}"
    click.echo(f"{'ok' if report.ok else 'damaged'}: {seen}")
    _print_advice(report, is_repaired=bool(repaired))
    for name, each in fidelity.items():
        _print_fidelity(name, each)


def _print_fidelity(name: str, found: "FidelityReport") -> None:
    from latentcache.evaluate import mean_of

    worst = found.worst_first()
    for key in worst[:_SHOWN_SAMPLES]:
        line = f"{name} {found.sources[key]} {found.psnr_db[key]:.2f} dB"
        if key in found.rest_db:
            first, rest = found.first_frame_db[key], found.rest_db[key]
            line += f", first frame {first:.2f}, rest {rest:.2f}"
        click.echo(f"{line} ({key})")
    if len(worst) > _SHOWN_SAMPLES:
        click.echo(f"{name}: {len(worst) - _SHOWN_SAMPLES:,} more, better ones; --json has all")
    for why in list(found.skipped.values())[:_SHOWN_SAMPLES]:
        click.echo(f"{name} not compared: {why}")
    if found.mean_db is not None and found.min_db is not None:
        click.echo(
            f"{name}: PSNR mean {found.mean_db:.2f} dB, min {found.min_db:.2f} dB "
            f"over {count_text(len(found.psnr_db), 'sample')}"
        )
    if found.rest_db:
        parts = ", ".join(
            f"{what} mean {mean_of(part):.2f} dB, min {min(part.values()):.2f} dB"
            for what, part in (("first frame", found.first_frame_db), ("rest", found.rest_db))
        )
        click.echo(f"{name}: of {count_text(len(found.rest_db), 'clip')}: {parts}")


def _print_advice(report: "VerifyReport", *, is_repaired: bool) -> None:
    if any(damage.unit is not None for damage in report.damaged) and not is_repaired:
        click.echo("latentcache verify --repair encodes damaged units again")
    if any(damage.unit is None for damage in report.damaged):
        click.echo("what is no unit of a column cannot be encoded again: restore it from a copy")
