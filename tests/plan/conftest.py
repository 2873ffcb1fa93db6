"""Corpora of every kind, small."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from latentcache.plan import ListedMedia, Listing, PlanOptions, open_corpus

Members = Mapping[str, bytes]


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes files below a fresh root."""

    def write(files: Mapping[str, str | bytes], *, root: str = "corpus") -> Path:
        for name, data in files.items():
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        return tmp_path / root

    return write


def tar_bytes(members: list[tuple[str, bytes]]) -> bytes:
    """Return a USTAR tar of ``members``, repeated names allowed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def listed(url: str | Path, kind: str = "", **options: object) -> tuple[list[ListedMedia], Listing]:
    """Return everything that the corpus at ``url`` lists."""
    plan_options = PlanOptions(**options)  # type: ignore[arg-type]  # options of any type
    listing = Listing(open_corpus(str(url), kind), plan_options)
    return [media for chunk in listing.chunks(3) for media in chunk], listing


def paths(media: list[ListedMedia]) -> list[str]:
    """Return what was listed, in order, as users see it."""
    return [each.source.label for each in media]
