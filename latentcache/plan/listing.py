"""What a listing yields: media found in a corpus, before anyone has opened them."""

import posixpath
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from latentcache.core.findings import Findings
from latentcache.core.media import SourceRef, sample_key
from latentcache.core.rejects import Reject
from latentcache.core.roles import RoleEntry

if TYPE_CHECKING:
    from latentcache.storage import ObjectInfo

_IMAGES = """
.jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .avifs .heic .heif .hif
.jp2 .j2k .jpf .jpx .jxl .ppm .pgm .pbm .pnm .pfm .tga .ico .psd .qoi .dds
"""
_VIDEOS = """
.mp4 .m4v .mov .qt .f4v .3gp .3g2 .mkv .webm .avi .divx .mpg .mpeg .vob .mod .tod .m2v .m1v .ts .mts
.m2ts .m2t .wmv .asf .flv .ogv .mxf .dv
"""

IMAGE_EXTENSIONS = frozenset(_IMAGES.split())
VIDEO_EXTENSIONS = frozenset(_VIDEOS.split())
MEDIA_EXTENSIONS = IMAGE_EXTENSIONS | VIDEO_EXTENSIONS

MEMBERS_PER_RUN = 256
"""Members of a tar, or rows of a Parquet file, that are placed together."""

_LITTER = frozenset(
    {
        "__MACOSX",
        *("@eaDir", "@Recycle", "@Recently-Snapshot", "@tmp", "#recycle", "#snapshot"),
        *("$RECYCLE.BIN", "System Volume Information", "lost+found"),
    }
)
"""Thumbnails, bins and snapshots that file servers and systems put among the pictures."""

_ESCAPED = "./"

Annotation = str | int | float | bool | list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMedia:
    """One sample that a corpus lists.

    Attributes:
        source: Where its bytes are.
        version: mtime or etag of the file that holds it; nominates changes.
        annotations: Fields known without opening it, by name.
        width_px: What a manifest claims, or None; the file itself decides.
        height_px: As ``width_px``.
        sidecar: Name of a text file with its caption, relative to the root; empty without one.
        sidecar_facts: Its size in bytes and version, where a listing tells them without asking.
        position: Member index in a tar, row in a manifest, 0 for a file.
        is_member: Whether ``position`` also says which samples lie together.
        reject: Why the record cannot be used, if so.
        window: Tells apart clips, or rejects, of one source; part of the key.
        start_s: Where a manifest says that the clip starts, or None.
        end_s: Likewise, where it ends.
        roles: Its further media, by role; among its annotations once the listing is done.
    """

    source: SourceRef
    version: str = ""
    annotations: Mapping[str, Annotation] = field(default_factory=dict)
    width_px: int | None = None
    height_px: int | None = None
    sidecar: str = ""
    sidecar_facts: tuple[int, str] | None = None
    position: int = 0
    is_member: bool = False
    reject: Reject | None = None
    window: str = ""
    start_s: float | None = None
    end_s: float | None = None
    roles: Mapping[str, RoleEntry] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The sample's 20 hex digits."""
        return sample_key(self.source, window=self.window)

    @property
    def run(self) -> int:
        """Index of the run of members it lies in; -1 for a file of its own."""
        return self.position // MEMBERS_PER_RUN if self.is_member else -1


@dataclass(slots=True)
class ListingTotals:
    """Counts of one pass over a corpus; complete once the pass has ended.

    Attributes:
        num_listed: Samples yielded, rejected records included.
        num_bytes: Known payload bytes of them.
        ignored: Files that are neither media nor anything about them, by extension.
        findings: What became no sample, was mended or chosen.
        tables: Containers that were read: name, kind, size in bytes, version.
        prefix: Of the part of the corpus that is being listed.
    """

    num_listed: int = 0
    num_bytes: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)
    tables: list[tuple[str, str, int, str]] = field(default_factory=list)
    prefix: str = ""

    def open_container(self, name: str, kind: str, facts: "ObjectInfo | None") -> None:
        """Note a tar or table that is about to be read."""
        self.findings.num_containers += 1
        if facts is not None:
            path = path_below(portable_path(name), self.prefix)
            self.tables.append((path, kind, facts.size_bytes, facts.version))

    def lose(self, name: str, reason: str) -> None:
        """Count a container that cannot be read, or is read in part."""
        self.findings.lose(path_below(portable_path(name), self.prefix), reason)

    def as_dict(self) -> dict[str, Any]:
        """Return what a plan generation records."""
        ignored = dict(sorted(self.ignored.items()))
        found = {"listed": self.num_listed, "bytes": self.num_bytes, "ignored": ignored}
        return found | self.findings.as_dict()


def bad_record(reason: str) -> Reject:
    """Return the reject of a record that makes no sense."""
    return Reject(code="bad_record", stage="scan", reason=reason)


def reading_failed(error: OSError) -> str:
    """Return why a container cannot be read; holds no path."""
    return f"reading it failed: {(error.strerror or type(error).__name__).lower()}"


def extension_of(name: str) -> str:
    """Return the lower-case extension with its dot, or an empty text."""
    return posixpath.splitext(name)[1].lower()


def is_named_as_video(media: ListedMedia) -> bool:
    """Whether its name says that it is a video."""
    return extension_of(media.source.member or media.source.path) in VIDEO_EXTENSIONS


def is_hidden(name: str) -> bool:
    """Whether a part of a relative path starts with a dot or is litter of a file server."""
    return any(part.startswith(".") or part in _LITTER for part in name.split("/"))


def portable_path(name: str) -> str:
    """Return ``name`` as text that UTF-8 can hold.

    File names are bytes; Python shows undecodable ones as lone surrogates, which no
    table can store. Such a name becomes ``./`` and its percent-encoded bytes. No other
    listed path starts with ``./``, so :func:`file_name` takes it back exactly.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return _ESCAPED + quote(name.encode("utf-8", "surrogateescape"))
    return name


def file_name(path: str) -> str:
    """Return the file name that :func:`portable_path` wrote."""
    if path.startswith(_ESCAPED):
        return unquote_to_bytes(path.removeprefix(_ESCAPED)).decode("utf-8", "surrogateescape")
    return path


def path_below(path: str, prefix: str) -> str:
    """Return a listed path as it is below ``prefix``; URLs and absolute paths stay."""
    name = file_name(path)
    if not prefix or name.startswith("/") or "://" in name:
        return path
    if "://" in prefix:
        return portable_path(f"{prefix}/{name}")
    return portable_path(posixpath.normpath(posixpath.join(prefix, name)))


def below(media: ListedMedia, prefix: str) -> ListedMedia:
    """Return ``media`` with its paths below ``prefix``."""
    if not prefix:
        return media
    source = replace(media.source, path=path_below(media.source.path, prefix))
    sidecar = path_below(media.sidecar, prefix) if media.sidecar else ""
    return replace(media, source=source, sidecar=sidecar)


def storable_text(text: str) -> str:
    """Return ``text`` without lone surrogates, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def text_of(data: bytes) -> str | None:
    """Return the text in ``data``: UTF-16 if it begins with its mark, else UTF-8; None if neither.

    Nothing is guessed: bytes of another encoding would become a caption nobody wrote.
    """
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    # UTF-16 without its mark may pass as UTF-8 full of NULs.
    return None if "\0" in text else text
