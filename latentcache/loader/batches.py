"""How many samples a global batch of each bucket holds: a number, a table, or tokens per rank.

A *global batch* is the samples of one optimizer step: ranks x micro-batches x samples each.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Who shares a global batch: data-parallel ranks only.

    Attributes:
        rank: Of this process; context- and tensor-parallel neighbours share it.
        world_size: Data-parallel ranks.
        micro_batches: Batches that a rank takes per optimizer step.
    """

    rank: int = 0
    world_size: int = 1
    micro_batches: int = 1

    def __post_init__(self) -> None:
        if self.world_size < 1 or not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f"rank must be 0 to {max(self.world_size, 1) - 1}, got {self.rank} of "
                f"{self.world_size} ranks; pass the data-parallel rank and size"
            )
        if self.micro_batches < 1:
            raise ConfigError(f"micro_batches must be at least 1, got {self.micro_batches}")

    @property
    def num_parts(self) -> int:
        """Micro-batches of all ranks."""
        return self.world_size * self.micro_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizes:
    """What the user asked for: exactly one of the two.

    Attributes:
        global_batch_size: Samples, for all buckets or by bucket (``"1x512x512"``).
        tokens_per_rank: Tokens in a micro-batch of a rank; samples follow from the bucket.
        patch: Latent cells (T, H, W) that the model makes one token of.
    """

    global_batch_size: int | Mapping[str, int] | None = None
    tokens_per_rank: int | None = None
    patch: tuple[int, int, int] = (1, 2, 2)

    def __post_init__(self) -> None:
        if (self.global_batch_size is None) == (self.tokens_per_rank is None):
            raise ConfigError(
                f"batch must be given as global_batch_size or as tokens_per_rank, got "
                f"{self.global_batch_size} and {self.tokens_per_rank}; give one of them"
            )

    def resolve(self, latents: Mapping[Bucket, tuple[int, ...]], ranks: Ranks) -> dict[Bucket, int]:
        """Return the global batch of each bucket.

        Args:
            latents: Bucket to the shape of its latent: C, T (of clips), H, W.
            ranks: Who shares it.

        Raises:
            ConfigError: A bucket has no size, or one that ranks cannot share.
        """
        sizes = {bucket: self._size(bucket, shape, ranks) for bucket, shape in latents.items()}
        for bucket, size in sizes.items():
            check_size(size, ranks, where=f"bucket {bucket}")
        return sizes

    def _size(self, bucket: Bucket, shape: tuple[int, ...], ranks: Ranks) -> int:
        if self.tokens_per_rank is not None:
            tokens = num_tokens(shape, self.patch)
            each = self.tokens_per_rank // tokens
            if not each:
                raise ConfigError(
                    f"tokens_per_rank must hold one sample, got {self.tokens_per_rank} where "
                    f"one of {bucket} has {tokens}; use {tokens} or leave the bucket out"
                )
            return each * ranks.num_parts
        if isinstance(self.global_batch_size, Mapping):
            table = {Bucket.parse(name): size for name, size in self.global_batch_size.items()}
            if bucket not in table:
                raise ConfigError(
                    f"global_batch_size must name every bucket, got none for {bucket} (has "
                    f"{', '.join(map(str, sorted(table)))}); add it or leave the bucket out"
                )
            return table[bucket]
        assert self.global_batch_size is not None, "one of the two is given"
        return self.global_batch_size


def num_tokens(shape: tuple[int, ...], patch: tuple[int, int, int]) -> int:
    """Return the tokens of one latent (C, T, H, W) or (C, H, W); edges are padded."""
    grid = (1, *shape[1:]) if len(shape) == 3 else shape[1:]
    return math.prod(-(-cells // edge) for cells, edge in zip(grid, patch, strict=False))


def check_size(size: int, ranks: Ranks, *, where: str) -> None:
    """Refuse a global batch that ranks cannot share equally.

    Raises:
        ConfigError: It does not divide; names the next that does.
    """
    parts = ranks.num_parts
    if size < 1 or size % parts:
        fitting = max(1, -(-size // parts)) * parts
        micro = f" x {ranks.micro_batches} micro-batches" if ranks.micro_batches > 1 else ""
        raise ConfigError(
            f"global batch {size} does not divide by {ranks.world_size} ranks{micro} ({where}); "
            f"use {fitting}"
        )
