"""Corpora: what kind of source a URL is, and everything it lists, in chunks."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

from latentcache.core.config import unknown_name
from latentcache.core.errors import ConfigError
from latentcache.core.findings import lost_sentence
from latentcache.plan.folder import iter_folder
from latentcache.plan.listing import (
    MEDIA_EXTENSIONS,
    ListedMedia,
    ListingTotals,
    extension_of,
)
from latentcache.plan.manifest import iter_manifests
from latentcache.plan.metadata import METADATA_FILES
from latentcache.plan.options import PlanOptions
from latentcache.plan.records import MANIFEST_EXTENSIONS
from latentcache.plan.walk import iter_folders
from latentcache.plan.webdataset import TAR_EXTENSION, iter_tars
from latentcache.storage import Folder

CorpusKind = Literal["folder", "webdataset", "manifest"]

CHUNK_SIZE = 1000
_SAMPLED_FILES = 10_000
"""Files looked at to tell the kind of a corpus, in the order of folders and names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Where images and videos are.

    Attributes:
        root: Paths are relative to it.
        kind: How it is read.
        file: The one manifest or tar to read; empty for everything below ``root``.
    """

    root: Folder
    kind: CorpusKind
    file: str = ""

    @property
    def label(self) -> str:
        """The corpus as users see it, without credentials."""
        return f"{self.root.label}/{self.file}" if self.file else self.root.label


def open_corpus(url: str, kind: str = "") -> Corpus:
    """Return the corpus at ``url``, its kind found out unless ``kind`` says it.

    Raises:
        ConfigError: There is nothing at ``url``, or nothing that can be read, or several
            kinds at once.
    """
    if kind and kind not in get_args(CorpusKind):
        raise ConfigError(
            unknown_name("corpus kind", kind, list(get_args(CorpusKind)), where="--corpus-kind")
        )
    root, file = _split_file(url)
    if file:
        of_file: CorpusKind = "webdataset" if extension_of(file) == TAR_EXTENSION else "manifest"
        if kind and kind != of_file:
            raise ConfigError(
                f"corpus of kind {kind} must be a folder, got the file {file} "
                f"({root.label}); name its folder, or leave out --corpus-kind"
            )
        return Corpus(root=root, kind=of_file, file=file)
    found = _sampled_kinds(root)
    for known in get_args(CorpusKind):
        if known == kind or (not kind and known == _only_kind(found, root)):
            return Corpus(root=root, kind=known)
    raise AssertionError("the kind is one of the known ones")


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
        corpus, options, totals = self._corpus, self._options, self.totals
        only = [corpus.file] if corpus.file else []
        if corpus.kind == "folder":
            return iter_folder(corpus.root, options, totals)
        if corpus.kind == "webdataset":
            return iter_tars(corpus.root, options, totals, only=only)
        return iter_manifests(corpus.root, options, totals, only=only)
