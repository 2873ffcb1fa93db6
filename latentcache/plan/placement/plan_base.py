"""What a plan has already that a further generation goes on with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latentcache.core.media import Bucket
from latentcache.core.placements import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBase:
    """The parts of a plan that new samples have to agree with.

    Attributes:
        first_shard: Number of the first new shard: one past the last.
        num_rows: Planned samples by bucket; no bucket of these is merged away.
        classes: Names of the classes in the order of their numbers, which they keep.
        types: Arrow type of each annotation.
        new_classes: Names that edited labels of planned samples bring; filled by the listing.
        only: Of samples that are planned already, the placements that they do not have yet; who
            fits none of them is no reject. Empty for new samples.
        is_out: Whether the placement of a key was taken down, and stays out.
    """

    first_shard: int = 0
    num_rows: Mapping[Bucket, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    types: Mapping[str, Any] = field(default_factory=dict)
    new_classes: set[str] = field(default_factory=set)
    only: frozenset[Placement] = frozenset()
    is_out: Callable[[str], bool] = lambda _: False

    def all_classes(self, assigned: Sequence[str]) -> tuple[str, ...]:
        """Return the names by number, with those that an update brings.

        Args:
            assigned: Of the new samples, if they have labels.
        """
        if assigned or not self.classes:
            return tuple(assigned)
        return (*self.classes, *sorted(self.new_classes - set(self.classes)))
