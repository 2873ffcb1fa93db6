"""Which field of an interlaced frame is shown first.

PyAV tells that a frame is interlaced and not which field leads; FFmpeg's own filters know. The
filter that takes fields apart gives the leading one first, and its rows are those of one parity.
"""

from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray


class FirstFields:
    """Tells the first row of the field that is shown first; frames of one video may differ."""

    def __init__(self) -> None:
        """Prepare; nothing is set up before the first frame."""
        self._graph: Graph | None = None
        self._kind: tuple[int, int, str] | None = None

    def first_row(self, frame: VideoFrame) -> int:
        """Return 0 where the top field leads, 1 where the bottom one does."""
        field = self._leading_field(frame)
        for whole, half in zip(frame.planes, field.planes, strict=True):
            lines, wanted = _lines(whole), _lines(half)
            width = min(lines.shape[1], wanted.shape[1], whole.width)
            for row in (0, 1):
                other = lines[1 - row :: 2, :width][: len(wanted)]
                if not np.array_equal(other, wanted[: len(other), :width]):
                    return row
        return 0  # both fields are equal

    def _leading_field(self, frame: VideoFrame) -> VideoFrame:
        kind = (frame.width, frame.height, frame.format.name)
        if self._graph is None or kind != self._kind:
            self._graph, self._kind = _separating(frame), kind
            self._graph.vpush(frame)
        else:
            self._graph.vpush(frame)
            self._graph.vpull()  # the second field of the frame before
        return self._graph.vpull()


def _separating(frame: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 1000),
    )
    fields, sink = graph.add("separatefields"), graph.add("buffersink")
    source.link_to(fields)
    fields.link_to(sink)
    graph.configure()
    return graph


def _lines(plane: VideoPlane) -> NDArray[np.uint8]:
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))
