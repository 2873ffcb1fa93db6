"""Fidelity: how close a stored latent, decoded, comes to the pixels it was made from."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import MediaError
from latentcache.core.inputs import encoded_bucket
from latentcache.core.media import Bucket
from latentcache.encoders import DecodingEncoder, EncoderSpec
from latentcache.evaluate.planned import (
    PlannedSample,
    choose_samples,
    read_pixels,
    read_stored,
    recorded_transform,
)
from latentcache.evaluate.recorded import decode_fields, first_latent_frames
from latentcache.store import ColumnView

Pixels = npt.NDArray[np.uint8]

MAX_PSNR_DB = 100.0
"""What equal pictures score, so that a mean stays finite."""


MAX_COMPARED_BYTES = 512 * 2**20
"""Of 8-bit RGB: of a longer clip the first frames are decoded and compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityReport:
    """PSNR of some samples of a column.

    Attributes:
        psnr_db: By key, in plan order; of clips over all frames compared.
        first_frame_db: Of clips, by key: their first frame alone, which causal encoders keep
            apart.
        rest_db: Of clips, by key: all other frames.
        skipped: By key, why a sample could not be compared.
        sources: By key, where each sample that was compared came from.
    """

    psnr_db: dict[str, float] = field(default_factory=dict)
    first_frame_db: dict[str, float] = field(default_factory=dict)
    rest_db: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def mean_db(self) -> float | None:
        """Mean over samples, or None if none was compared."""
        return mean_of(self.psnr_db)

    @property
    def min_db(self) -> float | None:
        """The worst sample's, or None if none was compared."""
        return min(self.psnr_db.values(), default=None)

    def worst_first(self) -> list[str]:
        """Return the keys of what was compared, the lowest PSNR first."""
        return sorted(self.psnr_db, key=lambda key: (self.psnr_db[key], key))

    def add(self, key: str, original: Pixels, decoded: Pixels) -> None:
        """Compare a sample."""
        self.psnr_db[key] = psnr_db(original, decoded)
        if original.ndim == 4:
            self.first_frame_db[key] = psnr_db(original[:1], decoded[:1])
            self.rest_db[key] = psnr_db(original[1:], decoded[1:])


def mean_of(by_key: Mapping[str, float]) -> float | None:
    """Return the mean over samples, or None of none."""
    return math.fsum(by_key.values()) / len(by_key) if by_key else None


def psnr_db(original: Pixels, decoded: Pixels) -> float:
    """Return ``10 log10(255^2 / MSE)`` over all values of two 8-bit pictures of one shape.

    Capped at ``MAX_PSNR_DB``.
    """
    if original.shape != decoded.shape:
        raise ValueError(
            f"pictures must have one shape, got {original.shape} and {decoded.shape}; "
            "compare the planned crop"
        )
    difference = original.astype(np.float64) - decoded.astype(np.float64)
    mean_squared = float(np.mean(difference * difference))
    if mean_squared == 0.0:
        return MAX_PSNR_DB
    return min(MAX_PSNR_DB, 10.0 * math.log10(255.0**2 / mean_squared))


def reconstruct(
    column: ColumnView,
    sample: PlannedSample,
    encoder: DecodingEncoder,
    *,
    corpus_url: str | None = None,
) -> tuple[Pixels, Pixels]:
    """Return the pixels that were encoded and those that the stored latent decodes to.

    Of a clip too long for ``MAX_COMPARED_BYTES`` the first frames, where the encoder is causal:
    they do not depend on later ones.

    Args:
        column: The store's.
        sample: One image or clip of it.
        encoder: The one that made the column.
        corpus_url: Where the corpus lies now, if it has moved.

    Raises:
        MediaError: The source cannot be had any more, or has changed.
        ShardCorruptError: The store is damaged.
    """
    record, spec = column.record, encoder.spec
    bucket = encoded_bucket(sample.bucket, recorded_transform(record.transform).input)
    num_frames = num_compared(bucket, spec)
    original = read_pixels(sample, record, corpus_url=corpus_url, num_frames=num_frames)
    stored = read_stored(column, sample)
    if num_frames < bucket.num_frames:
        count = spec.frame_rule.num_latent_frames(num_frames)
        stored = first_latent_frames(stored, record.fields, count)
    return original, decode_fields(encoder, stored)


def num_compared(bucket: Bucket, spec: EncoderSpec) -> int:
    """Return how many frames of a clip are decoded to be looked at: all, if they are not many."""
    if bucket.rgb_bytes <= MAX_COMPARED_BYTES or not spec.is_causal:
        return bucket.num_frames
    fitting = MAX_COMPARED_BYTES // (bucket.rgb_bytes // bucket.num_frames)
    return spec.frame_rule.floor(fitting) or spec.frame_rule.first


def measure_fidelity(
    column: ColumnView,
    encoder: DecodingEncoder,
    num_samples: int,
    *,
    seed: int = 0,
    corpus_url: str | None = None,
    on_sample: Callable[[str, float], None] = lambda _key, _psnr_db: None,
) -> FidelityReport:
    """Return the PSNR of ``num_samples`` samples, drawn by keyed hash.

    A source that is gone or has changed is skipped and said so: that is no damage of the
    store.
    """
    report = FidelityReport()
    for sample in choose_samples(column, num_samples, seed=seed):
        try:
            original, decoded = reconstruct(column, sample, encoder, corpus_url=corpus_url)
        except MediaError as error:
            report.skipped[sample.key] = f"{sample.source.label}: {error}"
            continue
        report.add(sample.key, original, decoded)
        report.sources[sample.key] = sample.source.label
        on_sample(sample.key, report.psnr_db[sample.key])
    return report
