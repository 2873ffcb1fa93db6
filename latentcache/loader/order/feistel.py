"""A keyed permutation of 0 .. num - 1 that needs no table: Feistel rounds and cycle walking.

Any element, and its inverse, is a few integer operations, so an order over a billion rows
costs no memory and resuming costs nothing. Rounds work on halves of the index's bits;
values that fall outside the range walk on until they fall inside, twice at most on
average. Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002,
methods "Generalized-Feistel" and "Cycle-Walking".
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from latentcache.core.seeds import keyed_uint64

NUM_ROUNDS = 8
"""Four rounds suffice for large halves (Luby and Rackoff); small ranges want more."""

_MAX_TABLE_BITS = 14
"""Halves of so many bits have their rounds tabulated: 1 MiB, for 2**28 rows."""

_MOST_DRAWN = 256
"""Permutations of so few are drawn whole since order version 2: Feistel rounds on one or two bits
reach some of them only (of 5 rows, some come three times as often as others)."""

_INCREMENT = 0x9E3779B97F4A7C15

Indices = np.ndarray[Any, np.dtype[np.int64]]
Words = np.ndarray[Any, np.dtype[np.uint64]]


class Bijection(Protocol):
    """A permutation of ``range(num)``."""

    def __call__(self, indices: Indices) -> Indices:
        """Return where each index goes."""
        ...

    def inverse(self, indices: Indices) -> Indices:
        """Return where each index came from."""
        ...


class DrawnPermutation:
    """A bijection of a short ``range(num)``: a table, any permutation equally likely."""

    def __init__(self, num: int, seed: int, *names: str | int) -> None:
        """Sort as many keyed words; that two of 64 bits are equal has never been seen."""
        words = keyed_words(num, keyed_uint64(seed, *names, "drawn"))
        self._image: Indices = np.argsort(words, kind="stable").astype(np.int64)
        self._inverse = np.argsort(self._image, kind="stable")

    def __call__(self, indices: Indices) -> Indices:
        """Return where each index goes; all must be in ``range(num)``."""
        found: Indices = self._image[indices]
        return found

    def inverse(self, indices: Indices) -> Indices:
        """Return where each index came from."""
        found: Indices = self._inverse[indices]
        return found


class Permutation:
    """A bijection of ``range(num)`` that is a pure function of (seed, names)."""

    def __init__(self, num: int, seed: int, *names: str | int) -> None:
        """Derive the round keys.

        Raises:
            ValueError: ``num`` is not positive.
        """
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}")
        self.num = num
        self._keys = [keyed_uint64(seed, *names, number) for number in range(NUM_ROUNDS)]
        bits = max(2, (num - 1).bit_length())
        self._low_bits = bits // 2
        self._high_bits = bits - self._low_bits
        self._low_mask = (1 << self._low_bits) - 1
        self._high_mask = (1 << self._high_bits) - 1

    def __call__(self, indices: Indices) -> Indices:
        """Return where each index goes; all must be in ``range(num)``."""
        return self._walk(indices, range(NUM_ROUNDS))

    def inverse(self, indices: Indices) -> Indices:
        """Return where each index came from."""
        return self._walk(indices, range(NUM_ROUNDS - 1, -1, -1))

    def _walk(self, indices: Indices, rounds: range) -> Indices:
        words = self._encipher(np.atleast_1d(indices).astype(np.int64), rounds)
        outside = np.flatnonzero(words >= self.num)
        while len(outside):
            words[outside] = self._encipher(words[outside], rounds)
            outside = outside[words[outside] >= self.num]
        return words

    def _encipher(self, words: Indices, rounds: range) -> Indices:
        low = words & self._low_mask
        high = words >> self._low_bits
        round_of = self._rounds()
        for number in rounds:
            # Halves of unequal width take turns, so any number of bits will do.
            if number % 2:
                high ^= round_of(number, low)
            else:
                low ^= round_of(number, high)
        high <<= self._low_bits
        high |= low
        return high

    def _rounds(self) -> Callable[[int, Indices], Indices]:
        if self._high_bits > _MAX_TABLE_BITS:
            return self._round
        # A round looks at half the bits only: what it gives for each of them is a short table.
        tables = _tables(self)
        # Halves are in range, and ``take`` looks for no other kinds of index.
        return lambda number, half: tables[number].take(half, mode="clip")

    def _round(self, number: int, half: Indices) -> Indices:
        mask = self._high_mask if number % 2 else self._low_mask
        mixed = mix(half.astype(np.uint64), self._keys[number])
        return (mixed & np.uint64(mask)).astype(np.int64)


@lru_cache(maxsize=16)
def _tables(permutation: Permutation) -> list[Indices]:
    """Return what each round gives for every value of its half; kept for a few orders."""
    bits = (permutation._high_bits, permutation._low_bits)
    return [
        permutation._round(number, np.arange(1 << bits[number % 2], dtype=np.int64))
        for number in range(NUM_ROUNDS)
    ]


def mix(words: Words, key: int) -> Words:
    """Return 64 well mixed bits per word.

    Source: the finaliser of splitmix64, Steele, Lea and Flood, "Fast Splittable
    Pseudorandom Number Generators", 2014.
    """
    mixed = words + np.uint64(key)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def keyed_words(num: int, key: int) -> Words:
    """Return so many 64-bit words of the generator that ``mix`` is of, uint64 [num]."""
    return mix(np.arange(num, dtype=np.uint64) * np.uint64(_INCREMENT), key)


def nth_words(number: int, keys: Words) -> Words:
    """Return the word of a number of each key's generator, the one that ``mix`` is of."""
    return mix(keys, number * _INCREMENT % (1 << 64))


def mixed_where(words: Words, others: Indices) -> Words:
    """Return words with others mixed in where those are not 0."""
    if not others.any():
        return words
    found: Words = np.where(others != 0, mix(words ^ others.astype(np.uint64), _INCREMENT), words)
    return found


@lru_cache(maxsize=4096)
def keyed_permutation(num: int, seed: int, *names: str | int, version: int = 1) -> Bijection:
    """Return the permutation, its keys derived once (25 us).

    Args:
        num: Of how many.
        seed: Of the run.
        names: Which of its permutations.
        version: Of the order: from 2 on, short ones are drawn whole.
    """
    if version > 1 and num <= _MOST_DRAWN:
        return DrawnPermutation(num, seed, *names)
    return Permutation(num, seed, *names)
