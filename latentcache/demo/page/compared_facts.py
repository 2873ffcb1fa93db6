"""What the demo's page shows of its comparison is drawn from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    """One figure of every space.

    Attributes:
        cells: The figure with its 95 % interval, by space.
        meaning: In plain words.
    """

    title: str
    unit: str
    cells: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFacts:
    """A comparison, in short.

    Attributes:
        page: The file that has all of it, beside the demo's page.
        names: Of the spaces.
        encoders: That made them.
        num_samples: Compared.
        num_decoded: Of these, decoded.
    """

    page: str
    names: tuple[str, ...]
    encoders: tuple[str, ...]
    num_samples: int
    num_decoded: int
    figures: tuple[ComparedFigure, ...]
