"""``latentcache report``: a page about a store, for people and for later."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentcache.cli.look.decoding_flags import decoding_flags, decoding_of
from latentcache.core.log_lines import say
from latentcache.terminal import counting, say_first

if TYPE_CHECKING:
    from latentcache.cli.look.decoding_flags import DecodingOptions
    from latentcache.report import Gallery
    from latentcache.store import Snapshot


@click.command(short_help="Draw a page about a store: samples, buckets, statistics.")
@click.argument("store")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE.html",
    help="Where to write.",
)
@click.option("--column", default="latents", show_default=True, metavar="NAME")
@click.option("--snapshot", type=int, metavar="N", help="Another snapshot than the newest.")
@click.option(
    "--samples",
    "num_samples",
    type=click.IntRange(min=0, max=200),
    default=16,
    show_default=True,
    metavar="N",
    help="Drawn at random; 0 draws none and needs neither corpus nor encoder.",
)
@decoding_flags
@click.pass_context
def report(
    context: click.Context,
    store: str,
    output: Path,
    column: str,
    snapshot: int | None,
    num_samples: int,
) -> None:
    """Write one HTML file about STORE: samples with captions, quarantine, buckets, statistics.

    It holds its pictures, needs no network, and says where something is not as it should be.
    """
    say_first("opening the store and its encoder")
    from latentcache import open_store
    from latentcache.encoders import list_encoders
    from latentcache.report import store_report

    opened = open_store(store).snapshot(snapshot)
    opened.column(column)
    gallery, notes = _read_gallery(opened, column, num_samples, decoding_of(context))
    text = store_report(opened, column, gallery=gallery, notes=notes, encoders=list_encoders())
    output.write_text(text, encoding="utf-8")
    click.echo(f"{output}: {len(gallery.items)} samples of {column}, snapshot {opened.number}")
    for note in (*notes, *gallery.told):
        say(f"not drawn: {note}", level="warning")


def _read_gallery(
    snapshot: "Snapshot", column: str, num_samples: int, options: "DecodingOptions"
) -> "tuple[Gallery, list[str]]":
    """Return samples, and why there are none where the encoder cannot be had."""
    from latentcache.core.errors import EncoderError
    from latentcache.evaluate import load_recorded_encoder
    from latentcache.report import Gallery, choose_gallery, read_gallery

    if not num_samples:
        return Gallery(items=()), []
    try:
        encoder = load_recorded_encoder(
            snapshot.column(column).record,
            encoder=options.encoder,
            device=options.device,
            is_offline=options.is_offline,
        )
    except EncoderError as error:
        return Gallery(items=()), [str(error)]
    samples = choose_gallery(snapshot, column, num_samples=num_samples)
    with counting("decode") as on_progress:
        found = read_gallery(
            snapshot,
            column,
            encoder,
            samples,
            corpus_url=options.corpus,
            on_progress=on_progress,
        )
    return found, []
