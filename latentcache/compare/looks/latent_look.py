"""Modelability of a space from stored values alone: spectrum, moments, covariance, posterior."""

import numpy as np

from latentcache.compare.looks.row_values import RowValues
from latentcache.compare.looks.sample_reading import SampleReader, has_grid
from latentcache.compare.looks.seen import Seen
from latentcache.compare.measured import Measured
from latentcache.compare.metrics.latent_values import moment_sums, posterior_sums, product_sums
from latentcache.compare.metrics.spectrum import ring_energies

HISTOGRAM_EDGES = np.linspace(-5.0, 5.0, 81)
"""Of values as trained on; a standard normal's are inside but for one in two million."""


class LatentLook:
    """Looks at stored latents."""

    def __init__(self, reader: SampleReader, num_rows: int) -> None:
        self._reader, self._rows = reader, RowValues(num_rows)
        self._histogram = np.zeros(len(HISTOGRAM_EDGES) - 1)
        self._axes = {each.name: each.axes for each in reader.space.view.record.fields}

    def see(self, seen: Seen) -> None:
        """Measure a sample's latent."""
        latent, reader, place = seen.latent_CTHW, self._reader, seen.place
        if latent is None:
            return
        moments = moment_sums(latent)
        self._histogram += np.histogram(latent.numpy(), HISTOGRAM_EDGES)[0]
        self._rows.put(place, "moments", moments)
        self._rows.put(place, "covariance", product_sums(latent))
        if has_grid(reader.field.axes) and min(latent.shape[-2:]) > 1:
            self._rows.put(place, "spectrum", ring_energies(latent))
        if reader.normalizer is not None and reader.normalizer.source.startswith("published"):
            self._rows.put(place, "moments_published", moments)
        self._see_posterior(seen)

    def finish(self, measured: Measured) -> None:
        """Put what was found into ``measured``, and say what there cannot be."""
        measured.values.update(self._rows.values)
        if self._histogram.sum():
            measured.curves["histogram"] = self._histogram / self._histogram.sum()
        if self._reader.field.kind == "indices":
            measured.note("modelability", "it stores codes, which have no spectrum and no moments")
        elif "spectrum" not in self._rows.values:
            measured.note(
                "modelability", "its latents have no height and width to take a spectrum of"
            )
        if "covariance" not in self._rows.values and "moments" in self._rows.values:
            measured.note("modelability", "it has too many channels for their covariance here")
        if self._reader.space.normalizer is not None and self._reader.normalizer is None:
            measured.note(
                "modelability",
                "its normalization is of packed channels; figures are of values as stored",
            )

    def _see_posterior(self, seen: Seen) -> None:
        fields, axes = seen.fields, self._axes
        if "logvar" not in fields or "mean" not in fields or "C" not in axes["mean"]:
            return
        if len(axes["logvar"]) != len(axes["mean"]):
            return
        channel, bucket = axes["mean"].index("C"), self._reader.bucket(seen.sample)
        num_pixels = bucket.num_frames * bucket.height_px * bucket.width_px
        mean, logvar = (fields[name].float().movedim(channel, 0) for name in ("mean", "logvar"))
        self._rows.put(seen.place, "posterior", posterior_sums(mean, logvar, num_pixels))
