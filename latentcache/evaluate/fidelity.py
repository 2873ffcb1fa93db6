"""Fidelity: how close a stored latent, decoded, comes to the pixels it was made from."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import MediaError
from latentcache.encoders import DecodingEncoder
from latentcache.evaluate.planned import (
    PlannedSample,
    choose_samples,
    read_pixels,
    read_stored,
)
from latentcache.evaluate.recorded import decode_fields
from latentcache.store import ColumnView

MAX_PSNR_DB = 100.0
"""What equal pictures score, so that a mean stays finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityReport:
    """PSNR of some samples of a column.

    Attributes:
        psnr_db: By key, in plan order.
        skipped: By key, why a sample could not be compared.
    """

    psnr_db: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def mean_db(self) -> float | None:
        """Mean over samples, or None if none was compared."""
        values = list(self.psnr_db.values())
        return math.fsum(values) / len(values) if values else None

    @property
    def min_db(self) -> float | None:
        """The worst sample's, or None if none was compared."""
        return min(self.psnr_db.values(), default=None)


def psnr_db(original: npt.NDArray[np.uint8], decoded: npt.NDArray[np.uint8]) -> float:
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
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the pixels that were encoded and those that the stored latent decodes to.

    Args:
        column: The store's.
        sample: One image of it.
        encoder: The one that made the column.
        corpus_url: Where the corpus lies now, if it has moved.

    Raises:
        MediaError: The source cannot be had any more, or has changed.
        ShardCorruptError: The store is damaged.
    """
    original = read_pixels(sample, column.record, corpus_url=corpus_url)
    return original, decode_fields(encoder, read_stored(column, sample))


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
        report.psnr_db[sample.key] = psnr_db(original, decoded)
        on_sample(sample.key, report.psnr_db[sample.key])
    return report
