"""Fidelity by networks whose weights a user gives: LPIPS of each sample, rFID of all."""

import numpy as np
import torch

from latentcache.compare.looks.row_values import RowValues
from latentcache.compare.looks.seen import Seen
from latentcache.compare.measured import Measured
from latentcache.compare.metrics.inception import FeatureMoments, Inception, frechet_distance
from latentcache.compare.metrics.lpips import LPIPS_MIN_PX, Lpips

MIN_RFID_SAMPLES = 10_000
"""Below it a Fréchet distance mostly measures the number of samples."""


class LpipsLook:
    """Looks at originals and decodes by LPIPS."""

    def __init__(self, lpips: Lpips, num_rows: int) -> None:
        self._lpips, self._rows, self._is_small = lpips, RowValues(num_rows), False

    def see(self, seen: Seen) -> None:
        """Score a sample that was decoded."""
        if seen.pair is None or (decoded := seen.pair.decoded_TCHW) is None:
            return
        found = self._lpips.distance(seen.pair.original_TCHW, decoded)
        self._is_small = self._is_small or np.isnan(found)
        self._rows.put(seen.place, "lpips", found)

    def finish(self, measured: Measured) -> None:
        """Put scores into ``measured``."""
        measured.values.update(self._rows.values)
        measured.facts["lpips"] = self._lpips.network
        if self._is_small:
            measured.note("fidelity", f"LPIPS is of samples of {LPIPS_MIN_PX} px or more alone")

    def keep(self, unfinished: Measured) -> None:
        """Put what a later run needs to go on into ``unfinished``."""
        self._rows.keep(unfinished.values, "lpips.")

    def resume(self, unfinished: Measured) -> None:
        """Go on from what ``keep`` left."""
        self._rows.resume(unfinished.values, "lpips.")


class RfidLook:
    """Takes features of originals and decodes; of clips, of their first frame."""

    def __init__(self, inception: Inception, num_asked: int) -> None:
        self._inception, self._num_asked = inception, num_asked
        self._real, self._decoded = FeatureMoments(), FeatureMoments()

    def see(self, seen: Seen) -> None:
        """Take a sample that was decoded, if there will be enough."""
        if self._num_asked < MIN_RFID_SAMPLES or seen.pair is None:
            return
        if (decoded := seen.pair.decoded_TCHW) is not None:
            self._real.add(self._inception.features(seen.pair.original_TCHW[:1]))
            self._decoded.add(self._inception.features(decoded[:1]))

    def finish(self, measured: Measured) -> None:
        """Put the distance into ``measured``, or say why there is none."""
        count = min(self._num_asked, self._decoded.count or self._num_asked)
        if count < MIN_RFID_SAMPLES:
            measured.note(
                "fidelity",
                f"rFID must be of {MIN_RFID_SAMPLES:,} decoded samples or more, got {count:,}; of "
                "fewer it measures their number. Pass --samples and --decoded of so many",
            )
            return
        if self._decoded.count:
            measured.values["rfid"] = np.array([frechet_distance(self._real, self._decoded)])

    def keep(self, unfinished: Measured) -> None:
        """Put what a later run needs to go on into ``unfinished``."""
        for name, each in (("real", self._real), ("decoded", self._decoded)):
            if each.count:
                unfinished.values[f"rfid.{name}.total"] = each.total.numpy()
                unfinished.values[f"rfid.{name}.products"] = each.products.numpy()
        unfinished.facts["rfid"] = self._decoded.count

    def resume(self, unfinished: Measured) -> None:
        """Go on from what ``keep`` left."""
        for name, each in (("real", self._real), ("decoded", self._decoded)):
            if each_count := int(unfinished.facts["rfid"]):
                each.count = each_count
                each.total = torch.from_numpy(unfinished.values[f"rfid.{name}.total"].copy())
                products = unfinished.values[f"rfid.{name}.products"]
                each.products = torch.from_numpy(products.copy())
