"""Corpora: what kind of source a URL is, and everything it lists, in chunks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Literal, get_args

from latentcache.core.config import unknown_name
from latentcache.core.errors import ConfigError
from latentcache.core.findings import lost_sentence
from latentcache.plan.corpus.corpus_folder import iter_folder
from latentcache.plan.corpus.manifest import iter_manifests
from latentcache.plan.corpus.metadata import METADATA_FILES
from latentcache.plan.corpus.role_sources import with_entries
from latentcache.plan.corpus.typed_places import expanded
from latentcache.plan.corpus.walk import iter_folders
from latentcache.plan.corpus.webdataset import TAR_EXTENSION, iter_tars
from latentcache.plan.listing import (
    MEDIA_EXTENSIONS,
    ListedMedia,
    ListingTotals,
    below,
    extension_of,
)
from latentcache.plan.plan_options import PlanOptions
from latentcache.plan.tables.plan_records import MANIFEST_EXTENSIONS
from latentcache.storage import Folder

CorpusKind = Literal["folder", "webdataset", "manifest"]

CHUNK_SIZE = 1000
_SAMPLED_FILES = 10_000
"""Files looked at to tell the kind of a corpus, in the order of folders and names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusPart:
    """One folder, or some files of one kind in it.

    Attributes:
        root: Paths are relative to it.
        kind: How it is read.
        files: The manifests or tars to read; empty for everything below ``root``.
        prefix: Of its paths below the root of the whole corpus; an URL or absolute path where it
            does not lie below that.
    """

    root: Folder
    kind: CorpusKind
    files: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def label(self) -> str:
        """The part as users see it, without credentials."""
        return f"{self.root.label}/{self.files[0]}" if len(self.files) == 1 else self.root.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Where images and videos are.

    Attributes:
        root: Paths are relative to it.
        parts: What is read, in order; usually one.
        places: As they were typed, absolute and without credentials.
        is_pattern: Whether one stands for files that may be others another day.
    """

    root: Folder
    parts: tuple[CorpusPart, ...]
    places: tuple[str, ...]
    is_pattern: bool = False

    @property
    def kind(self) -> str:
        """How it is read."""
        return "+".join(sorted({part.kind for part in self.parts}))

    @property
    def file(self) -> str:
        """The one manifest or tar to read; empty for all else."""
        files = [file for part in self.parts for file in part.files]
        return files[0] if len(files) == len(self.parts) == len(self.places) == 1 else ""

    @property
    def label(self) -> str:
        """The corpus as users see it, without credentials."""
        return ", ".join(part.label for part in self.parts)


def open_corpus(url: str | Sequence[str], kind: str = "") -> Corpus:
    """Return the corpus at ``url``, its kind found out unless ``kind`` says it.

    Args:
        url: A folder, a tar or a manifest, a pattern of those, or several of all of them.
        kind: Of all of them.

    Raises:
        ConfigError: There is nothing at ``url``, or nothing that can be read, or several
            kinds at once, or two places of which one lies in the other.
    """
    if kind and kind not in get_args(CorpusKind):
        raise ConfigError(
            unknown_name("corpus kind", kind, list(get_args(CorpusKind)), where="--corpus-kind")
        )
    typed = (url,) if isinstance(url, str) else tuple(url)
    expansions = [expanded(place) for place in typed]
    places = tuple(Folder.open(place).label for place in typed)
    is_pattern = any(each != [place] for place, each in zip(typed, expansions, strict=True))
    found: dict[tuple[Folder, CorpusKind, bool], list[str]] = {}
    apart = _Apart()
    for place in chain.from_iterable(expansions):
        part = _open_part(place, kind)
        apart.add(part)
        files = found.setdefault((part.root, part.kind, bool(part.files)), [])
        files += part.files
    parts = [
        CorpusPart(root=root, kind=of_kind, files=tuple(files))
        for (root, of_kind, _), files in found.items()
    ]
    if len(parts) == 1:
        return Corpus(root=parts[0].root, parts=(parts[0],), places=places, is_pattern=is_pattern)
    root = _common_root([part.root for part in parts])
    prefixed = tuple(replace(part, prefix=_prefix(root, part.root)) for part in parts)
    return Corpus(root=root, parts=prefixed, places=places, is_pattern=is_pattern)


def _open_part(url: str, kind: str) -> CorpusPart:
    root, file = _split_file(url)
    if file:
        of_file: CorpusKind = "webdataset" if extension_of(file) == TAR_EXTENSION else "manifest"
        if kind and kind != of_file:
            raise ConfigError(
                f"corpus of kind {kind} must be a folder, got the file {file} "
                f"({root.label}); name its folder, or leave out --corpus-kind"
            )
        return CorpusPart(root=root, kind=of_file, files=(file,))
    found = _sampled_kinds(root)
    for known in get_args(CorpusKind):
        if known == kind or (not kind and known == _only_kind(found, root)):
            return CorpusPart(root=root, kind=known)
    raise AssertionError("the kind is one of the known ones")


class _Apart:
    """The places taken so far, of which none may hold another."""

    def __init__(self) -> None:
        self._files: set[tuple[str, str]] = set()
        self._file_roots: dict[str, CorpusPart] = {}
        self._folders: list[CorpusPart] = []

    def add(self, part: CorpusPart) -> None:
        """Take one place.

        Raises:
            ConfigError: It is there already, or lies in another, or another in it.
        """
        url = part.root.url
        others = [each for each in self._folders if _lies_in(url, each.root.url)]
        if part.files:
            others = [each for each in others if each.kind == part.kind]
            if (url, part.files[0]) in self._files:
                others = [part]
            self._files.add((url, part.files[0]))
            self._file_roots.setdefault(url, part)
        else:
            others += [each for each in self._folders if _lies_in(each.root.url, url)]
            held = [each for root, each in self._file_roots.items() if _lies_in(root, url)]
            others += [each for each in held if each.kind == part.kind]
            self._folders.append(part)
        if others:
            raise ConfigError(
                f"corpora must not hold the same files, got {part.label} and {others[0].label}; "
                "leave out one of them"
            )


def _lies_in(url: str, other: str) -> bool:
    return url == other or url.startswith(other.rstrip("/") + "/")


def _common_root(roots: Sequence[Folder]) -> Folder:
    """Return the folder that holds the most: of all, or of those on the first one's storage."""
    first = roots[0].url
    depth = len(first.split("/"))
    for root in roots[1:]:
        parts = zip(first.split("/"), root.url.split("/"), strict=False)
        shared = next((n for n, (one, other) in enumerate(parts) if one != other), None)
        if shared is None:
            shared = min(len(first.split("/")), len(root.url.split("/")))
        # The protocol and the bucket, or the local root, are no folder of their own.
        if shared >= (1 if roots[0].is_local else 3) and root.is_local == roots[0].is_local:
            depth = min(depth, shared)
    return Folder.open("/".join(first.split("/")[:depth]) or "/")


