"""Files as a plan knows them, by hash: 17 bytes a file, however long their names are."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Facts = tuple[str, int, str]
"""Path relative to the corpus root, size in bytes, version: a time or an ETag."""

_BATCH = 100_000
_UNKNOWN = 0
"""Facts of a file of which neither size nor time is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How many files of one kind came, went or differ, with one example."""

    count: int = 0
    example: str = ""

    @classmethod
    def sum(cls, changes: "Sequence[Change]") -> "Change":
        """Return all of them together."""
        example = next((change.example for change in changes if change.count), "")
        return cls(count=sum(change.count for change in changes), example=example)


def changes_json(changes: Mapping[str, Change]) -> dict[str, Any]:
    """Return counts and examples by name, as ``--json`` shows them."""
    return {
        name: {"count": change.count, "example": change.example} for name, change in changes.items()
    }


def told_changes(changes: Mapping[str, Change], words: Mapping[str, str]) -> str:
    """Return what a person is told of those that are not empty, in the order given.

    ``{s}`` in a word is the ending of its plural.
    """
    return ", ".join(
        f"{change.count:,} {words[name].format(s='' if change.count == 1 else 's')} "
        f"(e.g. {change.example})"
        for name, change in changes.items()
        if change.count
    )


class Counted:
    """Changes by kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count something of ``kind``."""
        self._counts[kind] += count
        self._examples.setdefault(kind, example)

    def of(self, kind: str) -> Change:
        """Return how much of a kind was counted, with the first example."""
        return Change(count=self._counts[kind], example=self._examples.get(kind, ""))

    @property
    def kinds(self) -> list[str]:
        """The kinds that were counted."""
        return sorted(self._counts)


class KnownFiles:
    """Files of a plan, against which others are held.

    Hashes are of this process, 64 bits: that two of a hundred million paths meet has a chance
    of 3 in 10,000, and costs one count.
    """

    def __init__(self, read: Callable[[], Iterator[Facts]]) -> None:
        """Read all of them.

        Args:
            read: Yields them; called again for an example of what is gone. Paths may come again.
        """
        self._read = read
        hashes = np.fromiter(
            (number for facts in read() for number in (hash(facts[0]), _hash_of(facts))), np.int64
        ).reshape(-1, 2)
        paths, first = np.unique(hashes[:, 0], return_index=True)
        self._paths: npt.NDArray[np.int64] = paths
        self._facts: npt.NDArray[np.int64] = hashes[first, 1]
        self._seen = np.zeros(len(paths), bool)
        self._waiting: list[tuple[str, Facts]] = []
        self._added, self._differing = Counted(), Counted()

    def see(self, found: Facts, kind: str) -> None:
        """Take a file that is there now."""
        self._waiting.append((kind, found))
        if len(self._waiting) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        hashes = np.array([hash(facts[0]) for _, facts in waiting], np.int64)
        at = np.searchsorted(self._paths, hashes)
        inside = np.minimum(at, max(0, len(self._paths) - 1))
        is_known = (at < len(self._paths)) & (
            self._paths[inside] == hashes if len(self._paths) else np.zeros(len(at), bool)
        )
        self._seen[at[is_known]] = True
        for (kind, facts), place, known in zip(
            waiting, at.tolist(), is_known.tolist(), strict=True
        ):
            if not known:
                self._added.add(kind, facts[0])
            elif self._differs(facts, place):
                self._differing.add(kind, facts[0])

    def _differs(self, facts: Facts, place: int) -> bool:
        planned, now = int(self._facts[place]), _hash_of(facts)
        return _UNKNOWN not in (planned, now) and planned != now

    def look_for_the_unseen(self, facts_at: Callable[[str], Facts | None], kind: str) -> None:
        """Look at each file that was not seen where the plan has it.

        Args:
            facts_at: What is at a path: size -1 for nothing, None if that cannot be told.
            kind: Of these files.
        """
        for place, path in self._unseen():
            now = facts_at(path)
            if now is not None and now[1] < 0 and self._facts[place] != _UNKNOWN:
                continue  # gone
            self._seen[place] = True
            if now is not None and self._differs(now, place):
                self._differing.add(kind, path)

    def _unseen(self) -> Iterator[tuple[int, str]]:
        self._flush()
        if self._seen.all():
            return
        for path, _, _ in self._read():
            place = int(np.searchsorted(self._paths, hash(path)))
            if not self._seen[place]:
                yield place, path

    @property
    def kinds(self) -> list[str]:
        """Kinds of the files that came or differ."""
        self._flush()
        return sorted({*self._added.kinds, *self._differing.kinds})

    def added(self, kind: str) -> Change:
        """Return the files of a kind that the plan does not know."""
        self._flush()
        return self._added.of(kind)

    def differing(self, kind: str) -> Change:
        """Return the files of a kind that have another size or time than planned."""
        self._flush()
        return self._differing.of(kind)

    def gone(self) -> Change:
        """Return the planned files that were not seen."""
        _, example = next(self._unseen(), (0, ""))
        return Change(count=int((~self._seen).sum()), example=example)


def _hash_of(facts: Facts) -> int:
    _, size_bytes, version = facts
    if size_bytes < 0 or not version:
        return _UNKNOWN
    return hash((size_bytes, version)) or 1
