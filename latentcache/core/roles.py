"""Roles: further media of a sample, such as ``control``, ``mask`` or ``reference.0``.

Where a sample's medium of a role lies is an annotation of the plan, ``role_control`` of the role
``control``: one text a row, null where the sample has none. So a role is revised, published and
mapped like a caption, and a reader that does not know of roles reads everything else.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from latentcache.core.fingerprint import canonical_json
from latentcache.core.media import SourceRef

ROLE_VERSION = 1
"""Raised when the rule from a role's medium to its pixels changes."""

MAX_NUMBERED = 16
"""Media of one numbered role that a row may have: ``reference.0`` to ``reference.15``."""

RoleGeometry = Literal["as_target", "own"]
Absent = Literal["count", "allow"]

_PREFIX = "role_"
_NAME = re.compile(r"[a-z]+(?:_[a-z]+)*(?:\.(?:0|[1-9][0-9]?))?")
_MAX_NAME = 40


def checked_role(name: str) -> str:
    """Return ``name`` if it may name a role.

    Raises:
        ValueError: It may not.
    """
    number = name.partition(".")[2]
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME or int(number or 0) >= MAX_NUMBERED:
        raise ValueError(
            f"role must be small letters and underscores, with .N after them where there are "
            f"several (N from 0 to {MAX_NUMBERED - 1}), got {name!r}; write for instance control, "
            "mask or reference.0"
        )
    return name


def role_annotation(name: str) -> str:
    """Return the annotation that says where the media of a role lie."""
    return f"{_PREFIX}{name.replace('.', '_')}"


def role_of_annotation(annotation: str) -> str:
    """Return the role whose media an annotation names, "" if it is another annotation."""
    if not annotation.startswith(_PREFIX):
        return ""
    name = re.sub(r"_([0-9]+)$", r".\1", annotation.removeprefix(_PREFIX))
    return name if _NAME.fullmatch(name) else ""


def default_geometry(name: str) -> RoleGeometry:
    """Return how media of a role are cut unless told: references by themselves, others as their
    sample.
    """
    return "own" if name.partition(".")[0] == "reference" else "as_target"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRule:
    """How the media of a role become pixels; part of the fingerprint.

    Attributes:
        geometry: ``as_target`` resizes and crops them as their sample; ``own`` chooses a bucket
            by their own aspect.
        resolution_px: Pixel budget of ``own``: at most its square.
    """

    geometry: RoleGeometry
    resolution_px: int = 0

    def __post_init__(self) -> None:
        if self.geometry not in get_args(RoleGeometry):
            raise ValueError(f"role_geometry must be as_target or own, got {self.geometry!r}")
        if (self.geometry == "own") != (self.resolution_px > 0):
            raise ValueError(
                f"role_resolution must be given with role_geometry own, and with no other, got "
                f"{self.resolution_px} with {self.geometry}; leave one of them out"
            )

    def identity(self) -> dict[str, Any]:
        """Return what can change a pixel, as plain data."""
        found: dict[str, Any] = {"version": ROLE_VERSION, "geometry": self.geometry}
        return found if not self.resolution_px else {**found, "resolution_px": self.resolution_px}

    @classmethod
    def from_identity(cls, recorded: Mapping[str, Any]) -> "RoleRule":
        """Return the rule that ``identity`` described."""
        return cls(
            geometry=recorded["geometry"], resolution_px=int(recorded.get("resolution_px", 0))
        )


@dataclass(frozen=True, slots=True)
class RoleEntry:
    """Where one sample's medium of a role lies.

    Attributes:
        source: Its bytes.
        version: mtime or etag of the file; nominates changes, as that of the sample's own does.
    """

    source: SourceRef
    version: str = ""

    def to_text(self) -> str:
        """Return the entry as an annotation keeps it: JSON, what says nothing left out."""
        source = self.source
        values: dict[str, Any] = {"path": source.path}
        if source.member:
            values["member"] = source.member
        if source.offset_bytes >= 0:
            values["offset_bytes"] = source.offset_bytes
        if source.size_bytes >= 0:
            values["size_bytes"] = source.size_bytes
        if self.version:
            values["version"] = self.version
        return canonical_json(values)

    @classmethod
    def from_text(cls, text: str) -> "RoleEntry":
        """Return the entry that ``to_text`` wrote."""
        values = json.loads(text)
        version = values.pop("version", "")
        return cls(SourceRef(**values), version)