def _prefix(root: Folder, part: Folder) -> str:
    """Return where a part lies below the root, else its whole URL."""
    if part.url == root.url:
        return ""
    base = root.url.rstrip("/") + "/"
    return part.url.removeprefix(base) if part.url.startswith(base) else part.url


def _split_file(url: str) -> tuple[Folder, str]:
    """Return (root, file) for a URL that may name a file."""
    parent, _, name = url.rstrip("/").rpartition("/")
    extension = extension_of(name)
    if not extension or parent.endswith((":", ":/")):
        return Folder.open(url), ""
    folder = Folder.open(parent or ("/" if url.startswith("/") else "."))
    if folder.stat(name) is None:
        return Folder.open(url), ""
    if extension in MANIFEST_EXTENSIONS | {TAR_EXTENSION}:
        return folder, name
    raise ConfigError(
        f"corpus must be a folder, a .tar or a manifest (.parquet, .jsonl, .csv), got "
        f"the file {name} ({folder.label}); name the folder it lies in"
    )


def _sampled_kinds(root: Folder) -> Counter[str]:
    """Return how many of the first files are of each kind, and of each other extension.

    Raises:
        ConfigError: The folder is missing, unreadable or empty.
    """
    found: Counter[str] = Counter()
    for folder in iter_folders(root):
        if folder.problem and not folder.name:
            raise ConfigError(
                f"corpus must be a folder that can be read, got {folder.problem!r} "
                f"({root.label}); check the path"
            )
        found.update(_kind_of(file) for file in folder.files)
        if found.total() >= _SAMPLED_FILES:
            break
    if not found:
        raise ConfigError(
            f"corpus must hold pictures, got an empty or missing folder ({root.label}); "
            "check the path"
        )
    return found


