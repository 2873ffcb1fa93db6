"""Where the media of roles lie: what ``--role NAME=SOURCE`` means in a corpus of each kind.

A role's source is a column of a manifest, a member of a tar's samples (``mask.png``), and of a
folder either another folder, whose files have the same stems, or a pattern of names beside the
pictures (``*_control``). What was found travels as an annotation, see ``core.roles``.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from latentcache.core.errors import ConfigError
from latentcache.core.findings import Findings
from latentcache.core.media import SourceRef
from latentcache.core.roles import MAX_NUMBERED, RoleEntry, role_annotation
from latentcache.plan.corpus.walk import FoundFolder, iter_folders
from latentcache.plan.listing import (
    MEDIA_EXTENSIONS,
    ListedMedia,
    extension_of,
    path_below,
    portable_path,
)
from latentcache.storage import Folder

Entries = dict[str, RoleEntry]


@dataclass(frozen=True, slots=True)
class RoleSource:
    """One role that a plan was told of.

    Attributes:
        name: Of the role.
        source: As it was typed after the equals sign; "" for what the name suggests.
    """

    name: str
    source: str = ""

    @property
    def pattern(self) -> str:
        """Of a folder corpus: the ending of stems beside their pictures, "" for a folder."""
        if not self.source:
            return f"_{self.name}"
        return self.source.partition("*")[2] if self.source.startswith("*") else ""


def parse_roles(texts: Sequence[str]) -> tuple[RoleSource, ...]:
    """Return the roles of ``NAME=SOURCE`` or ``NAME`` alone, as plan options have checked them."""
    parts = (text.partition("=") for text in texts)
    return tuple(RoleSource(name, source) for name, _, source in parts)


def with_entries(media: ListedMedia, prefix: str) -> ListedMedia:
    """Return ``media`` with the media of its roles among its annotations.

    Args:
        media: As listed.
        prefix: Of its part of the corpus: paths are written below it.
    """
    if not media.roles:
        return media
    told = {
        role_annotation(name): replace(
            entry, source=replace(entry.source, path=path_below(entry.source.path, prefix))
        ).to_text()
        for name, entry in media.roles.items()
    }
    return replace(media, roles={}, annotations={**media.annotations, **told})


def numbered(role: str, count: int) -> Iterator[str]:
    """Yield the names of several media of one role, as many as a row may have."""
    for number in range(min(count, MAX_NUMBERED)):
        yield f"{role}.{number}"


class RoleNames:
    """Which files of a folder corpus are media of roles, and so no samples, by name alone."""

    def __init__(self, root: Folder, roles: Sequence[RoleSource]) -> None:
        """Find out which folders of roles lie below the corpus.

        Args:
            root: Of the corpus.
            roles: All of the plan.
        """
        folders = [role for role in roles if not role.pattern and _is_below(root, role)]
        self._own = tuple(role.source.strip("/") for role in folders)
        self._endings = tuple(role.pattern for role in roles if role.pattern)

    def is_own(self, folder: str) -> bool:
        """Whether a folder of the corpus holds media of roles and no samples."""
        return any(folder == each or folder.startswith(f"{each}/") for each in self._own)

    def stem_of(self, file: str) -> str:
        """Return the stem of the picture whose role a file is by its name, "" of a sample."""
        stems = (_stem_before(file, ending) for ending in self._endings)
        return next(filter(None, stems), "")


class RoleFolders:
    """The media of roles that lie in folders of their own, or beside their pictures by name.

    Attributes:
        names: Tell which files of the corpus are theirs.
    """

    def __init__(self, root: Folder, roles: Sequence[RoleSource], findings: Findings) -> None:
        """List the folders of roles.

        Args:
            root: Of the corpus.
            roles: All of the plan.
            findings: Count what belongs to no sample.

        Raises:
            ConfigError: A folder holds no media.
        """
        self._findings = findings
        self._beside = {role.name: role.pattern for role in roles if role.pattern}
        folders = [role for role in roles if not role.pattern]
        self.names = RoleNames(root, roles)
        self._stems = {role.name: _stems_in(root, role) for role in folders}
        self._used: dict[str, set[str]] = {role.name: set() for role in folders}

    def beside(self, found: FoundFolder) -> "BesidePictures":
        """Return the media of roles that lie beside their pictures in one folder."""
        return BesidePictures(found, self._beside, self.names, self._findings)

    def entries_of(self, path: str) -> Entries:
        """Return the media in folders of roles whose stem is that of a picture.

        The longest end of the picture's path that names one counts: ``train/images/a.jpg`` has
        ``images/a.png`` before ``a.png``.
        """
        parts = posixpath.splitext(path)[0].split("/")
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        entries: Entries = {}
        for name, stems in self._stems.items():
            end = next((each for each in ends if each in stems), None)
            if end is not None:
                entries[name] = stems[end]
                self._used[name].add(end)
        return entries

    def count_unused(self) -> None:
        """Count the media that belong to no sample."""
        for name, stems in self._stems.items():
            for stem in sorted(stems.keys() - self._used[name]):
                self._findings.add("role_without_sample", stems[stem].source.path)


class BesidePictures:
    """The media of roles in one folder of the corpus that lie beside their pictures."""

    def __init__(
        self, found: FoundFolder, endings: Mapping[str, str], names: RoleNames, findings: Findings
    ) -> None:
        """Look through the folder once.

        Args:
            found: The folder.
            endings: Of stems, by role.
            names: Tell the files of roles from samples.
            findings: Count what belongs to no sample.
        """
        self._found, self._names, self._findings = found, names, findings
        files = found.files if endings else []
        media = [file for file in files if is_medium(file)]
        self._stems = {posixpath.splitext(file)[0] for file in files}
        pictures = {posixpath.splitext(file)[0] for file in media}
        self._entries: dict[str, Entries] = {}
        for file in media:
            for name, ending in endings.items():
                stem = _stem_before(file, ending)
                if stem in pictures:
                    self._entries.setdefault(stem, {}).setdefault(name, _entry(found, file))

    def of(self, file: str) -> Entries:
        """Return the media that belong to a picture."""
        return self._entries.get(posixpath.splitext(file)[0], {})

    def has(self, file: str) -> bool:
        """Whether a file is a role's and no sample; one without its picture is counted."""
        stem = self._names.stem_of(file)
        if stem and stem not in self._stems:
            self._findings.add("role_without_sample", portable_path(self._found.path(file)))
        return bool(stem)


