"""``latentcache gc``: delete what no kept snapshot names."""

from typing import TYPE_CHECKING

import click

from latentcache.cli.flags import json_flag
from latentcache.cli.output import bytes_text, count_text, duration_text, print_json
from latentcache.cli.values import AGE

if TYPE_CHECKING:
    from latentcache.store import Store


@click.command(short_help="Delete what no kept snapshot names; dry run by default.")
@click.argument("store")
@click.option("--delete", is_flag=True, help="Really delete; without it nothing is touched.")
@click.option("--retire", type=int, multiple=True, metavar="N", help="Give up snapshot N.")
@click.option(
    "--drop",
    multiple=True,
    metavar="FINGERPRINT",
    help="Give up what an encoding has that no snapshot serves; its first digits do.",
)
@click.option(
    "--grace", type=AGE, help="Touch nothing younger than this, e.g. 24h, which is the default."
)
@json_flag
def gc(
    *,
    store: str,
    delete: bool,
    retire: tuple[int, ...],
    drop: tuple[str, ...],
    grace: float | None,
    as_json: bool,
) -> None:
    """Say what STORE holds that nothing names any more, and with --delete remove it.

    Snapshots are kept unless retired by number, encodings unless dropped by fingerprint.
    """  # fmt: skip
    from latentcache.store import GRACE_S, Store, collect_garbage

    opened = Store.open(store)
    grace_s = GRACE_S if grace is None else grace
    report = collect_garbage(
        opened,
        retire=retire,
        drop=[_encoding_named(opened, text) for text in drop],
        grace_s=grace_s,
        dry_run=not delete,
    )
    if as_json:
        print_json(
            {
                "deleted": [info.name for info in report.deleted],
                "bytes": report.num_bytes,
                "retired": list(report.retired),
                "waiting": report.num_waiting,
                "kept": report.num_kept,
                "dry_run": report.is_dry_run,
            }
        )
        return
    did = "would delete" if report.is_dry_run else "deleted"
    kinds = ", ".join(f"{count:,} in {kind}" for kind, count in sorted(report.by_kind().items()))
    click.echo(
        f"{did} {count_text(len(report.deleted), 'object')}, {bytes_text(report.num_bytes)}"
        + (f" ({kinds})" if kinds else "")
    )
    click.echo(f"kept {count_text(report.num_kept, 'object')}")
    if report.num_waiting:
        age = duration_text(grace_s)
        click.echo(f"{report.num_waiting:,} more are named by nothing but younger than {age}")
    if report.is_dry_run and (report.deleted or report.retired):
        click.echo("nothing was touched; add --delete to do it")


def _encoding_named(store: "Store", text: str) -> tuple[str, str]:
    """Return the (column, fingerprint) of the encoding whose fingerprint begins with ``text``."""
    from latentcache.core.errors import ConfigError

    known = [
        (column, record.fingerprint)
        for column in store.columns()
        for record in store.encodings(column)
    ]
    matching = [pair for pair in known if pair[1].startswith(text)]
    if len(matching) != 1:
        shown = ", ".join(fingerprint[:12] for _, fingerprint in known) or "none"
        raise ConfigError(
            f"fingerprint must name one encoding ({shown}), got {text!r} which names "
            f"{len(matching)}; see latentcache status"
        )
    return matching[0]
