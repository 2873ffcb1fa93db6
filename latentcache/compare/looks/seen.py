"""A sample as it comes by, and those who look at it: each keeps what its part needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from latentcache.compare.looks.sample_reading import PixelPair
from latentcache.compare.measured import Measured
from latentcache.evaluate import PlannedSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One sample of a space.

    Attributes:
        place: Its row.
        sample: Where it is.
        fields: As stored.
        latent_CTHW: As a model trains on it, float32; None of codes.
        pair: Its pixels and their decode; None where the source cannot be had.
    """

    place: int
    sample: PlannedSample
    fields: Mapping[str, Tensor]
    latent_CTHW: Tensor | None
    pair: PixelPair | None


class Looker(Protocol):
    """Sees every sample once, in order, and then says what it found."""

    def see(self, seen: Seen) -> None:
        """Keep what is needed of a sample."""
        ...

    def finish(self, measured: Measured) -> None:
        """Put what was found into ``measured``."""
        ...


class DearLooker(Looker, Protocol):
    """One whose part takes decodes: it goes on from where it was stopped."""

    def keep(self, unfinished: Measured) -> None:
        """Put what a later run needs to go on into ``unfinished``."""
        ...

    def resume(self, unfinished: Measured) -> None:
        """Go on from what ``keep`` left."""
        ...
