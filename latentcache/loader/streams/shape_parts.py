"""Rows of a bucket parted by the shapes of further columns, so that those make one tensor too.

References are cut by their own aspect: two samples of one bucket may have them of two shapes. A
part is a stream of its own, named after the shapes, and ordered as any other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from latentcache.core.errors import ConfigError
from latentcache.core.inputs import parse_input, recorded_input
from latentcache.loader.order.feistel import Indices
from latentcache.loader.select.bitmap import BitmapWriter, Flags
from latentcache.loader.select.selection import Selection
from latentcache.loader.streams.stream_column import StreamColumn
from latentcache.loader.transform.normalizer import primary_field
from latentcache.store import ColumnView

_NONE = "none"
_LACKING = -1


def columns_to_part_by(views: Mapping[str, ColumnView], batch_by: Sequence[str]) -> list[str]:
    """Return the columns that are meant, each once: by their names, or by that of their role.

    Raises:
        ConfigError: A name is neither, or that of a column of texts.
    """
    found: list[str] = []
    for name in batch_by:
        of_role = [one for one, view in views.items() if _role(view) == name]
        meant = [name] if name in views else of_role
        if not meant:
            roles = sorted({_role(view) for view in views.values()} - {""})
            raise ConfigError(
                f"batch_by must name columns that are loaded ({', '.join(views)}) or their roles "
                f"({', '.join(roles) or 'none'}), got {name!r}; add its column to columns"
            )
        for one in meant:
            if views[one].record.spec.get("modality") == "text":
                raise ConfigError(
                    f"batch_by must leave out columns of texts, which are padded, got {name!r}; "
                    "leave it away"
                )
        found += [one for one in meant if one not in found]
    return found


def _role(view: ColumnView) -> str:
    return parse_input(recorded_input(view.record.transform)).role


def parted(
    selection: Selection, columns: Mapping[str, StreamColumn], num_rows: int
) -> list[tuple[str, Selection]]:
    """Return the parts of one run that have a row, by name.

    A row that a column lacks, and that another stands in for, is of the part with the most rows.

    Args:
        selection: Of the source.
        columns: Those whose shapes part it.
        num_rows: Of the run.
    """
    selected = np.ones(num_rows, bool)
    if selection.bitmap is not None:
        selected = np.unpackbits(selection.bitmap.packed, count=num_rows).astype(bool)
    codes: Indices = np.zeros(num_rows, np.int64)
    names = [""]
    for name, column in columns.items():
        each, shapes = _shapes_of_rows(column, num_rows)
        told = [f"{name} {shape}" for shape in shapes]
        lacks = (each == _LACKING) | (codes == _LACKING)
        codes = np.where(lacks, _LACKING, codes * len(told) + each)
        names = [f"{before}, {one}" for before in names for one in told]
    counts = Counter(codes[selected & (codes != _LACKING)].tolist())
    if not counts:
        return [(", ".join(f"{name} {_NONE}" for name in columns), selection)]
    most = min(counts, key=lambda code: (-counts[code], names[code]))
    codes[codes == _LACKING] = most
    found = [(names[code][2:], _selection(selected & (codes == code))) for code in counts]
    return sorted(found, key=lambda part: part[0])


def _selection(flags: Flags) -> Selection:
    writer = BitmapWriter()
    writer.add(flags)
    bitmap = writer.finish()
    return Selection(bitmap, bitmap.num_set, bitmap.digest())


def _shapes_of_rows(column: StreamColumn, num_rows: int) -> tuple[Indices, list[str]]:
    """Return a number for each row, and the shape that it stands for; -1 is a row without any."""
    field, rows = primary_field(column.view).name, np.arange(num_rows)
    codes: Indices = np.full(num_rows, _LACKING, np.int64)
    shapes = [_NONE]
    codes[column.is_absent(rows)] = 0
    present = rows[column.index.is_present(rows)]
    if not column.is_varying:
        codes[present] = 1
        return codes, [*shapes, _text(column.field(field).shape)]
    if column.cache is not None:
        column.ask(present)
    units = column.index.locate(present).units
    for number in np.unique(units).tolist():
        inside, found = column.varying.shapes(number, field)
        for shape in map(_text, found):
            if shape not in shapes:
                shapes.append(shape)
        numbers = np.array([shapes.index(_text(shape)) for shape in found], np.int64)
        codes[present[units == number]] = numbers[inside]
    return codes, shapes


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
