"""Captions, labels and fields of media that stayed as they were, held against what the plan has.

Only a value that differs becomes part of a revision: nothing is encoded for it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from latentcache.core.errors import ConfigError
from latentcache.core.findings import Findings
from latentcache.plan.corpus.beside import CAPTION
from latentcache.plan.corpus.merging import merged_fields
from latentcache.plan.growth.planned_samples import Indices, PlannedSamples
from latentcache.plan.known_files import Change
from latentcache.plan.listing import Annotation, ListedMedia, file_name, text_of
from latentcache.plan.placement.annotation_types import converted, narrowest_type
from latentcache.plan.placement.classes import LABEL, LABEL_NAME
from latentcache.plan.placement.plan_base import PlanBase
from latentcache.plan.placement.scanned import MAX_CAPTION_BYTES
from latentcache.storage import Folder
from latentcache.store import Annotation as StoredAnnotation
from latentcache.store import Generation, Store
from latentcache.store.rows import iter_beside, revise_annotation

Fields = Mapping[str, Annotation]
_AS_STORED = object()
"""Stands for a caption whose file is as it was, and for what ``annotate`` has given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """New values of one annotation of one generation, by (shard, row)."""

    generation: Generation
    name: str
    values: Mapping[tuple[int, int], Any]
    type: Any


