"""What a plan refuses, by kind: how often, and where the first were met."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from latentcache.core.findings import MAX_EXAMPLES
from latentcache.core.media import SourceRef

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_REASONS = 10
"""Of one code, told apart; further ones (they may hold a name of each file) count together."""

_OTHERS = "for other reasons"

_FIGURE = re.compile(r"\d[\d.,]*")
"""What differs from file to file in the reasons of one kind: sizes, shares, counts."""

_FOR_INSTANCE = "for instance "


def refused_kinds(tables: "Iterable[pa.Table]") -> list[dict[str, Any]]:
    """Return code, reason, count and first examples of each kind of refusal, by code.

    Reasons that differ in their figures alone are one kind; it has the first's, as an instance.

    Args:
        tables: Of ``REJECTS_SCHEMA``; read once, and no more is held than is returned.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for table in tables:
        columns = (table[name].to_pylist() for name in ("path", "member", "code", "reason"))
        for path, member, code, reason in zip(*columns, strict=True):
            kinds = found.setdefault(code, {})
            same = _FIGURE.sub("#", reason)
            if same not in kinds and len(kinds) >= _MAX_REASONS:
                same = reason = _OTHERS  # noqa: PLW2901  the kind that it counts as
            kind = kinds.setdefault(
                same, {"code": code, "reason": reason, "count": 0, "examples": []}
            )
            if reason != kind["reason"].removeprefix(_FOR_INSTANCE):
                kind["reason"] = _FOR_INSTANCE + kind["reason"].removeprefix(_FOR_INSTANCE)
            kind["count"] += 1
            if len(kind["examples"]) < MAX_EXAMPLES:
                kind["examples"].append(SourceRef(path=path, member=member).label)
    return [kind for _, kinds in sorted(found.items()) for kind in kinds.values()]
