"""What a plan will cost, before anything is spent: arithmetic on its runs, nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from latentcache.core.frames import FrameRule
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun

if TYPE_CHECKING:
    pass

_BLOCK_BYTES = 512
_HEADER_BYTES = 200
"""Of a safetensors file with one or two fields, rounded up; a tar rounds to blocks anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCost:
    """What an estimate must know of one encoder.

    Attributes:
        name: As on the command line.
        bytes_per_cell: Stored bytes per cell of a latent frame: channels x fields x bytes of
            the dtype.
        spatial_factor: Pixels per latent cell, (vertical, horizontal).
        multiple_of: What heights and widths must be multiples of.
        fixed_size: The only (height, width) it takes, or None.
        max_size_px: Largest height or width, or None.
        takes_clips: Whether samples may have more than one frame.
        frame_rule: How many frames it takes, and latent frames it makes of them.
        total_s: For all that it admits of the plan, measured by the caller, or None.
    """

    name: str
    bytes_per_cell: int
    spatial_factor: tuple[int, int] = (8, 8)
    multiple_of: tuple[int, int] = (8, 8)
    fixed_size: tuple[int, int] | None = None
    max_size_px: int | None = None
    takes_clips: bool = False
    frame_rule: FrameRule = field(default_factory=FrameRule)
    total_s: float | None = None

    def admits(self, bucket: Bucket) -> bool:
        """Whether samples of ``bucket`` fit the encoder."""
        if bucket.num_frames > 1 and not self.takes_clips:
            return False
        if not self.frame_rule.admits(bucket.num_frames):
            return False
        size = (bucket.height_px, bucket.width_px)
        if self.fixed_size is not None and size != self.fixed_size:
            return False
        if self.max_size_px is not None and max(size) > self.max_size_px:
            return False
        return all(length % step == 0 for length, step in zip(size, self.multiple_of, strict=True))

    def sample_bytes(self, bucket: Bucket) -> int:
        """Return the bytes that one sample takes in a tar, header and padding included.

        Raises:
            ValueError: The frame rule does not admit it.
        """
        frames = self.frame_rule.num_latent_frames(bucket.num_frames)
        rows = -(-bucket.height_px // self.spatial_factor[0])
        columns = -(-bucket.width_px // self.spatial_factor[1])
        payload = _HEADER_BYTES + frames * rows * columns * self.bytes_per_cell
        return _BLOCK_BYTES + -(-payload // _BLOCK_BYTES) * _BLOCK_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketEstimate:
    """One bucket: its samples and shards."""

    bucket: str
    num_samples: int
    num_shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderEstimate:
    """One encoder: what the whole plan takes.

    Attributes:
        name: As on the command line.
        bytes: Of all tars; of the admitted buckets alone if some are not.
        hours: On the machine where it was measured; None where it was not.
        refused: Buckets that do not fit the encoder.
    """

    name: str
    bytes: int
    hours: float | None
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEstimate:
    """All of it, ready to print."""

    num_samples: int
    num_shards: int
    rejects: dict[str, int]
    buckets: tuple[BucketEstimate, ...]
    encoders: tuple[EncoderEstimate, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for ``--json``."""
        return asdict(self)


def estimate(
    runs: Sequence[BucketRun], rejects: Mapping[str, int], encoders: Sequence[EncoderCost]
) -> PlanEstimate:
    """Return what encoding ``runs`` with each of ``encoders`` takes.

    Args:
        runs: Of the plan.
        rejects: Samples refused so far, by code.
        encoders: Candidates.
    """
    return PlanEstimate(
        num_samples=sum(run.num_rows for run in runs),
        num_shards=sum(run.num_shards for run in runs),
        rejects=dict(sorted(rejects.items())),
        buckets=tuple(
            BucketEstimate(
                bucket=str(run.bucket), num_samples=run.num_rows, num_shards=run.num_shards
            )
            for run in runs
        ),
        encoders=tuple(_of_encoder(runs, encoder) for encoder in encoders),
    )


def _of_encoder(runs: Sequence[BucketRun], encoder: EncoderCost) -> EncoderEstimate:
    admitted = [run for run in runs if encoder.admits(run.bucket)]
    return EncoderEstimate(
        name=encoder.name,
        bytes=sum(run.num_rows * encoder.sample_bytes(run.bucket) for run in admitted),
        hours=None if encoder.total_s is None else encoder.total_s / 3600,
        refused=tuple(str(run.bucket) for run in runs if run not in admitted),
    )
