"""What the numbers of ``label`` stand for, and that they stand for the same in all sources."""

from collections.abc import Sequence

from latentcache.core.errors import ConfigError
from latentcache.store import Snapshot

LABEL = "label"


def find_classes(snapshots: Sequence[Snapshot]) -> tuple[str, ...] | None:
    """Return the names of the classes, by number, or None where labels came as numbers.

    Args:
        snapshots: Of a run's sources.

    Raises:
        ConfigError: Two sources number different classes.
    """
    found: list[tuple[str, ...]] = []
    for snapshot in snapshots:
        # Later generations may add classes, and never number one anew.
        named: list[list[str]] = [
            one.totals["classes"] for one in snapshot.generations if "classes" in one.totals
        ]
        if named:
            found.append(tuple(sorted(named, key=len)[-1]))
    for names in found[1:]:
        if names != found[0]:
            at = next(
                (
                    n
                    for n, pair in enumerate(zip(found[0], names, strict=False))
                    if len({*pair}) > 1
                ),
                min(len(found[0]), len(names)),
            )
            first, other = (list(one[at : at + 1]) or ["nothing"] for one in (found[0], names))
            raise ConfigError(
                f"label must number the same classes in all sources, got {first[0]!r} and "
                f"{other[0]!r} for {at} (of {len(found[0])} and {len(names)} classes); plan them "
                f"as one store, or train on one of them"
            )
    return found[0] if found else None