class AnnotationEdits:
    """Collects what differs, a chunk of a listing at a time."""

    def __init__(
        self,
        store: Store,
        generations: Sequence[Generation],
        root: Folder,
        planned: PlannedSamples,
        base: PlanBase,
    ) -> None:
        """Read which caption files the plan knows.

        Args:
            store: That holds the plan.
            generations: Of it, oldest first.
            root: Of the corpus as it is now.
            planned: Its live samples.
            base: Its classes and types; told of class names that edits bring.
        """
        self._store, self._root, self._planned, self._base = store, root, planned, base
        self._numbers = {name: number for number, name in enumerate(base.classes)}
        self._generations = {each.number: each for each in generations}
        self._opened: dict[tuple[int, str], StoredAnnotation | None] = {}
        self._captions = _known_captions(store.folder, generations)
        self._seen: set[int] = set()
        self._beside: list[tuple[str, str, int, str]] = []
        self._found: defaultdict[int, list[Fields]] = defaultdict(list)
        self._labels: dict[int, str] = {}
        self._edited: set[int] = set()
        self._given_otherwise: dict[int, str] = {}

    def see(self, media: ListedMedia) -> None:
        """Note the caption file of a medium that is planned anew."""
        if media.sidecar:
            self._seen.add(hash(media.sidecar))

    def compare(self, kept: Sequence[tuple[ListedMedia, Indices]]) -> None:
        """Compare media that stay as they were planned with what the plan says of them."""
        by_generation: defaultdict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        shards, generations = self._planned.shard, self._planned.generation
        for media, samples in kept:
            caption = self._caption(media)
            if media.sidecar and caption.get(CAPTION) is not _AS_STORED:
                self._edited.update(samples.tolist())
            fields = dict(media.annotations) | caption
            for sample in samples.tolist():
                if shards[sample] >= 0:
                    self._labels[sample] = media.source.label
                    by_generation[int(generations[sample])].append((sample, fields))
        for number, told in by_generation.items():
            listed = self._without_given(number, told)
            differs = self._differing(number, listed)
            for (sample, fields), is_other in zip(listed, differs, strict=True):
                if is_other:
                    self._found[sample].append(fields)
                elif sample not in self._found:
                    del self._labels[sample]

    def _without_given(
        self, number: int, listed: Sequence[tuple[int, dict[str, Any]]]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Return what the corpus says, less where ``annotate`` had its say since.

        A caption file that was edited afterwards has the last word.
        """
        samples = np.array([sample for sample, _ in listed], np.int64)
        kept: list[dict[str, Any]] = [dict(fields) for _, fields in listed]
        for name in self._base.types:
            places = self._given(number, name, samples)
            there = self._stored(number, name, samples[places]) if places else []
            for at, stored in zip(places, there, strict=True):
                sample, fields = listed[at]
                is_told = fields.get(name) is not _AS_STORED
                if is_told and name == CAPTION and sample in self._edited:
                    continue
                if is_told and self._typed(name, fields) != stored:
                    self._given_otherwise[sample] = self._labels[sample]
                kept[at][name] = _AS_STORED
                if name == LABEL_NAME:
                    kept[at][LABEL] = _AS_STORED
        return list(zip(samples.tolist(), kept, strict=True))

    def _given(self, number: int, name: str, samples: Indices) -> list[int]:
        """Return the places in ``samples`` of those whose value ``annotate`` gave."""
        found = self._annotation(number, name)
        if found is None:
            return []
        planned = self._planned
        given = found.is_given(planned.shard[samples], planned.row[samples])
        return list(np.flatnonzero(given).tolist())

    def _caption(self, media: ListedMedia) -> dict[str, Any]:
        """Return the caption of a sidecar file, read only if the file is another one."""
        if not media.sidecar:
            return {}
        name = file_name(media.sidecar)
        facts = media.sidecar_facts
        if facts is None:
            info = self._root.stat(name)
            facts = (info.size_bytes, info.version) if info else (-1, "")
        self._seen.add(hash(media.sidecar))
        if self._captions.get(hash(media.sidecar)) == hash(facts):
            return {CAPTION: _AS_STORED}
        try:
            text = text_of(self._root.read(name, start=0, end=MAX_CAPTION_BYTES))
        except OSError:
            return {CAPTION: _AS_STORED}  # it cannot be read today
        self._beside.append((media.sidecar, CAPTION, *facts))
        return {CAPTION: text.strip()} if text and text.strip() else {}

    def _differing(
        self, number: int, listed: Sequence[tuple[int, Mapping[str, Any]]]
    ) -> list[bool]:
        samples = np.array([sample for sample, _ in listed], np.int64)
        differs = [False] * len(listed)
        names = {*self._base.types, *(name for _, fields in listed for name in fields)}
        for name in sorted(names):
            stored = self._stored(number, name, samples)
            for at, (_, fields) in enumerate(listed):
                if fields.get(name) is not _AS_STORED:
                    differs[at] |= self._typed(name, fields) != stored[at]
        return differs

    def _stored(self, number: int, name: str, samples: Indices) -> list[Any]:
        found = self._annotation(number, name)
        if found is None:
            return [None] * len(samples)
        planned = self._planned
        return list(found.take(planned.shard[samples], planned.row[samples]).to_pylist())

    def _annotation(self, number: int, name: str) -> StoredAnnotation | None:
        key = (number, name)
        if key not in self._opened:
            self._opened[key] = self._store.annotation(self._generations[number], name)
        return self._opened[key]

    def _typed(self, name: str, fields: Fields) -> Any:
        """Return the value as the store would hold it; of a class its name."""
        if name in (LABEL, LABEL_NAME) and self._base.classes:
            text = fields.get(LABEL)
            if text is None:
                return None
            text = str(text)
            return self._number(text) if name == LABEL else text
        value = fields.get(name)
        kind = self._base.types.get(name)
        if value is None or kind is None:
            return value
        if pa.types.is_integer(kind) and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._wrong(name, value, kind)
        if pa.types.is_floating(kind) and not isinstance(value, int | float):
            raise self._wrong(name, value, kind)
        return converted(value, kind)

    def _number(self, text: str) -> int:
        return self._numbers.get(text, -1)

    @staticmethod
    def _wrong(name: str, value: Any, kind: Any) -> ConfigError:
        return ConfigError(
            f"annotations must keep their type, got {name} = {value!r} where the plan has {kind}; "
            "correct it, or plan into another store"
        )

    def finish(self, notes: Findings) -> None:
        """Merge rows of one sample and tell the base of classes that only edits have.

        Args:
            notes: Count what differs between rows of one sample.
        """
        for sample, rows in list(self._found.items()):
            if len(rows) > 1:
                merged = merged_fields(rows, notes, self._labels[sample])
                number = int(self._planned.generation[sample])
                if not self._differing(number, [(sample, merged)])[0]:
                    del self._found[sample]
                    continue
                self._found[sample] = [merged]
            label = self._found[sample][0].get(LABEL)
            if label not in (None, _AS_STORED) and self._base.classes:
                self._base.new_classes.add(str(label))

    def revisions(self, classes: Sequence[str]) -> list[Revision]:
        """Return the revisions that take the edits in.

        Args:
            classes: Names by number, with those that this update brings.
        """
        numbers = {name: number for number, name in enumerate(classes)}
        values: defaultdict[tuple[int, str], dict[tuple[int, int], Any]] = defaultdict(dict)
        planned = self._planned
        by_generation: defaultdict[int, list[int]] = defaultdict(list)
        for sample in self._found:
            by_generation[int(planned.generation[sample])].append(sample)
        for number, samples in by_generation.items():
            told = [self._found[sample][0] for sample in samples]
            for name in {*self._base.types, *(name for fields in told for name in fields)}:
                stored = self._stored(number, name, np.array(samples))
                for sample, fields, old in zip(samples, told, stored, strict=True):
                    if fields.get(name) is _AS_STORED:
                        continue
                    value = self._typed(name, fields)
                    if name == LABEL and classes and fields.get(LABEL) is not None:
                        value = numbers[str(fields[LABEL])]
                    if value != old:
                        place = (int(planned.shard[sample]), int(planned.row[sample]))
                        values[number, name][place] = value
        return [
            Revision(
                generation=self._generations[number],
                name=name,
                values=new,
                type=self._base.types.get(name) or narrowest_type(new.values()),
            )
            for (number, name), new in sorted(values.items())
        ]

    @property
    def change(self) -> Change:
        """How many samples have other annotations, with an example."""
        which = np.zeros(len(self._planned), bool)
        which[list(self._found)] = True
        row = next(iter(self._planned.rows(which)), None)
        return Change(count=self._planned.count(which), example=row.label if row else "")

    @property
    def given(self) -> Change:
        """How many samples keep what ``annotate`` gave although the corpus has it otherwise."""
        count = self._planned.count(np.array(list(self._given_otherwise), np.int64))
        return Change(count=count, example=next(iter(self._given_otherwise.values()), ""))

    def beside(self, findings: Findings) -> Iterator[tuple[str, str, int, str]]:
        """Yield caption files as they are now, and with a size of -1 those that went.

        Args:
            findings: Of the listing: what cannot be read today did not go.
        """
        yield from self._beside
        if findings.num_lost:
            return
        for path, _ in _caption_files(self._store.folder, list(self._generations.values())):
            if hash(path) in self._captions and hash(path) not in self._seen:
                self._seen.add(hash(path))
                yield path, CAPTION, -1, ""


def write_revisions(store: Store, revisions: Sequence[Revision]) -> None:
    """Write the revisions; the next snapshot serves them."""
    for each in revisions:
        revise_annotation(store.folder, each.generation, each.name, each.values, new_type=each.type)


def _known_captions(store: Folder, generations: Sequence[Generation]) -> dict[int, int]:
    """Return size and version of each caption file by its path, as hashes, as seen last."""
    known: dict[int, int] = {}
    for path, facts in _caption_files(store, generations):
        if facts[0] < 0:
            known.pop(hash(path), None)
        else:
            known[hash(path)] = hash(facts)
    return known


def _caption_files(
    store: Folder, generations: Sequence[Generation]
) -> Iterator[tuple[str, tuple[int, str]]]:
    for generation in generations:
        for table in iter_beside(store, generation):
            names = ("path", "kind", "size_bytes", "version")
            values: list[list[Any]] = [table[name].to_pylist() for name in names]
            for path, kind, size_bytes, version in zip(*values, strict=True):
                if kind == CAPTION:
                    yield path, (size_bytes, version)
