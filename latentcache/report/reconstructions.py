"""Some samples of a column, decoded from the store and laid beside their originals."""

from collections.abc import Sequence

import numpy as np

from latentcache.core.fields import STATISTICS_FIELDS
from latentcache.core.media import SourceRef
from latentcache.encoders import DecodingEncoder
from latentcache.evaluate import PlannedSample, choose_samples, psnr_db, reconstruct
from latentcache.report.pictures import latent_picture
from latentcache.report.store_facts import Reconstruction, Rgb
from latentcache.store import ColumnView, Snapshot, TensorBytes


def read_reconstructions(
    snapshot: Snapshot, column: str, encoder: DecodingEncoder, *, num_samples: int, seed: int = 0
) -> list[Reconstruction]:
    """Return ``num_samples`` images drawn by keyed hash, in plan order, one bucket after another.

    Raises:
        MediaError: A source cannot be had any more, or has changed.
        ShardCorruptError: The store is damaged.
    """
    view = snapshot.column(column)
    samples = choose_samples(view, num_samples, seed=seed)
    return [_reconstruction(snapshot, view, sample, encoder) for sample in samples]


def _reconstruction(
    snapshot: Snapshot, view: ColumnView, sample: PlannedSample, encoder: DecodingEncoder
) -> Reconstruction:
    original, decoded = reconstruct(view, sample, encoder)
    return Reconstruction(
        title=title_of(snapshot, sample),
        bucket=str(sample.bucket),
        original=_still(original),
        decoded=_still(decoded),
        psnr_db=psnr_db(original, decoded),
        latent=latent_of(view, sample),
    )


def _still(pixels: Rgb) -> Rgb:
    """Return a picture as it is, and of a clip the frame in the middle."""
    return pixels if pixels.ndim == 3 else pixels[len(pixels) // 2]


def title_of(snapshot: Snapshot, sample: PlannedSample) -> str:
    """Return the sample's caption, or its source where it has none."""
    source: SourceRef = sample.source
    caption = snapshot.annotation("caption", sample.unit.unit.generation)
    text = caption.value(sample.unit.unit.unit.shard, sample.row) if caption else None
    first = text[0] if isinstance(text, Sequence) and not isinstance(text, str) and text else text
    return str(first).strip() if first else source.label


def latent_of(view: ColumnView, sample: PlannedSample) -> Rgb | None:
    """Return the stored latent's first three channels as colours; None of clips and codes."""
    fields = view.read_row(sample.unit.unit.unit.shard, sample.row).fields
    name = next((name for name in STATISTICS_FIELDS if name in fields), None)
    if name is None:
        return None
    stored = fields[name]
    if isinstance(stored, TensorBytes):
        stored = stored.to_numpy_float32()
    values = np.asarray(stored, dtype=np.float32)
    return latent_picture(values) if values.ndim == 3 else None
