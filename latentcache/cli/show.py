"""``latentcache show``: one sample, original beside decoded latent."""

from pathlib import Path

import click

from latentcache.cli.flags import decoding_flags, decoding_of
from latentcache.core.errors import MediaError, StoreError


@click.command(short_help="Draw one sample: original beside decoded latent.")
@click.argument("store")
@click.argument("key")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Where to write the picture.",
)
@click.option("--column", default="latents", show_default=True, metavar="NAME")
@click.option("--snapshot", type=int, metavar="N", help="Another snapshot than the newest.")
@decoding_flags
@click.pass_context
def show(
    context: click.Context,
    store: str,
    key: str,
    output: Path,
    column: str,
    snapshot: int | None,
) -> None:
    """Write a picture of the sample KEY of STORE as it was encoded and as it decodes.

    KEY is the 20 digits of a member of a tar, or the path of the source in the corpus.
    """  # fmt: skip
    from latentcache import open_store
    from latentcache.evaluate import (
        above_each_other,
        film_strip,
        find_sample,
        load_recorded_encoder,
        psnr_db,
        reconstruct,
        side_by_side_png,
    )

    view = open_store(store).snapshot(snapshot).column(column)
    sample = find_sample(view, key)
    options = decoding_of(context)
    loaded = load_recorded_encoder(
        view.record,
        encoder=options.encoder,
        device=options.device,
        is_offline=options.is_offline,
    )
    try:
        original, decoded = reconstruct(view, sample, loaded, corpus_url=options.corpus)
    except MediaError as error:
        raise StoreError(
            f"source must be there to be shown, got {sample.source.label} ({error}); "
            "say where the corpus is now with --corpus"
        ) from None
    psnr = f"{psnr_db(original, decoded):.2f} dB"
    lines = (
        f"{sample.key}   {sample.bucket}   PSNR {psnr}",
        f"{sample.source.label}",
        f"{view.record.spec.get('source')}, encoding {view.record.fingerprint}",
    )
    pictures = [original, decoded]
    if original.ndim == 4:  # a clip: its frames in a row, what they decode to below
        pictures = [above_each_other([film_strip(original), film_strip(decoded)])]
    output.write_bytes(side_by_side_png(pictures, lines))
    click.echo(f"{output}: {sample.key} {sample.bucket} PSNR {psnr}")
