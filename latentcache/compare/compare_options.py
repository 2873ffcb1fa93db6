"""What is asked of a comparison."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from latentcache.compare.figures import SECTIONS, SectionName
from latentcache.compare.looks.row_values import spread
from latentcache.compare.metrics.inception import Inception
from latentcache.compare.metrics.lpips import Lpips
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
        lpips: Files of its backbone and of its heads, as published; None makes none.
        rfid: File of InceptionV3's weights, as pytorch-fid publishes them; None makes none.
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
    lpips: tuple[str, str] | None = None
    rfid: str | None = None

    def places_decoded(self, num_rows: int) -> tuple[int, ...]:
        """Return which of so many samples are decoded, spread evenly."""
        return spread(range(num_rows), self.num_decoded)

    def places_deep(self, num_rows: int) -> tuple[int, ...]:
        """Return which of the decoded ones are encoded and decoded again."""
        return spread(self.places_decoded(num_rows), self.num_deep)

    def asked(self, judges: "Judges") -> dict[str, Any]:
        """Return what decides a space's figures, as plain values."""
        return {
            "judges": [each.digest for each in judges if each is not None],
            "num_decoded": self.num_decoded,
            "num_deep": self.num_deep,
            "seed": self.seed,
            "sections": list(self.sections),
            "num_shown": self.num_shown,
            "labels": self.labels,
            "probe": None if self.probe is None else asdict(self.probe),
        }


class Judges(NamedTuple):
    """Networks that score decodes, of those whose weights are given."""

    lpips: Lpips | None = None
    inception: Inception | None = None


NO_JUDGES = Judges()


def load_judges(options: CompareOptions) -> Judges:
    """Return the networks whose weights are given.

    Raises:
        ConfigError: A file is not what it must be.
    """
    lpips = Lpips(*map(Path, options.lpips)) if options.lpips else None
    return Judges(lpips, Inception(Path(options.rfid)) if options.rfid else None)
