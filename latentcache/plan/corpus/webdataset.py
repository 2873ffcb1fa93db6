"""WebDataset tars: samples are members that share a name up to its first dot.

The key ends at the first dot of a name's last part and the rest is the field, as the
webdataset library has it: ``0000.input.jpg`` is the field ``input.jpg`` of sample ``0000``.
Only headers are read, and the small members (captions, labels); a picture is noted by
offset and size.
"""

import json
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.core.media import SourceRef
from latentcache.core.rejects import Reject
from latentcache.core.roles import RoleEntry
from latentcache.plan.corpus.annotation_fields import (
    Annotations,
    Noted,
    annotations_of,
    is_included,
)
from latentcache.plan.corpus.role_sources import RoleSource, is_medium, parse_roles
from latentcache.plan.corpus.tar_reader import (
    COMPRESSION_HEAD_BYTES,
    Member,
    TarReader,
    compression_of,
)
from latentcache.plan.corpus.walk import iter_folders, note_folder
from latentcache.plan.listing import (
    IMAGE_EXTENSIONS,
    MEDIA_EXTENSIONS,
    ListedMedia,
    ListingTotals,
    bad_record,
    extension_of,
    is_hidden,
    portable_path,
    reading_failed,
    text_of,
)
from latentcache.plan.plan_options import PlanOptions
from latentcache.storage import Folder

TAR_EXTENSION = ".tar"
COMPRESSED_EXTENSIONS = frozenset(
    {".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4"}
)
MAX_FIELD_BYTES = 16 * 2**20
_MAX_GROUP_MEMBERS = 1000

_TEXT_EXTENSIONS = ("txt", "caption", "text")


def iter_tars(
    root: Folder, options: PlanOptions, totals: ListingTotals, *, only: Sequence[str] = ()
) -> Iterator[ListedMedia]:
    """Yield the pictures in the tars ``only``, or in all tars below ``root``.

    A damaged tar costs the members after the damage and is counted as one that is read in part.

    Raises:
        ConfigError: A tar is compressed, so that no member can be read by its place; or the
            first sample has two pictures, and none was chosen.
    """
    names = list(only) if only else list(_names_below(root, options, totals))
    _refuse_compressed(root, names)
    listing = _Tars(root, options, totals)
    for name in names:
        yield from listing.media(name)


def _names_below(root: Folder, options: PlanOptions, totals: ListingTotals) -> Iterator[str]:
    for found in iter_folders(root):
        note_folder(found, totals)
        for file in found.files:
            name = found.path(file)
            if file.lower().endswith(tuple(COMPRESSED_EXTENSIONS)) and is_included(name, options):
                totals.findings.num_containers += 1
                totals.lose(name, "it is compressed; decompress it")
            elif extension_of(file) == TAR_EXTENSION and is_included(name, options):
                yield name
            else:
                totals.ignored[extension_of(file) or "(none)"] += 1


def _refuse_compressed(root: Folder, names: Sequence[str]) -> None:
    """Look at the first bytes of every local tar; of remote ones at the first tar's.

    Raises:
        ConfigError: One is compressed.
    """
    found: dict[str, str] = {}
    for name in names if root.is_local else names[:1]:
        try:
            head = root.read(name, start=0, end=COMPRESSION_HEAD_BYTES)
        except OSError:
            continue  # said when it is read
        if compression := compression_of(head):
            found[name] = compression
    if found:
        name, compression = next(iter(found.items()))
        raise ConfigError(
            f"tars must be uncompressed, for members are read by their place, got {len(found)} of "
            f"{len(names)} that are not ({portable_path(name)} is {compression}); decompress "
            f"them, for instance with `{compression} -dc OLD > NEW.tar`"
        )


