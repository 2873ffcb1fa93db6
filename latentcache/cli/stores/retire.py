"""``latentcache retire``: take samples out of a store by name, for good."""

from dataclasses import asdict
from pathlib import Path

import click

from latentcache.cli.flags import json_flag
from latentcache.core.errors import ConfigError
from latentcache.core.log_lines import say
from latentcache.terminal import count_text, print_json

_NOT_ALL = 3
"""As ``annotate`` ends whose rows name samples that there are not."""


@click.command(short_help="Take samples out by key or path; no later snapshot shows them.")
@click.argument("store")
@click.argument("names", nargs=-1, metavar="[KEY_OR_PATH]...")
@click.option(
    "--from",
    "listed",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A text file with a key or path on each line.",
)
@json_flag
@click.pass_context
def retire(
    context: click.Context,
    store: str,
    names: tuple[str, ...],
    listed: Path | None,
    as_json: bool,
) -> None:
    """Hide samples of STORE from the next snapshot on, in every column.

    A path takes all clips of its video and all placements of each; tar!member is one sample of a
    tar, a key one row. A file that is still in
    the corpus stays out of later updates. Older snapshots and the tars keep what they have.
    Names that no sample has are told, and end in 3.
    """
    from latentcache.runner import retire_samples
    from latentcache.store import Store

    result = retire_samples(Store.open(store), (*names, *_lines(listed)))
    if as_json:
        print_json(asdict(result))
        context.exit(_NOT_ALL if result.unknown else 0)
    again = f" ({result.num_before:,} were before)" if result.num_before else ""
    told = count_text(result.num_retired, "sample")
    if result.num_media is not None:
        of = count_text(result.num_media, "file")
        told = f"{count_text(result.num_retired, 'row')} of {of}"
    click.echo(f"retired {told}{again}")
    if result.unknown:
        some = ", ".join(result.unknown[:3])
        say(f"unknown: {count_text(len(result.unknown), 'name')} (e.g. {some})", level="warning")
    if result.snapshot is not None:
        older = ", ".join(map(str, result.older_snapshots))
        click.echo(f"snapshot {result.snapshot} leaves them out; older ones ({older}) show them")
    context.exit(_NOT_ALL if result.unknown else 0)


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(
            f"names must be in a text file, got {path} ({why.lower()}); put one on each line"
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]
