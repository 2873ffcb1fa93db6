"""Buckets in filters: by either of their names, and none that no plan has."""

import ast
from collections.abc import Collection, Iterator
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader.select.filters import Filter

_FIELD = "bucket"
_MOST_SHOWN = 12


def with_bucket_names(parsed: Filter, buckets: Collection[Bucket]) -> Filter:
    """Return a filter whose buckets are all written as files and programs name them, ``TxHxW``.

    ``320x192``, width first as people read it, means each bucket of that size, whatever its
    frames; ``832x480, 81 frames`` means the one of clips.

    Args:
        parsed: As a person wrote it.
        buckets: Of all generations of the plan.

    Raises:
        ConfigError: It names a bucket that no generation has.
    """
    if _FIELD not in parsed.names:
        return parsed
    return parsed.rewritten(_Spelling(parsed.text, buckets))


class _Spelling(ast.NodeTransformer):
    """Writes ``bucket == "320x192"`` as ``bucket in ("1x192x320", ...)``."""

    def __init__(self, text: str, buckets: Collection[Bucket]) -> None:
        self._text = text
        self._buckets = sorted(buckets, key=lambda one: (one.num_frames, one.label))

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Return the comparison with the buckets that its texts mean."""
        sides = [node.left, *node.comparators]
        if not any(isinstance(side, ast.Name) and side.id == _FIELD for side in sides):
            return node
        named = list(_texts_in(sides))
        if not named:
            return node
        found = [str(bucket) for name in named for bucket in self._meant(name)]
        if len(node.ops) > 1 or not isinstance(
            node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn
        ):
            if found != named:
                raise ConfigError(
                    f"bucket must be compared with ==, != or in, once each, to be named width "
                    f"first, got {ast.unparse(node)!r} ({self._text}); join comparisons with and"
                )
            return node
        is_negated = isinstance(node.ops[0], ast.NotEq | ast.NotIn)
        return ast.Compare(
            left=ast.Name(id=_FIELD, ctx=ast.Load()),
            ops=[ast.NotIn() if is_negated else ast.In()],
            comparators=[ast.Tuple(elts=[ast.Constant(name) for name in found], ctx=ast.Load())],
        )

    def _meant(self, name: str) -> list[Bucket]:
        """Return the buckets of a name, at least one."""
        found = [
            one
            for one in self._buckets
            if name in (str(one), one.label, f"{one.width_px}x{one.height_px}")
        ]
        if not found:
            known = [f"{one.label} ({one})" for one in self._buckets]
            more = len(known) - _MOST_SHOWN
            shown = ", ".join(known[:_MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
            raise ConfigError(
                f"bucket must be one of the plan's, {shown}, got {name!r} "
                f"({self._text}); correct it"
            )
        return found


def _texts_in(sides: list[ast.expr]) -> Iterator[str]:
    """Yield the texts that are compared with."""
    for side in sides:
        members: list[Any] = side.elts if isinstance(side, ast.Tuple | ast.List) else [side]
        for one in members:
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                yield one.value
