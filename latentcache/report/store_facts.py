"""What pages are drawn from: plain data, gathered by whoever opens the store."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
"""8-bit RGB pixels (H, W, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """One sample: the planned crop beside what its latent decodes to.

    Attributes:
        title: Caption, or the source.
        bucket: ``TxHxW``.
        latent: Three channels as a small picture, or None.
        psnr_db: Of ``decoded`` against ``original``, both 8-bit.
    """

    title: str
    bucket: str
    original: Rgb
    decoded: Rgb
    psnr_db: float
    latent: Rgb | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """One column of a snapshot and the sum that adds up.

    Attributes:
        encoder: As asked for, e.g. ``dct``.
        stored: The stored fields in words, e.g. ``z float16 CHW, 16 channels``.
        made_on: Device and threads in words.
    """

    column: str
    encoder: str
    fingerprint: str
    stored: str
    made_on: str
    num_planned: int
    num_encoded: int
    num_quarantined: int
    num_missing: int
    num_bytes: int
    num_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFacts:
    """One channel's exact statistics; a histogram bin holds ``low <= x < high``."""

    index: int
    mean: float
    std: float
    minimum: float
    maximum: float
    num_nonfinite: int
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFacts:
    """Statistics of one stored field.

    Attributes:
        name: ``mean``, ``z`` ...
        frames: Which latent frames: ``all``, ``first`` or ``rest``.
        num_samples: Samples counted.
    """

    name: str
    frames: str
    num_samples: int
    channels: tuple[ChannelFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFacts:
    """One bucket of the plan."""

    height_px: int
    width_px: int
    num_frames: int
    num_samples: int
    num_shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedSample:
    """One row of the quarantine."""

    source: str
    stage: str
    code: str
    reason: str
    is_transient: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedEncoder:
    """What a million images would take with one encoder.

    Attributes:
        latent: Shape at the largest size, e.g. ``16 x 128 x 128``.
        num_bytes: Per size of ``Projection.sizes_px``, everything the encoder gives.
        mode_bytes: The same with the mean alone; equal where there is no posterior.
    """

    name: str
    title: str
    latent: str
    num_bytes: tuple[int, ...]
    mode_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Bytes of a million images.

    Attributes:
        sizes_px: Edges of the square images assumed.
        rgb_bytes: 8-bit RGB of the same pixels, per size.
    """

    num_images: int
    sizes_px: tuple[int, ...]
    rgb_bytes: tuple[int, ...]
    encoders: tuple[ProjectedEncoder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePage:
    """All that a page about one column shows."""

    store: str
    snapshot: int
    column: ColumnFacts
    fields: tuple[FieldFacts, ...]
    buckets: tuple[BucketFacts, ...]
    quarantine: tuple[QuarantinedSample, ...]
    reconstructions: tuple[Reconstruction, ...] = ()
