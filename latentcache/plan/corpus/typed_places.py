"""Places as people type them: braces as WebDataset has them, and ``*``."""

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

from latentcache.core.errors import ConfigError
from latentcache.storage import Folder

_WILD = re.compile(r"[*?\[]")


def expanded(url: str) -> list[str]:
    """Return the files and folders that ``url`` stands for, itself if it is plain.

    ``{00000..00031}`` counts and ``{a,b}`` lists, as in WebDataset; ``*``, ``?`` and ``[0-9]``
    match within one name, sorted. A name that is there as it is typed is no pattern.

    Raises:
        ConfigError: A pattern matches nothing, or braces name files of which some are missing.
    """
    if not _WILD.search(url) and "{" not in url:
        return [url]
    if "://" not in url and Path(url).exists():
        return [url]
    try:
        names = _braces(url) if "{" in url else [url]
    except ValueError:  # its own for braces that are not closed is one
        raise ConfigError(
            f"braces must be closed, got {url!r} (corpus); write for instance "
            "'{00000..00031}.tar', in quotes"
        ) from None
    found = [place for name in names for place in _matches(name)]
    if not found:
        raise ConfigError(
            f"pattern must match a file or folder, got {url!r} that matches none (corpus); "
            "look at the folder's names, and keep the pattern in quotes"
        )
    missing = [name for name in names if not _WILD.search(name) and not _matches(name)]
    if missing:
        raise ConfigError(
            f"files named by braces must be there, got {len(missing)} of {len(names)} that are "
            f"not (e.g. {missing[0]}); copy them, or give a pattern with * to take what is there"
        )
    return found


def _braces(url: str) -> list[str]:
    from braceexpand import braceexpand  # noqa: PLC0415  comes with what encodes, not with loaders

    return list(braceexpand(url))


def _matches(name: str) -> list[str]:
    """Return what a name with ``*`` matches, or the name itself if it is there."""
    parts = name.split("/")
    first_wild = next((i for i, part in enumerate(parts) if _WILD.search(part)), len(parts))
    if first_wild == len(parts):
        return [name] if _exists(name) else []
    base = "/".join(parts[:first_wild]) or ("/" if name.startswith("/") else ".")
    if base.endswith((":", ":/")):
        raise ConfigError(
            f"pattern must begin below a bucket or host, got {name!r} (corpus); name the bucket"
        )
    folder, wild = Folder.open(base), parts[first_wild:]
    return [os.path.join(base, *found) for found in _below(folder, (), wild)]  # noqa: PTH118


def _below(folder: Folder, done: tuple[str, ...], wild: list[str]) -> list[tuple[str, ...]]:
    """Return the names below ``folder`` that match part for part, sorted."""
    here = folder.child("/".join(done)) if done else folder
    names = {info.name.split("/", 1)[0] for info in here.list()} if not here.is_local else set()
    if here.is_local:
        path = Path(here.url)
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    found: list[tuple[str, ...]] = []
    for name in sorted(names):
        if not fnmatchcase(name, wild[0]) or (name.startswith(".") and wild[0][0] != "."):
            continue
        if len(wild) == 1:
            found.append((*done, name))
        else:
            found += _below(folder, (*done, name), wild[1:])
    return found


def _exists(name: str) -> bool:
    if "://" not in name:
        return Path(name).exists()
    parent, _, last = name.rstrip("/").rpartition("/")
    folder = Folder.open(parent)
    return folder.stat(last) is not None or not folder.child(last).is_empty()
