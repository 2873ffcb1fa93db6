"""Tables: rows of values with a heading, scrolling sideways where the screen is narrow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from latentcache.report.markup import Content, Markup, element, join

CellKind = Literal["text", "number", "prose", "code", "ids", "good", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """A heading and how the cells below it are set."""

    heading: str
    kind: CellKind = "text"


def text_columns(*headings: str) -> list[TableColumn]:
    """Return columns of text."""
    return [TableColumn(heading=heading) for heading in headings]


def number_columns(*headings: str) -> list[TableColumn]:
    """Return columns of numbers, set to the right."""
    return [TableColumn(heading=heading, kind="number") for heading in headings]


def table(
    columns: Sequence[TableColumn],
    rows: Sequence[Sequence[Content]],
    *,
    total: Sequence[Content] | None = None,
) -> Markup:
    """Return a table.

    Args:
        columns: One per cell of a row.
        rows: Cells are escaped unless they are markup.
        total: A last row that sums up, or None.
    """
    head = Markup("")
    if any(column.heading for column in columns):
        headings = element("tr", None, *(_heading(column) for column in columns))
        head = element("thead", None, headings)
    body = element("tbody", None, *(_row(columns, row) for row in rows))
    foot = element("tfoot", None, _row(columns, total)) if total is not None else Markup("")
    return element("div", {"class": "scroll"}, element("table", None, head, body, foot))


def long_table(
    columns: Sequence[TableColumn], rows: Sequence[Sequence[Content]], *, num_shown: int
) -> Markup:
    """Return a table of the first rows, and the rest behind a line to click."""
    if len(rows) <= num_shown + 2:
        return table(columns, rows)
    summary = element("summary", None, f"the other {len(rows) - num_shown:,} rows")
    rest = element("details", None, summary, table(columns, rows[num_shown:]))
    return join([table(columns, rows[:num_shown]), rest])


def _heading(column: TableColumn) -> Markup:
    attributes = {"class": "number"} if column.kind == "number" else None
    return element("th", attributes, column.heading)


def _row(columns: Sequence[TableColumn], cells: Sequence[Content]) -> Markup:
    pairs = zip(columns, cells, strict=True)
    return element("tr", None, *(_cell(column, content) for column, content in pairs))


def _cell(column: TableColumn, content: Content) -> Markup:
    if column.kind == "text":
        return element("td", None, content)
    if column.kind == "code":
        return element("td", None, element("code", None, content))
    return element("td", {"class": column.kind}, content)
