"""``latentcache show``: one sample, original beside decoded latent."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentcache.cli.look.decoding_flags import decoding_flags, decoding_of
from latentcache.core.errors import ConfigError, MediaError, StoreError
from latentcache.core.log_lines import say
from latentcache.terminal import counting, say_first

if TYPE_CHECKING:
    from latentcache.evaluate import Pixels, PlannedSample, RolePicture
    from latentcache.store import ColumnView, Snapshot


_FIRST_AND_REST = (slice(0, 1), slice(1, None))
_SUFFIXES = (".png", ".mp4")
_NUM_SHOWN = 16


@click.command(short_help="Draw samples: original beside decoded latent.")
@click.argument("store")
@click.argument("key", required=False)
@click.option(
    "-o",
    "--output",
    default=Path("show.png"),
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write: a .png, or of a clip an .mp4.",
)
@click.option("--column", default="latents", show_default=True, metavar="NAME")
@click.option("--snapshot", type=int, metavar="N", help="Another snapshot than the newest.")
@decoding_flags
@click.pass_context
def show(
    context: click.Context,
    store: str,
    key: str | None,
    output: Path,
    column: str,
    snapshot: int | None,
) -> None:
    """Write a picture of samples of STORE as they were encoded and as they decode.

    Without KEY it is a sheet of 16 drawn at random: original, decoded, latent, key, caption.
    With it a clip becomes a contact sheet (.png) or a video (.mp4), original above decoded.
    KEY is the 20 digits of a member of a tar, or the path or the file name of the source,
    which stands for a video's first clip, and for a sample's first placement.
    """
    _check_output(output)
    say_first("opening the store and its encoder")
    if key is None:
        _show_some(context, store, output, column, snapshot)
        return
    from latentcache import open_store
    from latentcache.evaluate import (
        find_sample,
        load_recorded_encoder,
        psnr_db,
        reconstruct,
        role_pictures,
    )

    opened = open_store(store).snapshot(snapshot)
    view = opened.column(column)
    sample = find_sample(view, key)
    if output.suffix.lower() == ".mp4" and sample.bucket.num_frames == 1:
        raise ConfigError(
            f"output must be a .png for a picture, got {output} ({sample.source.label} has one "
            "frame); write a .png"
        )
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
    told = f"PSNR {psnr_db(original, decoded):.2f} dB"
    if original.ndim == 4:
        first, rest = (psnr_db(original[part], decoded[part]) for part in _FIRST_AND_REST)
        told += f" (first frame {first:.2f}, rest {rest:.2f})"
    roles = role_pictures(opened, sample, corpus_url=options.corpus, height_px=original.shape[-3])
    lines = _told(opened, view, sample, told, roles)
    beside = [each.picture for each in roles if each.picture is not None]
    output.write_bytes(_drawn(output, sample, (original, decoded), lines, beside))
    click.echo(f"{output}: {sample.key} {sample.bucket.label} {told}")
    for each in roles:
        click.echo(f"{each.role}: {each.label}")
    if original.ndim == 4 and len(original) < sample.bucket.num_frames:
        click.echo(f"the clip is long: its first {len(original):,} frames are shown")


def _show_some(
    context: click.Context, store: str, output: Path, column: str, number: int | None
) -> None:
    """Write a sheet of samples drawn at random."""
    from latentcache import open_store
    from latentcache.evaluate import load_recorded_encoder
    from latentcache.report import choose_gallery, read_gallery, samples_png

    if output.suffix.lower() != ".png":
        raise ConfigError(f"output must be a .png for a sheet of samples, got {output}; name a KEY")
    snapshot, options = open_store(store).snapshot(number), decoding_of(context)
    samples = choose_gallery(snapshot, column, num_samples=_NUM_SHOWN)
    if not samples:
        raise StoreError(
            f"column must hold a sample to show, got none in {column}; run build again"
        )
    loaded = load_recorded_encoder(
        snapshot.column(column).record,
        encoder=options.encoder,
        device=options.device,
        is_offline=options.is_offline,
    )
    with counting("decode") as on_progress:
        found = read_gallery(
            snapshot,
            column,
            loaded,
            samples,
            corpus_url=options.corpus,
            on_progress=on_progress,
        )
    if not found.items:
        raise StoreError(
            f"sources must be there to be shown, got none of {len(samples)} ({found.skipped[0]}); "
            "say where the corpus is now with --corpus"
        )
    output.write_bytes(samples_png(found.items, column))
    click.echo(f"{output}: {len(found.items)} samples of {column}, drawn at random")
    for sentence in found.told:
        say(f"not drawn: {sentence}", level="warning")


def _check_output(output: Path) -> None:
    """Refuse what cannot be written, before anything is read and decoded."""
    if output.suffix.lower() not in _SUFFIXES:
        raise ConfigError(
            f"output must end in {' or '.join(_SUFFIXES)}, got {output}; a .png is a picture or "
            "a contact sheet, an .mp4 a clip that plays"
        )
    if not output.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(output))


def _told(
    snapshot: "Snapshot",
    view: "ColumnView",
    sample: "PlannedSample",
    told: str,
    roles: "Sequence[RolePicture]",
) -> list[str]:
    """Return what is written below a sample: key and figures, source, caption, roles, encoder."""
    from latentcache.report import title_of

    title = title_of(snapshot, sample)
    return [
        f"{sample.key}   {sample.bucket.label}   {told}",
        _where(sample),
        *([title] if title != sample.source.label else []),
        *(f"{each.role}: {each.label}" for each in roles),
        f"{view.record.spec.get('source')}, encoding {view.record.fingerprint}",
    ]


def _where(sample: "PlannedSample") -> str:
    """Return a line about the source, and of a clip the stretch of it."""
    label = sample.source.label
    if sample.placement is not None:
        label += f"   {sample.placement.label}"
    if sample.start_s is None or sample.frame_rate_fps is None:
        return label
    end_s = sample.start_s + sample.bucket.num_frames / sample.frame_rate_fps
    return (
        f"{label}   {sample.start_s:.2f} to {end_s:.2f} s at "
        f"{sample.frame_rate_fps:g} frames a second"
    )


def _drawn(
    output: Path,
    sample: "PlannedSample",
    pictures: "tuple[Pixels, Pixels]",
    lines: Sequence[str],
    beside: "Sequence[Pixels]",
) -> bytes:
    """Return the file's bytes."""
    from latentcache.evaluate import contact_sheet_png, side_by_side_png, stacked_mp4

    if pictures[0].ndim == 3:
        return side_by_side_png((*pictures, *beside), lines)
    draw = stacked_mp4 if output.suffix.lower() == ".mp4" else contact_sheet_png
    return draw(*pictures, lines, frame_rate_fps=sample.frame_rate_fps or 1.0)
