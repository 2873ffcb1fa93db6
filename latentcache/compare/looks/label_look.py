"""Semantics of a space: labels, and which samples lie next to which.

Dimension letters: N samples, F features, C colours, H height, W width.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentcache.compare.looks.pixel_look import Pictures, picture
from latentcache.compare.looks.seen import Seen
from latentcache.compare.measured import Measured
from latentcache.compare.metrics.interval import Floats
from latentcache.compare.metrics.semantics import (
    knn_right,
    latent_features,
    linear_right,
    neighbours,
    pixel_features,
    scatter,
    usable_classes,
)
from latentcache.compare.spaces import Space
from latentcache.evaluate import PlannedSample
from latentcache.store import Annotation

_THUMB_PX, _NUM_NEAREST = 64, 5


class LabelLook:
    """Looks at pooled latents beside pooled pixels."""

    def __init__(self, space: Space, num_rows: int, *, labels: str, num_shown: int) -> None:
        self._space, self._num_rows, self._labels = space, num_rows, labels
        self._num_shown = num_shown
        self._latents: dict[int, Tensor] = {}
        self._pixels: dict[int, Tensor] = {}
        self._thumbs: dict[int, Pictures] = {}
        self._annotations: dict[int, Annotation | None] = {}
        self._classes: list[str | None] = [None] * num_rows

    def see(self, seen: Seen) -> None:
        """Keep a sample's features, label and thumbnail."""
        place = seen.place
        self._classes[place] = self._label(seen.sample)
        if seen.latent_CTHW is not None:
            self._latents[place] = latent_features(seen.latent_CTHW)
        if seen.pair is not None:
            original = seen.pair.original_TCHW
            self._pixels[place] = pixel_features(original)
            self._thumbs[place] = thumbnail(original[len(original) // 2])

    def finish(self, measured: Measured) -> None:
        """Put figures, neighbours and sentences into ``measured``."""
        if not self._latents:
            measured.note("semantics", "it stores codes, which are not compared by distance")
            return
        self._show_neighbours(measured)
        places, classes, num_classes = usable_classes(self._classes)
        if num_classes < 2:
            given = sum(each is not None for each in self._classes)
            measured.note(
                "semantics",
                f"labels must be of two classes or more with two samples each, got {num_classes} "
                f"over {given:,} labelled samples ({self._labels}); give some with latentcache "
                "annotate, or name another annotation with --labels",
            )
            return
        measured.facts["classes"] = {
            "annotation": self._labels,
            "classes": num_classes,
            "samples": len(places),
            "chance": max(classes.count(each) for each in set(classes)) / len(classes),
        }
        for suffix, features in (("", self._latents), ("_pixels", self._pixels)):
            self._measure(measured, suffix, features, places, classes)

    def _measure(
        self,
        measured: Measured,
        suffix: str,
        features: dict[int, Tensor],
        places: list[int],
        classes: list[int],
    ) -> None:
        alike = _most_common(features)
        kept = [at for at, place in enumerate(places) if place in alike]
        named = [classes[at] for at in kept]
        again, numbers, count = usable_classes([str(each) for each in named])
        if count < 2:
            return
        rows = [places[kept[at]] for at in again]
        values, of_class = torch.stack([alike[row] for row in rows]), torch.tensor(numbers)
        for name, found in (
            ("knn", knn_right(values, of_class)),
            ("linear", linear_right(values, of_class)),
            ("scatter", scatter(values, of_class)),
        ):
            whole: Floats = np.full((self._num_rows, *found.shape[1:]), np.nan)
            whole[rows] = found
            measured.values[name + suffix] = whole

    def _show_neighbours(self, measured: Measured) -> None:
        for name, features in (("neighbours", self._latents), ("neighbours_pixels", self._pixels)):
            alike = _most_common(features)
            rows = sorted(set(alike) & set(self._thumbs))
            if len(rows) < 3:
                continue
            _, nearest = neighbours(torch.stack([alike[row] for row in rows]), _NUM_NEAREST)
            asked = np.linspace(0, len(rows) - 1, min(self._num_shown, len(rows))).round()
            lines = [[int(at), *nearest[int(at)].tolist()] for at in asked]
            thumbs = [[self._thumbs[rows[at]] for at in line] for line in lines]
            measured.pictures[name] = np.array(thumbs)

    def _label(self, sample: PlannedSample) -> str | None:
        unit = sample.unit.unit
        if unit.generation not in self._annotations:
            opened = self._space.snapshot.annotation(self._labels, unit.generation)
            self._annotations[unit.generation] = opened
        annotation = self._annotations[unit.generation]
        value: Any = None if annotation is None else annotation.value(unit.unit.shard, sample.row)
        if isinstance(value, list):
            value = value[0] if value else None
        return None if value is None else str(value)


def thumbnail(pixels_CHW: Tensor) -> Pictures:
    """Return the middle square, small."""
    edge = min(pixels_CHW.shape[-2:])
    top, left = ((each - edge) // 2 for each in pixels_CHW.shape[-2:])
    square = pixels_CHW[:, top : top + edge, left : left + edge]
    size = [_THUMB_PX, _THUMB_PX]
    return picture(F.interpolate(square[None], size, mode="bilinear", antialias=True)[0])


def _most_common(features: dict[int, Tensor]) -> dict[int, Tensor]:
    """Return those features that have the most usual length: channels of one encoder are one."""
    lengths = [len(each) for each in features.values()]
    usual = max(set(lengths), key=lengths.count) if lengths else 0
    return {place: each for place, each in features.items() if len(each) == usual}