def is_medium(file: str) -> bool:
    """Whether a file's name is that of a picture or video."""
    return extension_of(file) in MEDIA_EXTENSIONS


def _stem_before(file: str, ending: str) -> str:
    """Return the stem of the picture that ``file`` belongs to by its name, or ""."""
    stem, extension = posixpath.splitext(file)
    wanted, wanted_extension = posixpath.splitext(ending)
    if wanted_extension and wanted_extension != extension:
        return ""
    return stem.removesuffix(wanted) if stem.endswith(wanted) and stem != wanted else ""


def _entry(found: FoundFolder, file: str, *, prefix: str = "") -> RoleEntry:
    facts = found.stat(file)
    path = portable_path(posixpath.join(prefix, found.path(file)))
    return RoleEntry(SourceRef(path=path, size_bytes=facts.size_bytes), facts.version)


def _is_below(root: Folder, role: RoleSource) -> bool:
    source = role.source
    return "://" not in source and not source.startswith(("/", "../")) and _holds(root, source)


def _holds(root: Folder, name: str) -> bool:
    return bool(name) and not root.child(name.strip("/")).is_empty()


def _stems_in(root: Folder, role: RoleSource) -> dict[str, RoleEntry]:
    """Return the media in a role's folder, by their path in it without extension.

    Raises:
        ConfigError: There are none.
    """
    below = _is_below(root, role)
    source = role.source.rstrip("/")
    folder = root.child(source) if below else Folder.open(source)
    prefix = source if below else folder.label.rstrip("/")
    stems: dict[str, RoleEntry] = {}
    for found in iter_folders(folder):
        for file in filter(is_medium, found.files):
            stem = posixpath.splitext(found.path(file))[0]
            stems.setdefault(stem, _entry(found, file, prefix=prefix))
    if not stems:
        raise ConfigError(
            f"role {role.name} must be a folder of pictures or videos, or a pattern of names such "
            f"as *_{role.name}, got nothing at {folder.label}; correct --role {role.name}=..."
        )
    return stems
