"""What is asked of a comparison."""

from dataclasses import asdict, dataclass, field
from typing import Any

from latentcache.compare.figures import SECTIONS, SectionName
from latentcache.compare.looks.row_values import spread
from latentcache.compare.metrics.probe import ProbeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How a comparison is made.

    Attributes:
        num_samples: That all spaces hold, drawn by keyed hash.
        num_decoded: Of these, how many are decoded once: errors of pixels. On two cores a decoder
            of a real autoencoder takes a second of a photo.
        num_deep: Of these again, how many are encoded and decoded again and again: storage limit,
            encode speed, equivariance, smoothness.
        seed: Of the draws.
        corpus_url: Where the corpus lies now; None as recorded.
        sections: That are made.
        num_shown: Samples a page shows of each kind.
        labels: Annotation that names classes.
        probe: How the probe is made; None makes none.
    """

    num_samples: int = 500
    num_decoded: int = 250
    num_deep: int = 16
    seed: int = 0
    corpus_url: str | None = None
    sections: tuple[SectionName, ...] = field(default=SECTIONS)
    num_shown: int = 6
    labels: str = "label"
    probe: ProbeOptions | None = field(default_factory=ProbeOptions)

    def places_decoded(self, num_rows: int) -> tuple[int, ...]:
        """Return which of so many samples are decoded, spread evenly."""
        return spread(range(num_rows), self.num_decoded)

    def places_deep(self, num_rows: int) -> tuple[int, ...]:
        """Return which of the decoded ones are encoded and decoded again."""
        return spread(self.places_decoded(num_rows), self.num_deep)

    def asked(self) -> dict[str, Any]:
        """Return what decides a space's figures, as plain values."""
        return {
            "num_decoded": self.num_decoded,
            "num_deep": self.num_deep,
            "seed": self.seed,
            "sections": list(self.sections),
            "num_shown": self.num_shown,
            "labels": self.labels,
            "probe": None if self.probe is None else asdict(self.probe),
        }
