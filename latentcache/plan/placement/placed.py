"""Which placements a sample has: at each resolution that it is large enough for, each crop that
shows something of its own, and each mirrored where the plan asks for that.

Two resolutions may share a bucket; a sample is in it at the first one alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

from latentcache.core.media import Bucket, Geometry
from latentcache.core.placements import MIN_CROP_SHIFT_PX, Placement, crop_start
from latentcache.core.rejects import Reject
from latentcache.plan.placement.buckets import bucket_table, choose_bucket
from latentcache.plan.placement.scan_table import SCAN_SCHEMA, fitted_or_reject
from latentcache.plan.plan_options import PlanOptions

_MAX_SIZES = 16384
"""Photos of one camera share their size."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One placement and its bucket."""

    placement: Placement
    bucket: Bucket


@dataclass(frozen=True, slots=True)
class PlacedSize:
    """What becomes of samples of one size.

    Attributes:
        places: Their placements, in the plan's order.
        misfits: Placements at resolutions that they do not fit, each with the reason.
        num_alike: Placements left out because an earlier one shows the same.
    """

    places: tuple[Placed, ...]
    misfits: tuple[tuple[Placement, Reject], ...] = ()
    num_alike: int = 0


class Placer:
    """Places samples by their size."""

    def __init__(self, options: PlanOptions, *, only: frozenset[Placement] = frozenset()) -> None:
        """Make the tables of buckets.

        Args:
            options: Of the plan.
            only: The placements that are wanted; empty for all.
        """
        self._options, self._only = options, only
        self._tables = {each: bucket_table(options, each) for each in options.resolutions_px}
        self._resolutions = {
            (bucket.height_px, bucket.width_px): resolution_px
            for resolution_px, table in reversed(self._tables.items())
            for bucket in table
        }
        self.of_size = lru_cache(maxsize=_MAX_SIZES)(self._of_size)

    def resolution_of(self, bucket: Bucket) -> int:
        """Return the resolution that a bucket is of; 0 where it is of none any more."""
        return self._resolutions.get((bucket.height_px, bucket.width_px), 0)

    def _of_size(self, width_px: int, height_px: int, num_frames: int) -> PlacedSize:
        """Return what becomes of samples of a size."""
        places: list[Placed] = []
        misfits: list[tuple[Placement, Reject]] = []
        num_alike = 0
        wanted = self._only or frozenset(self._options.placements)
        for resolution_px, table in self._tables.items():
            bucket = replace(choose_bucket(width_px, height_px, table), num_frames=num_frames)
            found = fitted_or_reject(width_px, height_px, bucket, self._options)
            is_first = self.resolution_of(bucket) == resolution_px
            corners: dict[int, tuple[int, int]] = {}
            for placement in self._options.placements:
                if placement.resolution_px != resolution_px:
                    continue
                if isinstance(found, Reject):
                    if placement in wanted:
                        misfits.append((placement, found))
                    continue
                cut = cut_at(found, bucket, placement)
                corner = cut.crop_left_px, cut.crop_top_px
                crop = placement.crop_index
                if is_first and not any(_is_near(corner, other) for other in corners.values()):
                    corners[crop] = corner
                if crop not in corners:
                    num_alike += placement in wanted
                elif placement in wanted:
                    places.append(Placed(placement, bucket))
        return PlacedSize(tuple(places), tuple(misfits), num_alike)


def cut_at(centre: Geometry, bucket: Bucket, placement: Placement) -> Geometry:
    """Return where a placement is cut, given its resolution's centre crop."""
    if not placement.crop_index and not placement.is_flipped:
        return centre
    slack = (
        centre.resized_width_px - bucket.width_px,
        centre.resized_height_px - bucket.height_px,
    )
    left_px, top_px = (crop_start(each, placement.crop_index) for each in slack)
    return replace(
        centre, crop_left_px=left_px, crop_top_px=top_px, is_flipped=placement.is_flipped
    )


def _is_near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < MIN_CROP_SHIFT_PX


class RowPlacer:
    """Gives rows of ``SCAN_SCHEMA``, one a sample, their placements, a row each.

    Attributes:
        num_samples: That have a placement.
        note: Told of placements left out: kind, example, count.
    """

    def __init__(
        self,
        placer: Placer,
        options: PlanOptions,
        number_of: Callable[[Bucket], int],
        note: Callable[[str, str, int], None],
        is_out: Callable[[str], bool],
    ) -> None:
        """Prepare.

        Args:
            placer: Of the plan.
            options: Of the plan.
            number_of: Numbers buckets.
            note: Told of placements left out: kind, example, count.
            is_out: Whether the placement of a key was taken down.
        """
        self._placer, self._number_of, self._note = placer, number_of, note
        self._first_px, self._is_out = options.resolutions_px[0], is_out
        self.num_samples = 0

    def rows(self, table: pa.Table, frames: Sequence[int]) -> pa.Table:
        """Return a row per placement, those of a sample one after the other.

        Args:
            table: Samples, in order.
            frames: Of each.
        """
        names = ("key", "path", "member", "width_px", "height_px")
        columns = (table[name].to_pylist() for name in names)
        taken: list[int] = []
        found: list[Placed] = []
        keys: list[str] = []
        for at, (key, path, member, width, height) in enumerate(zip(*columns, strict=True)):
            size = self._placer.of_size(width, height, frames[at])
            label = f"{path}!{member}" if member else path
            if size.num_alike:
                self._note("crop_alike", label, size.num_alike)
            for placement, _ in size.misfits:
                self._note("placement_misfit", f"{label} at {placement.label}", 1)
            before = len(taken)
            for each in size.places:
                own = each.placement.key(key, first_resolution_px=self._first_px)
                if not self._is_out(own):
                    taken.append(at)
                    found.append(each)
                    keys.append(own)
            self.num_samples += len(taken) > before
        rows = table.take(pa.array(taken, pa.int64()))
        placements = [each.placement for each in found]
        of_placements: dict[str, list[Any]] = {
            "key": keys,
            "bucket": [self._number_of(each.bucket) for each in found],
            "resolution_px": [each.resolution_px for each in placements],
            "crop_index": [each.crop_index for each in placements],
            "is_flipped": [each.is_flipped for each in placements],
        }
        for name, values in of_placements.items():
            column = SCAN_SCHEMA.get_field_index(name)
            rows = rows.set_column(
                column, SCAN_SCHEMA.field(name), pa.array(values, SCAN_SCHEMA.field(name).type)
            )
        return rows
