"""``--storage-options``: what fsspec's file systems are given, by one command and its workers."""

from collections.abc import Sequence

import click

STORAGE_HELP = (
    "Of fsspec's file systems: endpoint_url=URL, profile=NAME, anon=true; s3.KEY=VALUE for one "
    "protocol. Never written down."
)


def storage_flag(command: click.Command) -> None:
    """Add ``--storage-options`` to a command that has no recipe."""
    if any("--storage-options" in each.opts for each in command.params):
        return

    def use(context: click.Context, _: click.Parameter, texts: tuple[str, ...]) -> None:
        if texts:
            use_options(context, texts)

    command.params.append(
        click.Option(
            ["--storage-options"], multiple=True, metavar="KEY=VALUE", expose_value=False,
            callback=use, help=STORAGE_HELP,
        )
    )  # fmt: skip


def use_options(context: click.Context, texts: Sequence[str]) -> None:
    """Give this command and its workers options of storage.

    Raises:
        ConfigError: One is wrong.
    """
    from latentcache.storage import parse_storage_options, use_storage_options

    context.with_resource(use_storage_options(parse_storage_options(texts)))