class _Tars:
    """One pass over tars, which shares what the first sample decides."""

    def __init__(self, root: Folder, options: PlanOptions, totals: ListingTotals) -> None:
        self._root, self._options, self._totals = root, options, totals
        self._roles = parse_roles(options.roles)
        self._chosen = options.path_column.lower().removeprefix(".")
        self._has_sample = False

    def media(self, name: str) -> Iterator[ListedMedia]:
        """Yield the samples of one tar."""
        totals, path = self._totals, portable_path(name)
        try:
            facts = self._root.stat(name)
            totals.open_container(name, "tar", facts)
            if facts is None:
                totals.lose(name, "it is missing or not a regular file")
                return
            seen: set[str] = set()
            with self._root.open_read(name) as file:
                head = file.read(COMPRESSION_HEAD_BYTES)
                if compression := compression_of(head):
                    totals.lose(name, f"it is compressed with {compression}")
                    return
                reader = TarReader(file, facts.size_bytes)
                for members in _iter_groups(reader):
                    sample = _Sample(
                        path, facts.version, self._options, self._roles, totals, reader
                    )
                    sample.take(members)
                    yield from self._listed(sample, seen)
                if reader.problem:
                    totals.lose(name, reader.problem)
        except OSError as error:
            totals.lose(name, reading_failed(error))

    def _listed(self, sample: "_Sample", seen: set[str]) -> Iterator[ListedMedia]:
        candidates = sample.candidates(self._chosen)
        if not self._has_sample and len(candidates) > 1:
            names = " and ".join(_split(each.name)[1] for each in candidates)
            raise ConfigError(
                f"medium must be one member of each sample, got {names} ({sample.label}); choose "
                "with --set plan.path_column=EXTENSION"
            )
        self._has_sample = self._has_sample or bool(candidates)
        yield from sample.media(candidates, seen)


def _iter_groups(reader: TarReader) -> Iterator[list[Member]]:
    """Yield runs of members that share a name up to the first dot of its last part."""
    group: list[Member] = []
    key = ""
    for member in reader.members():
        found = _split(member.name)[0]
        if group and (found != key or len(group) >= _MAX_GROUP_MEMBERS):
            yield group
            group = []
        key = found
        group.append(member)
    if group:
        yield group


def _split(name: str) -> tuple[str, str]:
    """Return (sample name, lower-case field) by the rule of the webdataset library."""
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return folder + slash + stem, extension.lower()


