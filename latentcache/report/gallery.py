"""Some samples of a column as they were encoded and as they decode, with what is known of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latentcache.core.counts import count_text
from latentcache.core.errors import MediaError
from latentcache.encoders import DecodingEncoder
from latentcache.evaluate import PlannedSample, choose_samples, psnr_db, reconstruct
from latentcache.report.reconstructions import latent_of, title_of
from latentcache.report.store_facts import Rgb
from latentcache.store import Snapshot

_CLIP_PX = 320
"""Longer side of a clip in a page; the whole is in the store."""
_MOST_FRAMES = 121
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """One sample.

    Attributes:
        title: Caption, or the source where there is none.
        source: Path in the corpus.
        size: Of its bucket, in words.
        original: uint8 (H, W, 3), of clips (T, H, W, 3).
        decoded: The same from the stored latent.
        latent: Three channels as a small picture; None of clips and codes.
        frame_rate_fps: Of a clip; None of a picture.
    """

    key: str
    title: str
    source: str
    size: str
    original: Rgb
    decoded: Rgb
    psnr_db: float
    latent: Rgb | None
    frame_rate_fps: float | None

    @property
    def is_clip(self) -> bool:
        """Whether it moves."""
        return self.original.ndim == 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """What was drawn.

    Attributes:
        items: In plan order.
        skipped: A sentence for each sample whose source cannot be had.
    """

    items: tuple[GalleryItem, ...]
    skipped: tuple[str, ...] = ()

    @property
    def told(self) -> list[str]:
        """What a person is told of ``skipped``: the first, and how many more."""
        more = len(self.skipped) - _MOST_TOLD
        others = [f"{count_text(more, 'more source')} could not be had"] if more > 0 else []
        return [*self.skipped[:_MOST_TOLD], *others]


def read_gallery(
    snapshot: Snapshot,
    column: str,
    encoder: DecodingEncoder,
    samples: Sequence[PlannedSample],
    *,
    corpus_url: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Gallery:
    """Return ``samples`` decoded beside their sources.

    Args:
        snapshot: Of the store.
        column: Served by it.
        encoder: The one that made the column.
        samples: From ``choose_gallery``, or found by name.
        corpus_url: Where the corpus lies now, if it has moved.
        on_progress: Told how many samples are drawn, and of how many.
    """
    view = snapshot.column(column)
    items, skipped = [], []
    for number, sample in enumerate(samples):
        on_progress(number, len(samples))
        try:
            original, decoded = reconstruct(view, sample, encoder, corpus_url=corpus_url)
        except MediaError as error:
            skipped.append(f"{sample.source.label}: {error}")
            continue
        items.append(
            GalleryItem(
                key=sample.key,
                title=title_of(snapshot, sample),
                source=sample.source.label,
                size=sample.bucket.label,
                original=original,
                decoded=decoded,
                psnr_db=psnr_db(original, decoded),
                latent=latent_of(view, sample),
                frame_rate_fps=sample.frame_rate_fps,
            )
        )
    return Gallery(items=tuple(items), skipped=tuple(skipped))


def choose_gallery(
    snapshot: Snapshot, column: str, *, num_samples: int, seed: int = 0
) -> list[PlannedSample]:
    """Return samples drawn by keyed hash, in plan order."""
    return choose_samples(snapshot.column(column), num_samples, seed=seed)


def small_clip(clip_THWC: Rgb) -> list[Rgb]:
    """Return a clip's frames as a page plays them: at most 320 px, and not without end."""
    step = max(1, -(-max(clip_THWC.shape[1:3]) // _CLIP_PX))
    frames = clip_THWC[:_MOST_FRAMES]
    height, width = (side // step * step for side in frames.shape[1:3])
    cut = frames[:, :height, :width].astype(np.uint16)
    pooled = cut.reshape(len(cut), height // step, step, width // step, step, 3).mean((2, 4))
    return list(np.rint(pooled).astype(np.uint8))
