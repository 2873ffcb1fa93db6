"""Results on stdout: tables for people, JSON for programs, and units a person reads."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from latentcache.core.counts import count_text
from latentcache.core.json_values import finite

__all__ = ["bytes_text", "count_text", "duration_text", "print_json", "print_table", "size_text"]


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print ``value`` as JSON that every parser takes: NaN and infinity become null.

    Args:
        value: What ``json`` can write.
        indent: Spaces a level; None for all in one line.
    """
    click.echo(json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print aligned columns: numbers to the right, text to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    is_right = [
        bool(cells) and all(_is_number(row[index]) for row in cells)
        for index in range(len(headers))
    ]
    widths = [
        max([len(header), *(len(row[index]) for row in cells)])
        for index, header in enumerate(headers)
    ]
    for row in [list(headers), *cells]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "")[:1].isdigit() or text[:1] in "-+."


def bytes_text(num_bytes: float) -> str:
    """Return ``1.5 GB``: decimal, as disks and bills count."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if num_bytes < 1000 or unit == "PB":
            break
        num_bytes /= 1000
    return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.3g} {unit}"


def duration_text(seconds: float) -> str:
    """Return ``45 s``, ``12 min``, ``3.4 h`` or ``2.1 d``."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def size_text(bucket: str) -> str:
    """Return a bucket's name ``TxHxW`` as people read it, width first: see ``Bucket.label``."""
    from latentcache.core.media import Bucket

    return Bucket.parse(bucket).label
