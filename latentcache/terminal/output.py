"""Results on stdout: tables for people, JSON for programs, and units a person reads."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import click


def print_json(value: Any) -> None:
    """Print ``value`` as JSON that every parser takes: NaN and infinity become null."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


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


def count_text(number: int, what: str) -> str:
    """Return ``1 sample`` or ``2,000 samples``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size_text(bucket: str) -> str:
    """Return a bucket's name ``TxHxW`` as people read it, width first: see ``Bucket.label``."""
    from latentcache.core.media import Bucket

    return Bucket.parse(bucket).label
