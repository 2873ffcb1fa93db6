"""Growth: a listing divided into what is new, what is as planned, what differs and what is gone.

Sizes and times nominate, the digest of the bytes decides: a corpus that was only copied again, or
moved as a whole, costs a read and no encoding. What changed or went is retired, never moved.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.core.findings import Findings
from latentcache.plan.growth.edited_annotations import AnnotationEdits, Revision
from latentcache.plan.growth.planned_samples import TOUCHED, Indices, PlannedRow, PlannedSamples
from latentcache.plan.growth.source_digests import SourceDigests, digest_now
from latentcache.plan.known_files import Change, Counted, changes_json, told_changes
from latentcache.plan.listing import ListedMedia
from latentcache.plan.placement.plan_base import PlanBase
from latentcache.plan.placement.scanned import ScannedMedia
from latentcache.plan.plan_options import PlanOptions
from latentcache.storage import Folder, map_ahead
from latentcache.store import Generation, Store
from latentcache.store.rows import retired_table

MAX_RETIRED_SHARE = 0.05
"""An update that would retire more than this stops and asks."""

_WORDS = {
    "added": "added",
    "changed": "changed",
    "removed": "removed",
    "recovered": "that can be read by now",
    "edited": "with another caption, label, field or role",
    "annotated": "whose annotated caption, label or field stays",
    "touched": "with another time and the same bytes",
    "taken_down": "that were taken down and stay out",
    "unreadable": "that cannot be read now and stay as they were planned",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCounts:
    """What an update found, by sample: count and one example each.

    Attributes:
        added: Samples of sources that the plan did not know.
        changed: Planned samples whose source has other bytes; retired, and planned anew.
        removed: Planned samples whose source is gone; retired.
        recovered: Sources that planning had refused and that can be read by now.
        edited: Planned samples whose caption, label or fields are others; nothing is encoded.
        annotated: Planned samples for which ``annotate`` gave values that the corpus has otherwise;
            they stay as they were given.
        touched: Sources of another time or place whose bytes are as they were.
        taken_down: Files that are there and were retired by name; they stay out.
        unreadable: Planned samples whose file, folder, tar or table cannot be read now; kept.
    """

    added: Change = field(default_factory=Change)
    changed: Change = field(default_factory=Change)
    removed: Change = field(default_factory=Change)
    recovered: Change = field(default_factory=Change)
    edited: Change = field(default_factory=Change)
    annotated: Change = field(default_factory=Change)
    touched: Change = field(default_factory=Change)
    taken_down: Change = field(default_factory=Change)
    unreadable: Change = field(default_factory=Change)

    def as_dict(self) -> dict[str, Any]:
        """Return counts and examples, as ``--json`` shows them."""
        return changes_json(self._named())

    def _named(self) -> dict[str, Change]:
        return {name: getattr(self, name) for name in _WORDS}

    @property
    def sentence(self) -> str:
        """What a person is told."""
        told = told_changes(self._named(), _WORDS)
        return f"update: {told or 'the corpus is as it was planned'}"


class Growth:
    """One update of a plan: filters the listing before the scan, and the samples after it.

    Use ``to_scan`` around the listing, ``admitted`` around the scan's results; once both have
    ended, ``finish`` tells what is retired.
    """

    def __init__(
        self,
        store: Store,
        generations: Sequence[Generation],
        root: Folder,
        base: PlanBase,
        options: PlanOptions,
        *,
        retries_all: bool,
    ) -> None:
        """Read the plan.

        Args:
            store: That is updated.
            generations: Of its plan, oldest first.
            root: Of the corpus as it is now.
            base: What new samples have to agree with; told of classes that edits bring.
            options: Say which placements a sample has.
            retries_all: Look again at everything that planning refused, changed or not.
        """
        self._root, self._retries_all = root, retries_all
        self._placements, self._first_px = options.placements, options.resolutions_px[0]
        self._planned = PlannedSamples(store.folder, generations)
        self._digests = SourceDigests(store)
        self._edits = AnnotationEdits(store, generations, root, self._planned, base)
        self._counted = Counted()
        self._touched: list[tuple[str, str, int, str]] = []
        self._again: dict[tuple[str, str], Indices] = {}
        self._touched_sources: set[tuple[str, str]] = set()
        self._kept: list[tuple[ListedMedia, Indices]] = []
        self._notes = Findings()

    def to_scan(self, chunks: Iterable[list[ListedMedia]]) -> Iterator[list[ListedMedia]]:
        """Yield of each chunk what has to be looked into."""
        for chunk in chunks:
            fresh: list[ListedMedia] = []
            nominated: list[tuple[ListedMedia, Indices]] = []
            found = self._planned.of_sources([media.source for media in chunk])
            for media, samples in zip(chunk, found, strict=True):
                if not len(samples):
                    fresh.append(media)
                elif self._planned.are_taken_down(samples):
                    self._counted.add("taken_down", media.source.label)
                elif media.reject is not None:
                    self._keep_unreadable(media, samples, fresh)
                elif self._planned.is_as_planned(media, samples):
                    self._keep(media, samples, fresh)
                else:
                    nominated.append((media, samples))
            is_same = map_ahead(self._has_same_bytes, nominated) if nominated else ()
            for (media, samples), same in zip(nominated, is_same, strict=True):
                if same:
                    self._note_touched(media)
                    self._keep(media, samples, fresh)
                else:
                    self._replace(media, samples, fresh)
            for media in fresh:
                self._edits.see(media)
            self._edits.compare(self._kept)
            self._kept.clear()
            if fresh:
                yield fresh

    def _keep_unreadable(
        self, media: ListedMedia, samples: Indices, fresh: list[ListedMedia]
    ) -> None:
        """Keep samples whose file cannot be read today; a record refused before stays so."""
        planned = self._planned
        if (planned.shard[samples] >= 0).any():
            self._counted.add("unreadable", media.source.label, planned.count(samples))
            planned.seen[samples] = True
        else:
            self._look_again(media, samples, fresh)

    def _keep(self, media: ListedMedia, samples: Indices, fresh: list[ListedMedia]) -> None:
        planned = self._planned
        if _has_window(media):
            fresh.append(media)  # which window of the video it is, only its probe tells
            return
        is_refused = planned.are_refused(samples)
        if is_refused and (self._retries_all or planned.is_transient[samples].any()):
            self._look_again(media, samples, fresh)
            return
        planned.seen[samples] = True
        self._kept.append((media, samples))

    def _look_again(self, media: ListedMedia, samples: Indices, fresh: list[ListedMedia]) -> None:
        self._again[media.source.path, media.source.member] = samples
        self._planned.seen[samples] = True
        fresh.append(media)

    def _has_same_bytes(self, each: tuple[ListedMedia, Indices]) -> bool:
        media, samples = each
        planned = self._planned
        recorded = (
            self._digests.of_row(int(planned.shard[one]), int(planned.row[one])) for one in samples
        )
        known = next((digest for digest in recorded if digest), None)
        source = media.source
        # Of a member that lies elsewhere in its tar the planned place is wrong.
        if known is None or not planned.lies_as_planned(source, samples):
            return False
        return digest_now(self._root, source) == known

    def _note_touched(self, media: ListedMedia) -> None:
        source = media.source
        if (source.path, source.member) in self._touched_sources:
            return
        self._touched_sources.add((source.path, source.member))
        self._counted.add("touched", source.label)
        if not source.member:
            self._touched.append((source.path, TOUCHED, source.size_bytes, media.version))

    def _replace(self, media: ListedMedia, samples: Indices, fresh: list[ListedMedia]) -> None:
        planned = self._planned
        num_planned = planned.count(samples[planned.shard[samples] >= 0])
        if num_planned and not planned.changed[samples].all():
            self._counted.add("changed", media.source.label, num_planned)
        planned.changed[samples] = ~planned.is_taken_down[samples]
        fresh.append(media)

    def admitted(self, chunks: Iterable[list[ScannedMedia]]) -> Iterator[list[ScannedMedia]]:
        """Yield of each scanned chunk what the plan does not have."""
        for chunk in chunks:
            taken = [media for media in chunk if self._is_admitted(media)]
            self._edits.compare(self._kept)
            self._kept.clear()
            if taken:
                yield taken
        # Before classes are numbered, which those of edits take part in.
        self._edits.finish(self._notes)

    def _is_admitted(self, media: ScannedMedia) -> bool:
        planned, source = self._planned, media.listed.source
        again = self._again.get((source.path, source.member))
        if again is not None:
            if media.reject is not None:
                return False  # still refused: the plan says so already
            if not planned.recovered[again].any():
                self._counted.add("recovered", source.label)
            planned.recovered[again] = True
            return True
        rows = self._rows_of(media.key)
        if len(rows) and not planned.changed[rows].any():
            planned.seen[rows] = True
            if _has_window(media.listed):
                self._kept.append((media.listed, rows))
            return False
        (samples,) = planned.of_sources([source])
        if not planned.changed[samples].any():
            self._counted.add("added", source.label)
        elif (planned.shard[samples] < 0).all() and media.reject is None:
            self._counted.add("recovered", source.label)
        return True

    def _rows_of(self, sample_key: str) -> Indices:
        """Return the planned rows of one sample: those of its placements that it has."""
        keys = (
            each.key(sample_key, first_resolution_px=self._first_px) for each in self._placements
        )
        found = np.array([self._planned.of_key(key) for key in keys], np.int64)
        return found[found >= 0]

    def is_out(self, key: str) -> bool:
        """Whether a row of a key was taken down: it stays out when its file is planned anew."""
        sample = self._planned.of_key(key)
        return sample >= 0 and bool(self._planned.is_taken_down[sample])

    def finish(self, findings: Findings, *, may_retire: bool) -> tuple[UpdateCounts, pa.Table]:
        """Return what was found and the rows that are live no more.

        Args:
            findings: Of the listing: what cannot be read today is not gone; told what differs
                between the rows of one sample.
            may_retire: Allow more than ``MAX_RETIRED_SHARE``.

        Raises:
            ConfigError: Too many samples would be retired.
        """
        planned = self._planned
        findings.take(self._notes)
        gone = ~(planned.seen | planned.changed)
        retired: list[tuple[int, int, str]] = []
        told, placed = set[int](), set[int]()
        for row in planned.rows(gone):
            is_lost = _is_lost(row, findings)
            if row.sample not in told:  # each once, however many rows it has
                self._counted.add("unreadable" if is_lost else "removed", row.label)
                told.add(row.sample)
            if is_lost:
                continue
            if row.shard >= 0:
                placed.add(row.sample)
            retired.append((row.retired_shard, row.row, "removed"))
        retired += [
            (row.retired_shard, row.row, "changed") for row in planned.rows(planned.changed)
        ]
        num_retired = len(placed) + planned.count(planned.changed & (planned.shard >= 0))
        retired += [
            (row.retired_shard, row.row, "recovered") for row in planned.rows(planned.recovered)
        ]
        counted = {name: self._counted.of(name) for name in _WORDS}
        of_edits = {"edited": self._edits.change, "annotated": self._edits.given}
        counts = UpdateCounts(**{**counted, **of_edits})
        num_samples = planned.count(planned.are_placed)
        if num_retired > max(1, MAX_RETIRED_SHARE * num_samples) and not may_retire:
            raise ConfigError(
                f"an update must keep {1 - MAX_RETIRED_SHARE:.0%} of the samples unless told, got "
                f"{counts.removed.count:,} removed and {counts.changed.count:,} changed of "
                f"{num_samples:,} (e.g. {counts.removed.example or counts.changed.example}); "
                "nothing was changed: look whether this is the corpus, and say --allow-retire if so"
            )
        return counts, retired_table(retired)

    def beside(self, findings: Findings) -> list[tuple[str, str, int, str]]:
        """Return touched files and captions, for the table of what lies beside the media.

        Args:
            findings: Of the listing.
        """
        return [*self._touched, *self._edits.beside(findings)]

    def revisions(self, classes: Sequence[str]) -> list[Revision]:
        """Return what edited captions, labels and fields make of the annotations.

        Args:
            classes: Names by number, with those that this update brings.
        """
        return self._edits.revisions(classes)


def _has_window(media: ListedMedia) -> bool:
    """Whether a table names a stretch of a video."""
    return media.start_s is not None or media.end_s is not None


def _is_lost(row: PlannedRow, findings: Findings) -> bool:
    """Whether a sample's source may be there all the same: its container cannot be read."""
    if findings.num_lost > len(findings.lost):  # not all are known by name
        return True
    return any(
        row.path == name or row.path.startswith(name.rstrip("/") + "/") or name == "/"
        for name in findings.lost
    )
