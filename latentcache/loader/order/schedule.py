"""Which stream serves a step: a golden-ratio sequence through the streams' shares.

Step ``g`` looks at the point ``offset + g * golden`` on a circle of 2**64 places, cut into
arcs as long as the shares. Consecutive points of that sequence are spread as evenly as any
can be (three-distance theorem), so each stream comes at nearly equal intervals; a step is
one binary search, and how often a stream came before it is a floor sum in O(log).
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

from latentcache.core.errors import ConfigError
from latentcache.core.seeds import keyed_uint64

_CIRCLE = 1 << 64
_GOLDEN = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio, made odd."""


class Schedule:
    """A fixed sequence of stream numbers, addressable at any step."""

    def __init__(self, shares: Sequence[float | Fraction], *, seed: int) -> None:
        """Cut the circle.

        Args:
            shares: How often each stream is to serve, relative to each other.
            seed: Shifts the sequence.

        Raises:
            ConfigError: A share is negative or not finite, or all are zero.
        """
        try:
            exact = [Fraction(share) for share in shares]
        except (ValueError, OverflowError):
            exact = [Fraction(-1)]
        if min(exact, default=Fraction(-1)) < 0 or not sum(exact):
            raise ConfigError(
                f"weights must be finite, not negative and not all 0, got "
                f"{[float(share) for share in shares]}; give each source a positive weight"
            )
        total, running = sum(exact), Fraction(0)
        self._ends: list[int] = []
        for share in exact:
            running += share
            self._ends.append(int(running * _CIRCLE / total))
        self._offset = keyed_uint64(seed, "schedule")

    def stream_at(self, step: int) -> int:
        """Return the number of the stream that serves ``step``."""
        point = (self._offset + step * _GOLDEN) % _CIRCLE
        return bisect_right(self._ends, point)

    def num_served(self, stream: int, num_steps: int) -> int:
        """Return how many of the first ``num_steps`` steps ``stream`` serves."""
        start = self._ends[stream - 1] if stream else 0
        return self._num_below(self._ends[stream], num_steps) - self._num_below(start, num_steps)

    def _num_below(self, end: int, num_steps: int) -> int:
        """Count points before ``end``: where ``point`` wraps but ``point - end`` has not."""
        # floor((x + M - end) / M) exceeds floor(x / M) exactly where x mod M >= end.
        shifted = self._offset + _CIRCLE - end
        at_or_after = _floor_sum(num_steps, shifted) - _floor_sum(num_steps, self._offset)
        return num_steps - at_or_after


def _floor_sum(count: int, start: int) -> int:
    """Return the sum of ``floor((i * _GOLDEN + start) / _CIRCLE)`` for i below ``count``.

    Source: Euclid-like reduction, as in Graham, Knuth and Patashnik, "Concrete
    Mathematics", section 3.5.
    """
    total, slope, modulus = 0, _GOLDEN, _CIRCLE
    while count > 0:
        total += count * (count - 1) // 2 * (slope // modulus) + count * (start // modulus)
        slope, start = slope % modulus, start % modulus
        top = slope * count + start
        if top < modulus:
            break
        count, start = divmod(top, modulus)
        slope, modulus = modulus, slope
    return total
