"""Fidelity of a space: errors of pixels, and its samples as pictures.

Dimension letters: T frames, C colours, H height, W width.
"""

from collections.abc import Sequence
from heapq import nsmallest
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from latentcache.compare.looks.deep_values import DeepSample, deep_values
from latentcache.compare.looks.row_values import RowValues, spread
from latentcache.compare.looks.sample_reading import SampleReader
from latentcache.compare.looks.seen import Seen
from latentcache.compare.measured import Measured
from latentcache.compare.metrics.pixel_errors import flicker, psnr, similarities
from latentcache.core.errors import EncoderError

Pictures = npt.NDArray[np.uint8]

_LONGEST_PX = 256
_ERROR_GAIN = 4
"""Of error maps: a quarter of the range is white."""


class PixelLook:
    """Looks at originals and what they decode to."""

    def __init__(self, num_rows: int, places: Sequence[int], *, num_shown: int) -> None:
        self._rows, self._num_asked = RowValues(num_rows), len(places)
        self._shown = set(spread(places, num_shown))
        self._num_worst = num_shown
        self._kept: dict[int, dict[str, Pictures]] = {}
        self._scores: dict[int, float] = {}
        self._titles: dict[int, str] = {}
        self._digests: dict[str, str] = {}
        self._why: dict[int, str] = {}

    def see(self, seen: Seen) -> None:
        """Score a sample, and keep its pictures if it is to be shown or among the worst."""
        if seen.pair is None:
            return
        original, decoded = seen.pair.original_TCHW, seen.pair.decoded_TCHW
        self._digests[seen.sample.key] = seen.pair.digest
        if decoded is None:
            if seen.pair.why_not:
                self._why[seen.place] = seen.pair.why_not
            return
        score, place = psnr(original, decoded), seen.place
        self._rows.put(place, "psnr_db", score)
        structure, of_scales = similarities(original, decoded)
        self._rows.put(place, "ssim", structure)
        self._rows.put(place, "ms_ssim", of_scales)
        self._rows.put(place, "decode_ms", 1e3 * seen.pair.decode_s)
        if len(original) > 1:
            self._rows.put(place, "psnr_first_db", psnr(original[:1], decoded[:1]))
            self._rows.put(place, "psnr_rest_db", psnr(original[1:], decoded[1:]))
            self._rows.put(place, "flicker", flicker(original, decoded))
        self._keep(seen, original, decoded, score)

    def finish(self, measured: Measured) -> None:
        """Put scores, pictures and sentences into ``measured``."""
        measured.values.update(self._rows.values)
        measured.facts["pixels"] = self._digests
        if self._why:
            why, count = next(iter(self._why.values())), len(self._why)
            measured.note("fidelity", f"{why} ({count:,} of {self._num_asked:,} samples)")
        for kind, places in (("shown", sorted(self._shown)), ("worst", self._worst())):
            listed: list[dict[str, Any]] = []
            for place in places:
                if place not in self._kept:
                    continue
                number = len(listed)
                listed.append({"title": self._titles[place], "psnr_db": self._scores[place]})
                for name, picture in self._kept[place].items():
                    measured.pictures[f"{kind}.{number}.{name}"] = picture
            measured.facts[kind] = listed

    def keep(self, unfinished: Measured) -> None:
        """Put what a later run needs to go on into ``unfinished``."""
        self._rows.keep(unfinished.values, "pixel.")
        unfinished.facts["pixel"] = {
            "scores": {str(place): each for place, each in self._scores.items()},
            "titles": {str(place): self._titles[place] for place in self._kept},
            "why": {str(place): each for place, each in self._why.items()},
        }
        for place, shown in self._kept.items():
            unfinished.pictures.update({f"{place}.{name}": each for name, each in shown.items()})

    def resume(self, unfinished: Measured) -> None:
        """Go on from what ``keep`` left."""
        facts = unfinished.facts["pixel"]
        self._rows.resume(unfinished.values, "pixel.")
        self._scores = {int(place): each for place, each in facts["scores"].items()}
        self._titles = {int(place): each for place, each in facts["titles"].items()}
        self._why = {int(place): each for place, each in facts["why"].items()}
        for key, shown in unfinished.pictures.items():
            place, _, name = key.partition(".")
            self._kept.setdefault(int(place), {})[name] = shown

    def _keep(self, seen: Seen, original: Tensor, decoded: Tensor, score: float) -> None:
        self._scores[seen.place] = score
        if seen.place not in self._shown and seen.place not in self._worst():
            return
        middle = len(original) // 2
        error = (decoded[middle] - original[middle]).abs() * _ERROR_GAIN
        self._titles[seen.place] = seen.sample.source.label
        self._kept[seen.place] = {
            "original": picture(original[middle]),
            "decoded": picture(decoded[middle]),
            "error": picture(error),
        }
        for place in set(self._kept) - self._shown - set(self._worst()):
            del self._kept[place]

    def _worst(self) -> list[int]:
        return nsmallest(
            self._num_worst, self._scores, key=lambda place: (self._scores[place], place)
        )


class DeepLook:
    """Encodes and decodes some samples again; see ``deep_values``."""

    def __init__(self, reader: SampleReader, num_rows: int, places: Sequence[int]) -> None:
        self._reader, self._rows = reader, RowValues(num_rows)
        self._places, self._why = set(places), ""

    def see(self, seen: Seen) -> None:
        """Measure a sample if it is one of them; after a failure no more."""
        if seen.place not in self._places or self._why or seen.pair is None:
            return
        if seen.pair.unrounded_TCHW is None:
            return
        deep = DeepSample(
            sample=seen.sample,
            fields=seen.fields,
            original_TCHW=seen.pair.original_TCHW,
            unrounded_TCHW=seen.pair.unrounded_TCHW,
        )
        try:
            deep_values(self._reader, deep, self._rows, seen.place)
        except EncoderError as error:
            self._why = str(error)

    def finish(self, measured: Measured) -> None:
        """Put what was found into ``measured``."""
        measured.values.update(self._rows.values)
        if self._why:
            measured.note("modelability", f"encoding again failed: {self._why}")

    def keep(self, unfinished: Measured) -> None:
        """Put what a later run needs to go on into ``unfinished``."""
        self._rows.keep(unfinished.values, "deep.")
        unfinished.facts["deep"] = self._why

    def resume(self, unfinished: Measured) -> None:
        """Go on from what ``keep`` left."""
        self._rows.resume(unfinished.values, "deep.")
        self._why = str(unfinished.facts["deep"])


def picture(pixels_CHW: Tensor) -> Pictures:
    """Return pixels as uint8 HWC, no larger than a page shows them."""
    longest = max(pixels_CHW.shape[-2:])
    if longest > _LONGEST_PX:
        scale = _LONGEST_PX / longest
        size = [max(1, round(each * scale)) for each in pixels_CHW.shape[-2:]]
        pixels_CHW = F.interpolate(pixels_CHW[None], size, mode="bilinear", antialias=True)[0]
    shown = pixels_CHW.clamp(0, 255).round().byte().movedim(0, -1)
    found: Pictures = np.ascontiguousarray(shown.numpy())
    return found
