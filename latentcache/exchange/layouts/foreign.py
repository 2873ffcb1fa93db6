"""What a reader of another trainer's cache gives: samples by name and shape, loaded when asked."""

import gzip
import io
import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.storage import Folder

Values = Literal["raw", "scaled"]
Kind = Literal["mean", "sample", "moments"]
"""Which of a posterior is kept; ``moments`` is mean and standard deviation, one after the other."""
Tensors = Mapping[str, torch.Tensor]
_Opened = TypeVar("_Opened")


@dataclass(frozen=True, kw_only=True)
class ForeignSample:
    """One sample of a cache.

    Attributes:
        name: Of its source as far as the cache tells: a path, with or without its ending.
        shape: Of its latents.
        dtype: torch's, of the same.
        load: Gives the latents; anything wrong with the file is a ``MediaError``.
        caption: If there is one.
        label: A class, if there is one.
        source_size_px: Width and height of the picture, if told.
        crop_px: Left and top of the crop in the resized picture, if told.
        num_frames: Of the clip in pixels, if told.
        frame_rate_fps: Likewise.
        is_picture_known: Whether ``name`` is that of the picture; else a hash or a number.
        run: Samples of one run lie together in the cache and are placed together; "" is its own.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], torch.Tensor]
    caption: str | None = None
    label: int | None = None
    source_size_px: tuple[int, int] | None = None
    crop_px: tuple[int, int] | None = None
    num_frames: int | None = None
    frame_rate_fps: float | None = None
    is_picture_known: bool = True
    run: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file of a cache that gives no sample, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unopened:
    """A file of a cache that has not been looked into.

    Attributes:
        name: Of the sample that it gives.
        load: As of ``ForeignSample``.
        told: What else is known of it: further attributes of that.
    """

    name: str
    load: Callable[[], torch.Tensor]
    told: Mapping[str, Any]

    def look(self) -> tuple[tuple[int, ...], torch.dtype] | str:
        """Return shape and dtype of its latents, or why it gives none."""
        try:
            found = self.load()
        except MediaError as error:
            return str(error)
        return tuple(found.shape), found.dtype

    def as_seen(
        self, seen: tuple[tuple[int, ...], torch.dtype] | str
    ) -> ForeignSample | Unreadable:
        """Return the sample, or why there is none, once ``look`` has told."""
        if isinstance(seen, str):
            return Unreadable(self.name, seen)
        shape, dtype = seen
        return ForeignSample(name=self.name, shape=shape, dtype=dtype, load=self.load, **self.told)


@dataclass(kw_only=True)
class Reading:
    """What a reader is given, and what it notes.

    Attributes:
        root: The cache.
        pictures: Paths of the source pictures by path without ending; {} if they were not given.
        left_out: What of the cache becomes no sample, counted by a word for it.
        normalizer: Operations that the cache itself publishes, or None.
        asked: What a user has to tell of some layouts, by name.
    """

    root: Folder
    pictures: Mapping[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    normalizer: dict[str, Any] | None = None
    asked: Mapping[str, str] = field(default_factory=dict)

    def names(self, *endings: str) -> list[str]:
        """Return the files of the cache with one of some endings, sorted."""
        found = (info.name for info in self.root.list())
        return sorted(name for name in found if name.endswith(endings))


SAMPLES_PER_RUN = 256
"""Of one file, as of a tar in a corpus."""

Found = ForeignSample | Unreadable | Unopened
Reader = Callable[[Reading], Iterator[Found]]


def broken(name: str, error: Exception) -> MediaError:
    """Return the error for a file that cannot be read."""
    lines = str(error).splitlines() or [type(error).__name__]
    return MediaError(RejectCode.CORRUPT.word, f"{name} cannot be read: {lines[0][:120]}")


_MAPPED_BYTES = 2**22
"""Larger files are mapped, so that a look at the shape reads no latents."""


def read_pt(folder: Folder, name: str) -> Any:
    """Return what ``torch.save`` wrote, tensors and plain values alone; tensors may be mapped.

    Raises:
        MediaError: It is damaged, or holds code.
    """
    path = folder.local_path(name)
    try:
        if path is not None and path.stat().st_size > _MAPPED_BYTES:
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except (RuntimeError, ValueError):  # not a zip: written by an old torch, or compressed
                pass
        data = folder.read(name)
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  whatever unpickling a foreign file may raise
        raise broken(name, error) from None


def read_json(folder: Folder, name: str) -> Any:
    """Return what a JSON file says.

    Raises:
        MediaError: It is none.
    """
    try:
        return json.loads(folder.read(name))
    except (ValueError, OSError) as error:
        raise broken(name, error) from None


def read_safetensors(folder: Folder, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        MediaError: It is damaged.
    """
    try:
        return load_safetensors(folder.read(name))
    except (SafetensorError, OSError, ValueError) as error:
        raise broken(name, error) from None


def checked(value: Any, *, where: str) -> torch.Tensor:
    """Return a tensor of latents, its batch axis of one taken off.

    Raises:
        MediaError: It is no tensor of floats with channels, height and width.
    """
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise MediaError(RejectCode.CORRUPT.word, f"{where} holds no tensor of floats")
    if value.ndim == 5 and value.shape[0] == 1:
        value = value[0]
    if value.ndim not in (3, 4) or not value.numel():
        raise MediaError(
            RejectCode.CORRUPT.word,
            f"{where} holds a tensor of shape {tuple(value.shape)}, not (C, H, W) or (C, T, H, W)",
        )
    latents: torch.Tensor = value
    return latents


def sample_of(
    name: str,
    read: Callable[[], _Opened],
    latents: Callable[[_Opened], torch.Tensor],
    *,
    opened: _Opened | None = None,
    **told: Any,
) -> Found:
    """Return the sample of a file, or why it gives none; unopened where nothing is read yet.

    Args:
        name: Of the sample.
        read: Opens its file.
        latents: Finds its latents in what was opened.
        opened: What ``read`` has given already, if it was.
        told: Further attributes of ``ForeignSample``.
    """

    def load() -> torch.Tensor:
        return latents(read())

    if opened is None:
        return Unopened(name, load, told)
    try:
        found = latents(opened)
    except MediaError as error:
        return Unreadable(name, str(error))
    return ForeignSample(name=name, shape=tuple(found.shape), dtype=found.dtype, load=load, **told)


def by_stem(names: Iterable[str]) -> dict[str, str]:
    """Return source pictures by path without ending; those that share one are left out."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for name in names:
        stem = posixpath.splitext(name)[0]
        if found.setdefault(stem, name) != name:
            twice.add(stem)
    return {stem: name for stem, name in found.items() if stem not in twice}


def below(path: str, reading: Reading) -> str:
    """Return a picture's path as the pictures given have it: their longest common ending."""
    wanted = path.replace("\\", "/")
    stem = posixpath.splitext(wanted)[0]
    parts = stem.split("/")
    for start in range(len(parts)):
        found = reading.pictures.get("/".join(parts[start:]))
        if found is not None:
            return found
    return wanted.lstrip("/")
