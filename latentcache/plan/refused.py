"""What a plan refuses, by kind: how often, and where the first were met."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from latentcache.core.findings import MAX_EXAMPLES
from latentcache.core.media import SourceRef

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_REASONS = 10
"""Of one code, told apart; further ones (they may hold numbers of each file) count together."""

_OTHERS = "for other reasons"


def refused_kinds(tables: "Iterable[pa.Table]") -> list[dict[str, Any]]:
    """Return code, reason, count and first examples of each kind of refusal, by code.

    Args:
        tables: Of ``REJECTS_SCHEMA``; read once, and no more is held than is returned.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for table in tables:
        columns = (table[name].to_pylist() for name in ("path", "member", "code", "reason"))
        for path, member, code, reason in zip(*columns, strict=True):
            kinds = found.setdefault(code, {})
            if reason not in kinds and len(kinds) >= _MAX_REASONS:
                reason = _OTHERS  # noqa: PLW2901  the kind that it counts as
            kind = kinds.setdefault(
                reason, {"code": code, "reason": reason, "count": 0, "examples": []}
            )
            kind["count"] += 1
            if len(kind["examples"]) < MAX_EXAMPLES:
                kind["examples"].append(SourceRef(path=path, member=member).label)
    return [kind for _, kinds in sorted(found.items()) for kind in kinds.values()]
