"""How far a run has come in each of its streams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentcache.loader.streams.stream import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCoverage:
    """How far a run has come in one stream.

    Attributes:
        stream: Source, generation and bucket.
        num_rows: Selected rows.
        num_missing: Selected rows that a column lacks; substitutes stand in for them.
        num_drawn: Samples drawn so far, by all ranks.
        epochs: ``num_drawn / num_rows``.
    """

    stream: str
    num_rows: int
    num_missing: int
    num_drawn: int
    epochs: float


def coverage_of(streams: Sequence[Stream], positions: Mapping[str, int]) -> list[StreamCoverage]:
    """Return how far each stream has come.

    Args:
        streams: Of the run.
        positions: Samples that each has given, by its name.
    """
    found = []
    for stream in streams:
        num_rows, num_drawn = stream.selection.num_rows, positions.get(stream.place.name, 0)
        found.append(
            StreamCoverage(
                stream=stream.place.name,
                num_rows=num_rows,
                num_missing=num_rows - stream.num_present + stream.num_left_out,
                num_drawn=num_drawn,
                epochs=num_drawn / num_rows,
            )
        )
    return found
