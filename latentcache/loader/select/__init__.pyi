from .source import as_sources as as_sources

__all__ = [
    "as_sources",
]
