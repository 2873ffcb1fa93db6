"""A corpus held against its plan: which files came, went or differ, by listing alone.

Nothing is opened. Sizes and times nominate: a file that was only copied again differs in its time.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.plan.corpus.annotation_fields import is_included
from latentcache.plan.corpus.beside import CAPTION
from latentcache.plan.corpus.corpus_folder import captions_of, is_caption, is_taken
from latentcache.plan.corpus.metadata import TABLE_FILES
from latentcache.plan.corpus.role_sources import RoleNames, parse_roles
from latentcache.plan.corpus.sources import Corpus, CorpusPart
from latentcache.plan.corpus.walk import FoundFolder, iter_folders
from latentcache.plan.corpus.webdataset import TAR_EXTENSION
from latentcache.plan.growth.planned_samples import TOUCHED, iter_expected
from latentcache.plan.known_files import (
    Change,
    Facts,
    KnownFiles,
    changes_json,
    told_changes,
)
from latentcache.plan.listing import extension_of, path_below, portable_path
from latentcache.plan.plan_options import PlanOptions
from latentcache.plan.read_sources import locate
from latentcache.plan.tables.plan_records import MANIFEST_EXTENSIONS
from latentcache.storage import Folder
from latentcache.store import Generation
from latentcache.store.rows import iter_beside

_MEDIUM, _METADATA = "medium", "metadata"
_TABLES = frozenset({_METADATA, "manifest", "tar"})
_WORDS = {
    "added": "file{s} added",
    "removed": "file{s} removed",
    "changed": "file{s} of another size or time",
    "captions_added": "caption{s} added",
    "captions_removed": "caption{s} removed",
    "captions_edited": "caption{s} or metadata table{s} edited",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusChanges:
    """What a listing shows against a plan.

    Attributes:
        added: Media, tars and tables that the plan does not know.
        removed: Those of the plan that are gone.
        changed: Those whose size or time differs.
        captions_added: Caption files of listed media.
        captions_removed: Caption files.
        captions_edited: Caption files and metadata tables whose size or time differs.
    """

    added: Change = field(default_factory=Change)
    removed: Change = field(default_factory=Change)
    changed: Change = field(default_factory=Change)
    captions_added: Change = field(default_factory=Change)
    captions_removed: Change = field(default_factory=Change)
    captions_edited: Change = field(default_factory=Change)

    def as_dict(self) -> dict[str, Any]:
        """Return counts and examples, as ``--json`` shows them."""
        return changes_json(self._named())

    def _named(self) -> dict[str, Change]:
        return {name: getattr(self, name) for name in _WORDS}

    @property
    def sentence(self) -> str:
        """What is told if anything changed; else empty."""
        told = told_changes(self._named(), _WORDS)
        if not told:
            return ""
        return (
            f"corpus must be as it was planned, got {told}; the store holds what was "
            "planned: say --update to take the changes in"
        )


def corpus_changes(
    corpus: Corpus, options: PlanOptions, store: Folder, generations: Sequence[Generation]
) -> CorpusChanges:
    """Return how the corpus differs from what the generations planned.

    Args:
        corpus: As it is now.
        options: Of the plan.
        store: That holds the plan.
        generations: Of it.
    """
    media = KnownFiles(lambda: _planned_media(store, generations))
    captions = KnownFiles(lambda: _planned_beside(store, generations, {CAPTION}))
    tables = KnownFiles(lambda: _planned_beside(store, generations, _TABLES))
    known = {_MEDIUM: media, CAPTION: captions}
    for part in corpus.parts:
        for kind, found in _files_of(part, options):
            known.get(kind, tables).see(found, kind)
    if any(part.kind == "manifest" for part in corpus.parts):
        media.look_for_the_unseen(lambda path: _facts_at(corpus.root, path), _MEDIUM)
    # The first plans did not record what lay beside the media.
    knows_beside = any(generation.beside for generation in generations)
    of_tables = [kind for kind in tables.kinds if kind != _METADATA] if knows_beside else []
    added = Change.sum([media.added(_MEDIUM), *(tables.added(kind) for kind in of_tables)])
    told = [captions.added(CAPTION), tables.added(_METADATA)]
    planned = [generation for generation in generations if not generation.only_retires]
    has_captions = all("annotations" in generation.totals for generation in planned)
    return CorpusChanges(
        added=Change() if options.limit else added,
        removed=Change.sum([media.gone(), tables.gone()]),
        changed=Change.sum(
            [media.differing(_MEDIUM), *(tables.differing(kind) for kind in of_tables)]
        ),
        captions_added=Change.sum(told) if has_captions else Change(),
        captions_removed=captions.gone(),
        captions_edited=Change.sum([captions.differing(CAPTION), tables.differing(_METADATA)]),
    )


def _planned_media(store: Folder, generations: Sequence[Generation]) -> Iterator[Facts]:
    """Yield the files of live samples, each as it was seen last."""
    touched = {facts[0]: facts for facts in _planned_beside(store, generations, {TOUCHED})}
    columns = ["path", "member", "size_bytes", "version"]
    for table in iter_expected(store, generations, columns):
        values = (table[name].to_pylist() for name in columns)
        for path, member, size_bytes, version in zip(*values, strict=True):
            if not member:
                yield touched.get(path, (path, size_bytes, version))


def _planned_beside(
    store: Folder, generations: Sequence[Generation], kinds: Set[str]
) -> Iterator[Facts]:
    """Yield files beside the media, as they were seen last, but those that went since."""
    gone: set[str] = set()
    for generation in reversed(generations):
        for table in iter_beside(store, generation):
            names = ("path", "kind", "size_bytes", "version")
            values = (table[name].to_pylist() for name in names)
            for path, kind, size_bytes, version in zip(*values, strict=True):
                if kind in kinds and path not in gone:
                    if size_bytes < 0:
                        gone.add(path)
                    else:
                        yield path, size_bytes, version


def _files_of(part: CorpusPart, options: PlanOptions) -> Iterator[tuple[str, Facts]]:
    """Yield kind and facts of what a part lists, without opening any of it."""
    if part.files:
        for name in part.files:
            facts = part.root.stat(name)
            if facts is not None:
                path = path_below(portable_path(name), part.prefix)
                yield part.kind, (path, facts.size_bytes, facts.version)
        return
    roles = RoleNames(part.root, parse_roles(options.roles) if part.kind == "folder" else ())
    for found in iter_folders(part.root):
        if roles.is_own(found.name):
            continue
        for kind, file in _kinds_in(found, part, options):
            if kind == _MEDIUM and roles.stem_of(file):
                continue
            facts_of = found.stat(file)
            path = path_below(portable_path(found.path(file)), part.prefix)
            yield kind, (path, facts_of.size_bytes, facts_of.version)


def _kinds_in(
    found: FoundFolder, part: CorpusPart, options: PlanOptions
) -> Iterator[tuple[str, str]]:
    """Yield the kind of each file of a folder that the listing would take."""
    if part.kind != "folder":
        extensions = {TAR_EXTENSION} if part.kind == "webdataset" else MANIFEST_EXTENSIONS
        for file in found.files:
            if extension_of(file) in extensions and is_included(found.path(file), options):
                yield part.kind, file
        return
    captions = {file for file in found.files if is_caption(file)}
    for file in found.files:
        if file in TABLE_FILES:
            yield _METADATA, file
        elif file not in captions and is_taken(found.path(file), options):
            yield _MEDIUM, file
            if mine := captions_of(file, captions) if captions else []:
                yield CAPTION, mine[0]


def _facts_at(root: Folder, path: str) -> Facts | None:
    """Return a planned file as it is now; None where asking costs a request."""
    try:
        folder, name = locate(root, path)
        if not folder.is_local:
            return None
        facts = folder.stat(name)
    except (ConfigError, OSError, ValueError):
        return None
    return (path, facts.size_bytes, facts.version) if facts else (path, -1, "")
