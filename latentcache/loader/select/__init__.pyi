from .selection import select_rows as select_rows
from .source import as_sources as as_sources

__all__ = [
    "as_sources",
    "select_rows",
]