def _kind_of(file: str) -> str:
    extension = extension_of(file)
    if extension in MEDIA_EXTENSIONS:
        return "folder"
    if extension == TAR_EXTENSION:
        return "webdataset"
    if extension in MANIFEST_EXTENSIONS and file not in METADATA_FILES:
        return "manifest"
    return extension or "(none)"


def _only_kind(found: Counter[str], root: Folder) -> CorpusKind:
    if found["folder"] and found["webdataset"]:
        raise ConfigError(
            f"corpus must be of one kind, got {found['folder']} pictures and "
            f"{found['webdataset']} tars ({root.label}); choose with --corpus-kind folder or "
            "webdataset"
        )
    # Tables beside pictures or tars describe them: img2dataset writes such.
    for kind in get_args(CorpusKind):
        if found[kind]:
            known: CorpusKind = kind
            return known
    others = ", ".join(f"{count} {name}" for name, count in found.most_common(5))
    raise ConfigError(
        f"corpus must hold pictures, .tar files or manifests, got {others} ({root.label}); "
        "check the path, or say --corpus-kind"
    )


def look_into(corpus: Corpus, options: PlanOptions) -> None:
    """Read the first sample, so that a corpus that cannot be read is refused before any work.

    Raises:
        ConfigError: As ``Listing.chunks``.
    """
    next(Listing(corpus, options).chunks(1), None)


class Listing:
    """One pass over a corpus.

    Attributes:
        totals: Complete once ``chunks`` has ended.
    """

    def __init__(self, corpus: Corpus, options: PlanOptions) -> None:
        self._corpus, self._options = corpus, options
        self.totals = ListingTotals()

    def chunks(self, size: int = CHUNK_SIZE) -> Iterator[list[ListedMedia]]:
        """Yield everything listed, ``size`` samples at a time.

        Raises:
            ConfigError: Nothing is listed, or a manifest has no usable column.
        """
        media = self._media()
        if limit := self._options.limit:
            media = islice(media, limit)
        while chunk := list(islice(media, size)):
            self.totals.num_listed += len(chunk)
            self.totals.num_bytes += sum(max(0, each.source.size_bytes) for each in chunk)
            yield chunk
        findings = self.totals.findings
        if limit and self.totals.num_listed == limit:
            findings.add("limited", f"--limit {limit}", limit)
        if not self.totals.num_listed:
            if findings.num_lost:
                raise ConfigError(lost_sentence(self.totals.as_dict()))
            ignored = ", ".join(f"{n} {name}" for name, n in self.totals.ignored.most_common(5))
            raise ConfigError(
                "corpus must hold at least one picture, got none but "
                f"{ignored or 'an empty table'} ({self._corpus.label}); "
                "check the path, --corpus-kind and the include option"
            )

    def _media(self) -> Iterator[ListedMedia]:
        for part in self._corpus.parts:
            self.totals.prefix = self.totals.findings.where = part.prefix
            for media in self._media_of(part):
                yield with_entries(below(media, part.prefix), part.prefix)

    def _media_of(self, part: CorpusPart) -> Iterator[ListedMedia]:
        options, totals = self._options, self.totals
        if part.kind == "folder":
            return iter_folder(part.root, options, totals)
        if part.kind == "webdataset":
            return iter_tars(part.root, options, totals, only=part.files)
        return iter_manifests(part.root, options, totals, only=part.files)
