"""``latentcache demo``: the whole way on a corpus drawn on the spot."""

from pathlib import Path

import click


@click.command(short_help="See it work: a drawn corpus, a store, a model, a page.")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
def demo(out: Path) -> None:
    """Draw a corpus, build a store, kill a build and go on, train a model, write OUT/index.html."""
    from latentcache.demo import run_demo

    run_demo(out)
