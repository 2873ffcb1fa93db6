"""Every folder of a corpus root, one by one, with the names of its files.

Memory is bounded by the largest single folder of a local corpus, and by the listing of a
remote one.
"""

import heapq
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from latentcache.plan.listing import ListingTotals, is_hidden, portable_path
from latentcache.storage import Folder
from latentcache.store.format import ROOT_FOLDERS, STORE_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """One file: its payload size, what nominates changes, or why it cannot be used."""

    size_bytes: int = -1
    version: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFolder:
    """One folder below the root.

    Attributes:
        name: Relative to the root; empty for the root.
        files: Names of its visible files, sorted, without the folder's.
        stat: Facts of one of them.
        problem: Why the folder cannot be read, if so.
        is_store: It is a store of latents; what belongs to the store is left out.
    """

    name: str
    files: list[str] = field(default_factory=list)
    stat: Callable[[str], FoundFile] = field(default=lambda _: FoundFile())
    problem: str = ""
    is_store: bool = False

    def path(self, file: str) -> str:
        """Return ``file`` relative to the root."""
        return f"{self.name}/{file}" if self.name else file


def note_folder(found: FoundFolder, totals: ListingTotals) -> None:
    """Count a folder that cannot be read, or that is a store."""
    name = portable_path(found.name)
    if found.is_store:
        totals.findings.add("store_in_corpus", name or ".")
    if found.problem:
        totals.findings.num_containers += 1
        totals.lose(f"{found.name}/", f"the folder cannot be read: {found.problem}")


def iter_folders(root: Folder) -> Iterator[FoundFolder]:
    """Yield the folders of ``root``, parents first; hidden names are left out.

    Links are followed, but each real folder is visited once: by its real path if it
    lies below the root, else through the first link in the order of names. So a link
    to a parent ends, and a link to a sibling does not list its files twice.
    """
    yield from _iter_local(Path(root.url)) if root.is_local else _iter_remote(root)


def _iter_local(base: Path) -> Iterator[FoundFolder]:
    visited: set[tuple[int, int]] = set()
    links: list[str] = []
    waiting = [""]
    while waiting or links:
        name = waiting.pop() if waiting else heapq.heappop(links)
        path = base / name
        try:
            facts = path.stat()
            if (facts.st_dev, facts.st_ino) in visited:
                continue
            visited.add((facts.st_dev, facts.st_ino))
            files, folders, linked = _names_in(path)
        except OSError as error:
            yield FoundFolder(name=name, problem=_words(error))
            continue
        is_store = STORE_NAME in files
        if is_store:
            files.remove(STORE_NAME)
            folders = [folder for folder in folders if folder not in ROOT_FOLDERS]
        found = FoundFolder(name=name, files=files, stat=partial(_stat, path), is_store=is_store)
        yield found
        waiting.extend(found.path(folder) for folder in reversed(folders))
        for folder in linked:
            heapq.heappush(links, found.path(folder))


def _names_in(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the sorted names of files, of real folders and of linked folders in ``path``."""
    files, folders, linked = [], [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if not _is_folder(entry):
                files.append(entry.name)
            elif entry.is_symlink():
                linked.append(entry.name)
            else:
                folders.append(entry.name)
    return sorted(files), sorted(folders), sorted(linked)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself
        return False


def _stat(folder: Path, file: str) -> FoundFile:
    try:
        facts = (folder / file).stat()
    except OSError as error:
        return FoundFile(problem=_words(error))
    if not stat.S_ISREG(facts.st_mode):
        return FoundFile(problem="not a regular file")
    return FoundFile(size_bytes=facts.st_size, version=str(facts.st_mtime_ns))


def _words(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _iter_remote(root: Folder) -> Iterator[FoundFolder]:
    folders: dict[str, dict[str, FoundFile]] = defaultdict(dict)
    for found in root.list():
        folder, _, file = found.name.rpartition("/")
        if file and not is_hidden(found.name):
            folders[folder][file] = FoundFile(size_bytes=found.size_bytes, version=found.version)
    stores = {folder for folder, files in folders.items() if files.pop(STORE_NAME, None)}
    for folder in sorted(folders):
        files = folders[folder]
        if not _is_of_store(folder, stores):
            is_store = folder in stores
            yield FoundFolder(
                name=folder, files=sorted(files), stat=files.__getitem__, is_store=is_store
            )


def _is_of_store(folder: str, stores: set[str]) -> bool:
    """Whether ``folder`` lies in one of the folders that a store keeps its own things in."""
    parts = folder.split("/")
    return any(
        part in ROOT_FOLDERS and "/".join(parts[:depth]) in stores
        for depth, part in enumerate(parts)
    )
