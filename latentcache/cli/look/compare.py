"""``latentcache compare``: what another latent space does to fidelity, modelability, semantics."""

import errno
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentcache.cli.flags import json_flag, note
from latentcache.cli.look.compare_progress import ComparisonProgress, say_expected
from latentcache.core.errors import ConfigError
from latentcache.core.log_lines import say
from latentcache.terminal import count_text, print_json, print_table, say_first

if TYPE_CHECKING:
    from latentcache.compare import (
        CompareOptions,
        Comparison,
        Estimate,
        Remembered,
        Row,
        Space,
    )

_SECTIONS = ("fidelity", "modelability", "semantics", "cost")


@click.command(short_help="Put latent spaces side by side: columns, snapshots, stores.")
@click.argument("store")
@click.argument("spaces", nargs=-1, metavar="SPACE...")
@click.option(
    "--samples", "num_samples", type=click.IntRange(min=1), default=500, show_default=True,
    metavar="N", help="That all spaces hold, drawn at random.",
)  # fmt: skip
@click.option(
    "--decoded", "num_decoded", type=click.IntRange(min=1), default=250, show_default=True,
    metavar="N", callback=note("num_decoded"), expose_value=False,
    help="Of these, how many are decoded: errors of pixels.",
)  # fmt: skip
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.html",
    callback=note("page"), expose_value=False,
    help="Also write a page with pictures, curves and what each figure means.",
)  # fmt: skip
@click.option(
    "--labels", default="label", show_default=True, metavar="NAME", callback=note("labels"),
    expose_value=False, help="Annotation that names classes.",
)  # fmt: skip
@click.option(
    "--no-probe", is_flag=True, callback=note("has_no_probe"), expose_value=False,
    help="Train no probe, which takes most of the time.",
)  # fmt: skip
@click.option(
    "--only", "only", multiple=True, type=click.Choice(_SECTIONS),
    callback=note("only"), expose_value=False, help="Only this section; again for another.",
)  # fmt: skip
@click.option(
    "--lpips", nargs=2, type=click.Path(dir_okay=False), metavar="BACKBONE HEADS", default=None,
    callback=note("lpips"), expose_value=False,
    help="Also LPIPS: torchvision's AlexNet or VGG16 and the heads of lpips, as files.",
)  # fmt: skip
@click.option(
    "--rfid", type=click.Path(dir_okay=False), metavar="FILE", default=None,
    callback=note("rfid"), expose_value=False,
    help="Also rFID, from 10,000 samples up: the weights of pytorch-fid, as a file.",
)  # fmt: skip
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help="Keep what is measured there; what is there is not measured again.",
)  # fmt: skip
@click.option(
    "--add", "added", multiple=True, metavar="SPACE", callback=note("added"), expose_value=False,
    help="Another space beside those of --keep FOLDER, on the same samples.",
)  # fmt: skip
@click.option(
    "--encoder", "encoders", multiple=True, metavar="SPACE=NAME:PATH", callback=note("encoders"),
    expose_value=False, help="Where the weights of a space are now.",
)  # fmt: skip
@click.option(
    "--corpus", metavar="URL", callback=note("corpus"), expose_value=False,
    help="Where the corpus lies now.",
)  # fmt: skip
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    callback=note("device"), expose_value=False, help="Where encoders run.",
)  # fmt: skip
@click.option(
    "--offline", is_flag=True, callback=note("is_offline"), expose_value=False,
    help="Never ask a model hub.",
)  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, callback=note("seed"), expose_value=False,
    metavar="N", help="Of the draws.",
)  # fmt: skip
@json_flag
@click.pass_context
def compare(
    context: click.Context,
    store: str,
    spaces: tuple[str, ...],
    num_samples: int,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Compare latent SPACEs on the same samples of STORE, each figure with its 95 % interval.

    A SPACE is a column of STORE, COLUMN@SNAPSHOT, another store, or STORE#COLUMN. What differs by
    less than its interval is called equal. There is no total and no winner.
    """
    say_first("opening the stores and their encoders")
    from latentcache.compare import LoadOptions, open_spaces

    names, before = _named(spaces, context.meta["added"], keep)
    loading = LoadOptions(
        encoders=_encoders(context.meta["encoders"]),
        device=context.meta["device"],
        is_offline=context.meta["is_offline"],
    )
    opened = open_spaces(store, names, loading)
    options = before.options if before else _options(context, num_samples)
    options = replace(options, corpus_url=context.meta["corpus"] or options.corpus_url)
    page: Path | None = context.meta["page"]
    if page is not None and not page.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(page))
    found = _run(context, opened, options, keep, before.keys if before else ())
    if page is not None:
        from latentcache.compare import comparison_page

        page.write_text(comparison_page(found), encoding="utf-8")
        click.echo(f"{page}: {len(opened)} spaces side by side", err=True)
    if as_json:
        print_json(found.to_json())
    else:
        print_comparison(found)


_STOPPED = 130


def _run(
    context: click.Context,
    spaces: "list[Space]",
    options: "CompareOptions",
    keep: Path | None,
    keys: Sequence[str],
) -> "Comparison":
    from latentcache.compare import run_comparison

    try:
        with ComparisonProgress() as progress:
            return run_comparison(
                spaces,
                options,
                keep=keep,
                keys=keys,
                on_expected=say_expected,
                on_step=progress.step,
            )
    except KeyboardInterrupt:
        way_out = (
            f"what was measured is in {keep}, and the same command goes on from there"
            if keep is not None
            else "nothing was kept; pass --keep FOLDER to go on from where it was stopped"
        )
        say(f"stopped; {way_out}", event="stopped", level="warning", exit_code=_STOPPED)
        context.exit(_STOPPED)


def print_comparison(found: "Comparison") -> None:
    """Print a table a section, and what a reader must know below each."""
    names = [each.name for each in found.spaces]
    click.echo(f"{count_text(found.num_samples, 'sample')} that all hold")
    for space in found.spaces:
        click.echo(f"{space.name}: {space.facts['encoder']}, {', '.join(space.facts['stored'])}")
    _print_notes(found, "samples")
    for section in _SECTIONS:
        rows = [row for row in found.rows if row.figure.section == section]
        if not rows and section not in found.notes:
            continue
        click.echo(f"\n{section}")
        if rows:
            headers = [
                names[0],
                *(part for name in names[1:] for part in (name, f"less {names[0]}")),
            ]
            print_table(("figure", *headers), [_cells(row, names) for row in rows])
        _print_notes(found, section)
    click.echo(
        "\n\N{PLUS-MINUS SIGN}: half of the 95 % interval over other samples of this corpus; "
        "equal: the difference's interval holds 0"
    )


def _print_notes(found: "Comparison", section: str) -> None:
    for space, sentence in found.notes.get(section, ()):
        click.echo(f"  {space}: {sentence}" if space else f"  {sentence}")


def _cells(row: "Row", names: list[str]) -> list[str]:
    title = row.figure.title + (f", {row.figure.unit}" if row.figure.unit else "")
    cells = [title, _estimate(row.estimates.get(names[0]))]
    for name in names[1:]:
        cells.append(_estimate(row.estimates.get(name)))
        found = row.differences.get((names[0], name))
        if found is None or found.verdict == "unknown":
            cells.append("-")
        elif found.verdict == "equal":
            cells.append("equal")
        else:
            half = (found.high - found.low) / 2
            cells.append(f"{found.value:+.3g} \N{PLUS-MINUS SIGN}{half:.2g}")
    return cells


def _estimate(found: "Estimate | None") -> str:
    if found is None or math.isnan(found.value):
        return "-"
    half = (found.high - found.low) / 2
    spread = "" if math.isnan(half) else f" \N{PLUS-MINUS SIGN}{half:.2g}"
    return f"{found.value:.4g}{spread}"


def _named(
    spaces: tuple[str, ...], added: tuple[str, ...], keep: Path | None
) -> "tuple[list[str], Remembered | None]":
    """Return the spaces to compare, and the kept comparison that some are added to."""
    if added and keep is None:
        raise ConfigError(
            "keep must be the folder of an earlier comparison to add a space to it, got none; "
            "pass --keep FOLDER as then"
        )
    if not added:
        if not spaces:
            raise click.UsageError("name the spaces to compare: columns, snapshots or stores")
        return list(spaces), None
    from latentcache.compare import recall

    assert keep is not None, "refused above"
    before = recall(keep)
    return [*dict.fromkeys((*before.spaces, *spaces, *added))], before


def _encoders(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, has_name, encoder = text.partition("=")
        if not has_name:
            raise ConfigError(
                f"encoder must say of which space it is, got {text!r}; write SPACE={text}"
            )
        found[name] = encoder
    return found


def _options(context: click.Context, num_samples: int) -> "CompareOptions":
    from latentcache.compare import SECTIONS, CompareOptions, ProbeOptions

    only = context.meta["only"]
    return CompareOptions(
        num_samples=num_samples,
        num_decoded=context.meta["num_decoded"],
        seed=context.meta["seed"],
        corpus_url=context.meta["corpus"],
        sections=tuple(each for each in SECTIONS if not only or each in only),
        labels=context.meta["labels"],
        lpips=context.meta["lpips"],
        rfid=context.meta["rfid"],
        probe=None if context.meta["has_no_probe"] else ProbeOptions(),
    )
