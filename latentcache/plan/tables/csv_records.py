"""Rows of CSV and TSV files; a quote that is never closed costs its own row."""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Set
from typing import Any, BinaryIO

from latentcache.core.errors import ConfigError
from latentcache.plan.tables.table_rows import MAX_LINE_BYTES, BrokenRecord, Record

_FLOAT = re.compile(r"-?\d+\.\d+(?:[eE][-+]?\d+)?")
_OTHER_SEPARATORS = {"|": "a bar", ";": "a semicolon", "\t": "a tab", ",": "a comma"}


def iter_csv(file: BinaryIO, extension: str, texts: Set[str]) -> Iterator[Record | BrokenRecord]:
    """Yield the rows of one table.

    Args:
        file: From its start.
        extension: ``.tsv`` for tabs, else commas.
        texts: Columns that are text whatever their characters.
    """
    with _text(file) as text:
        rows = _Rows(text, _separator(extension))
        header: list[str] | None = None
        number = 0
        for cells in rows:
            if isinstance(cells, str):
                number += 1
                yield BrokenRecord(number, cells)
            elif header is None:
                header = [name.strip() for name in cells]
            elif cells:
                number += 1
                if len(cells) > len(header):
                    what = f"the row has {len(cells)} cells, the header {len(header)}"
                    yield BrokenRecord(number, f"{what} (line {rows.line})")
                else:
                    yield Record(number, _fields(header, cells, texts))


def csv_header(file: BinaryIO, extension: str) -> list[str]:
    """Return the names of the columns; empty if the first row cannot be read.

    Raises:
        ConfigError: The columns are separated by another character.
    """
    separator = _separator(extension)
    with _text(file) as text:
        try:
            header: list[str] = next(csv.reader(text, delimiter=separator), [])
        except csv.Error:
            return []
    if len(header) == 1:
        for other, name in _OTHER_SEPARATORS.items():
            if other != separator and other in header[0]:
                raise ConfigError(
                    f"separator must be {_OTHER_SEPARATORS[separator]} in {extension} files, got "
                    f"{name} in the header {header[0][:80]!r}; write the table with "
                    f"{_OTHER_SEPARATORS[separator]}{' or name it .tsv' if other == TAB else ''}"
                )
    return [cell.strip() for cell in header]


TAB = "\t"


def _separator(extension: str) -> str:
    return TAB if extension == ".tsv" else ","


def _text(file: BinaryIO) -> io.TextIOWrapper:
    csv.field_size_limit(MAX_LINE_BYTES)
    # Bytes that are not UTF-8 stay recognizable: a path of them is opened, a text is left out.
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


class _Rows:
    """The cells of each row, or a sentence where there is none.

    Python's reader takes an open quote to the end of the file for one cell. So a record of
    several lines is read again by the strict rules, and where they fail its first line is the
    broken one and the next line begins a new record.

    Attributes:
        line: Number of the line that the last row began in, from 1.
    """

    def __init__(self, text: io.TextIOWrapper, separator: str) -> None:
        self._text, self._separator = text, separator
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self._next_line = 1
        self.line = 1

    def __iter__(self) -> Iterator[list[str] | str]:
        reader = self._reader(self._lines())
        while True:
            self.line = self._next_line
            self._taken.clear()
            try:
                cells: list[str] = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"the row is not CSV: {error} (line {self.line})"
                self._next_line += len(self._taken)
                reader = self._reader(self._lines())
                continue
            if self._is_broken(cells):
                yield (
                    f"a quote that opens in line {self.line} is not closed in its row, which "
                    "would take the rows after it"
                )
                self._again.extendleft(reversed(self._taken[1:]))
                self._next_line += 1
                reader = self._reader(self._lines())
                continue
            self._next_line += len(self._taken)
            yield cells

    def _lines(self) -> Iterator[str]:
        while True:
            line = self._again.popleft() if self._again else self._text.readline()
            if not line:
                return
            self._taken.append(line)
            yield line

    def _reader(self, lines: Iterator[str], *, strict: bool = False) -> Any:
        return csv.reader(lines, delimiter=self._separator, strict=strict)

    def _is_broken(self, cells: list[str]) -> bool:
        taken = self._taken
        if len(taken) == 1 and (taken[0].endswith(("\n", "\r")) or '"' not in taken[0]):
            return False
        try:
            strict = list(self._reader(iter(taken), strict=True))
        except csv.Error:
            # A quote within a cell is no open one where the row ends with its line.
            return len(taken) > 1 or cells[-1].endswith(("\n", "\r")) or _is_open(taken[0])
        return strict != [cells]


def _is_open(line: str) -> bool:
    return line.count('"') % 2 == 1


def _fields(header: list[str], cells: list[str], texts: Set[str]) -> dict[str, Any]:
    pairs = zip(header, cells, strict=False)
    return {name: text if name in texts else _cell(text) for name, text in pairs if text != ""}


def _cell(text: str) -> str | int | float:
    """Return a number only if ``text`` spells it as numbers are usually written."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(text)) == text:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
