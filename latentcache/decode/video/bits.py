"""Reading the headers of coded pictures bit by bit."""


class BitReader:
    """Reads fixed and Exp-Golomb numbers from bytes; zeros follow the end."""

    def __init__(self, data: bytes) -> None:
        """Stand at the first bit.

        Args:
            data: Without emulation prevention.
        """
        self._value, self._num_bits, self._at = int.from_bytes(data, "big"), 8 * len(data), 0

    def read(self, count: int) -> int:
        """Return the next bits as a number."""
        self._at += count
        shift = self._num_bits - self._at
        value = self._value >> shift if shift >= 0 else self._value << -shift
        return value & ((1 << count) - 1)

    def flag(self) -> bool:
        """Return the next bit."""
        return bool(self.read(1))

    def unsigned(self) -> int:
        """Return ue(v); source: ITU-R H.264, 9.1."""
        zeros = 0
        while zeros < 32 and self._at < self._num_bits and not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """Return se(v); source: ITU-R H.264, 9.1.1."""
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)

    @property
    def is_past_end(self) -> bool:
        """Whether more was read than there is."""
        return self._at > self._num_bits


def without_emulation(data: bytes) -> bytes:
    """Return a unit's payload without the bytes that keep start codes out of it."""
    return data.replace(b"\0\0\3", b"\0\0")
