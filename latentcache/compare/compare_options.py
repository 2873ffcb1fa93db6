"""What is asked of a comparison."""

from dataclasses import asdict, dataclass, field
from typing import Any

from latentcache.compare.figures import SECTIONS, SectionName
from latentcache.compare.metrics.probe import ProbeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How a comparison is made.

    Attributes:
        num_samples: That all spaces hold, drawn by keyed hash.
        num_deep: Of these, how many are encoded and decoded again and again: storage limit,
            encode speed, equivariance, smoothness.
        seed: Of the draws.
        corpus_url: Where the corpus lies now; None as recorded.
        sections: That are made.
        num_shown: Samples a page shows of each kind.
        labels: Annotation that names classes.
        probe: How the probe is made; None makes none.
    """

    num_samples: int = 500
    num_deep: int = 32
    seed: int = 0
    corpus_url: str | None = None
    sections: tuple[SectionName, ...] = field(default=SECTIONS)
    num_shown: int = 6
    labels: str = "label"
    probe: ProbeOptions | None = field(default_factory=ProbeOptions)

    def asked(self) -> dict[str, Any]:
        """Return what decides a space's figures, as plain values."""
        return {
            "num_deep": self.num_deep,
            "seed": self.seed,
            "sections": list(self.sections),
            "num_shown": self.num_shown,
            "labels": self.labels,
            "probe": None if self.probe is None else asdict(self.probe),
        }