class _Sample:
    """The members of one key that follow each other."""

    def __init__(
        self,
        path: str,
        version: str,
        options: PlanOptions,
        roles: Sequence[RoleSource],
        totals: ListingTotals,
        reader: TarReader,
    ) -> None:
        self._path, self._version = path, version
        self._options, self._roles = options, roles
        self._totals, self._reader = totals, reader
        self._notes = Noted(totals.findings, path)
        self._pictures: list[Member] = []
        self._fields: dict[str, Any] = {}
        self._field_names: list[str] = []
        self._of_roles: dict[str, Member] = {}

    def take(self, members: Sequence[Member]) -> None:
        """Sort the members into pictures, fields and others; fields are read."""
        for member in members:
            field = _split(member.name)[1]
            if is_hidden(member.name.removeprefix("./")):
                self._totals.ignored["(hidden)"] += 1
            elif role := self._role_of(field):
                self._of_roles.setdefault(role, member)
            elif extension_of(member.name) in MEDIA_EXTENSIONS:
                self._pictures.append(member)
            elif field.rpartition(".")[2] in (*_TEXT_EXTENSIONS, "json", "cls"):
                self._read_field(field, member)
            else:
                self._totals.ignored[f".{field}" if field else "(none)"] += 1

    def _role_of(self, field: str) -> str:
        """Return the role that a member is of: by its whole field, or the field less extension."""
        for role in self._roles:
            source = role.source.lower().removeprefix(".")
            plain = posixpath.splitext(field)[0]
            if field == source or (not source and plain == role.name and is_medium(field)):
                return role.name
        return ""

    @property
    def label(self) -> str:
        """The sample as users see it."""
        return f"{self._path}!{portable_path(_split(self._pictures[0].name)[0])}"

    def _read_field(self, field: str, member: Member) -> None:
        label = f"{self._path}!{portable_path(member.name)}"
        self._field_names.append(label)
        name, _, kind = field.rpartition(".")
        data = self._reader.read(member, MAX_FIELD_BYTES)
        if data is None:
            self._notes.add("member_not_read", label)
            return
        text = text_of(data)
        if text is None:
            self._notes.add("caption_not_text" if kind != "json" else "member_not_read", label)
            return
        if not (text := text.strip()):
            return
        if kind == "json":
            self._read_json(name, text, label)
        elif kind == "cls":
            self._fields[name or "label"] = int(text) if _is_number(text) else text
        else:
            if self._fields.setdefault(name or "caption", text) != text:
                self._notes.add("second_caption", label)
            self._fields[name or "caption"] = text

    def _read_json(self, name: str, text: str, label: str) -> None:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            self._notes.add("member_not_read", label)
            return
        prefix = f"{name}_" if name else ""
        for key, value in values.items():
            if self._fields.setdefault(prefix + key, value) != value and key == "caption":
                self._notes.add("second_caption", label)

    def candidates(self, chosen: str) -> list[Member]:
        """Return the members that could be the medium; usually there is one.

        That is the field that was chosen, where the sample has it. Else pictures come before
        videos where the plan takes none, and ``jpg`` before ``seg.png``.
        """
        first = {_split(each.name)[1]: each for each in reversed(self._pictures)}
        if chosen in first:
            return [first[chosen]]
        found = sorted(first.values(), key=lambda each: each.index)
        if self._options.clip_rules is None:
            images = [each for each in found if extension_of(each.name) in IMAGE_EXTENSIONS]
            found = images or found
        plain = [each for each in found if "." not in _split(each.name)[1]]
        return plain if plain and len(found) > 1 else found

    def media(self, candidates: Sequence[Member], seen: set[str]) -> Iterator[ListedMedia]:
        """Yield the sample; a member whose name came before is a reject of its own."""
        if not candidates:
            for label in self._field_names:
                self._notes.add("member_without_picture", label)
            return
        options = self._options
        fields = annotations_of(self._fields, options, self._notes)
        reject = None
        if len(candidates) > 1:
            names = " and ".join(_split(each.name)[1] for each in candidates)
            reject = bad_record(f"the sample has two pictures, {names}; choose one of them")
        names_taken = {candidates[0].name}
        for member in self._pictures:
            if member is candidates[0]:
                yield self._listed(member, fields, seen, reject)
            elif member.name in names_taken:
                yield self._listed(member, fields, seen, None)
            elif reject is None:
                label = f"{self._path}!{portable_path(member.name)}"
                self._notes.add("further_picture", label)

    def _listed(
        self, member: Member, fields: Annotations, seen: set[str], reject: Reject | None
    ) -> ListedMedia:
        name = portable_path(member.name)
        if member.problem:
            reject = bad_record(member.problem)
        elif reject is None and not self._reader.holds(member):
            reject = bad_record("the tar ends before the picture")
        window = ""
        if name in seen:
            window = f"repeat:{member.index}"
            reason = "a member of that name came before"
            reject = Reject(code="duplicate", stage="scan", reason=reason)
        seen.add(name)
        return ListedMedia(
            source=SourceRef(
                path=self._path,
                member=name,
                offset_bytes=member.offset_bytes,
                size_bytes=member.size_bytes,
            ),
            version=self._version,
            annotations=fields,
            position=member.index,
            is_member=True,
            reject=reject,
            window=window,
            roles={role: self._entry(each) for role, each in self._of_roles.items()},
        )

    def _entry(self, member: Member) -> RoleEntry:
        source = SourceRef(
            path=self._path,
            member=portable_path(member.name),
            offset_bytes=member.offset_bytes,
            size_bytes=member.size_bytes,
        )
        return RoleEntry(source, self._version)


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 4000  # int() takes no more
