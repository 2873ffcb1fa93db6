"""Media facts: where a sample's bytes are, how large it is, which pixels are encoded."""

import re
from dataclasses import dataclass
from hashlib import blake2b

LONG_CLIP_BYTES = 512 * 2**20
"""Of 8-bit RGB: a larger clip never exists whole, it is decoded and encoded in groups of frames."""

MID_GREY = 128
"""Fills the place of a row that has no pixels, so that batch shapes never change."""

_BUCKET_PATTERN = re.compile(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)")


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """The shape shared by all samples of a batch, in pixels: ``TxHxW``."""

    num_frames: int
    height_px: int
    width_px: int

    def __str__(self) -> str:
        return f"{self.num_frames}x{self.height_px}x{self.width_px}"

    @classmethod
    def parse(cls, text: str) -> "Bucket":
        """Return the bucket that ``str`` wrote.

        Raises:
            ValueError: ``text`` is not ``TxHxW``.
        """
        match = _BUCKET_PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"bucket must be TxHxW, got {text!r}")
        return cls(*(int(part) for part in match.groups()))

    @property
    def label(self) -> str:
        """The shape as people read it, width first: ``832x480``, of clips ``832x480, 81 frames``.

        ``str`` is the name that files and programs know, ``TxHxW``.
        """
        size = f"{self.width_px}x{self.height_px}"
        return size if self.num_frames == 1 else f"{size}, {self.num_frames:,} frames"

    @property
    def num_pixels(self) -> int:
        """T * H * W."""
        return self.num_frames * self.height_px * self.width_px

    @property
    def rgb_bytes(self) -> int:
        """Bytes of one sample as 8-bit RGB."""
        return 3 * self.num_pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How an oriented source becomes a bucket: resize to ``resized``, cut at ``crop``, mirror.

    All in pixels after EXIF orientation. The crop has the bucket's size. ``is_flipped`` says that
    what was cut out is mirrored, left for right.
    """

    source_width_px: int
    source_height_px: int
    resized_width_px: int
    resized_height_px: int
    crop_left_px: int
    crop_top_px: int
    is_flipped: bool = False

    @property
    def uncut(self) -> tuple[int, int, int, int]:
        """Sizes of the source and of what is cut: the same where one decode serves several."""
        resized_px = self.resized_width_px, self.resized_height_px
        return self.source_width_px, self.source_height_px, *resized_px


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRef:
    """Where the bytes of one sample are.

    Attributes:
        path: Relative to the corpus root with ``/`` separators, or a full URL.
        member: Name inside a tar, or row number inside a Parquet file; empty for a plain file.
        offset_bytes: Where the payload starts in ``path``; -1 if it is the whole file
            (or a Parquet row, which is read by number).
        size_bytes: Payload size; -1 if unknown.
    """

    path: str
    member: str = ""
    offset_bytes: int = -1
    size_bytes: int = -1

    @property
    def label(self) -> str:
        """The source as users see it: ``path`` or ``path!member``."""
        return f"{self.path}!{self.member}" if self.member else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What the header of one file says.

    Attributes:
        width_px: After EXIF orientation.
        height_px: After EXIF orientation.
        format: The decoder's name for it, e.g. ``JPEG``.
        mode: The decoder's colour mode, e.g. ``RGB`` or ``I;16``.
        is_animated: More than one frame; only the first is encoded as an image.
    """

    width_px: int
    height_px: int
    format: str
    mode: str
    is_animated: bool = False


def sample_key(source: SourceRef, *, window: str = "") -> str:
    """Return the 20 hex digits that name a sample for ever.

    80 bits of blake2b over the path *relative to the corpus root*, the member and the
    clip window, so that moving the corpus keeps every key.
    """
    text = "\0".join((source.path, source.member, window))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()
