"""How many samples a global batch of each bucket holds: a number, a table, or tokens per rank.

A *global batch* is the samples of one optimizer step: ranks x micro-batches x samples each.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader.order.whole_numbers import whole


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
        whole(self.world_size, name="world_size", least=1)
        whole(self.micro_batches, name="micro_batches", least=1)
        if not 0 <= whole(self.rank, name="rank") < self.world_size:
            raise ConfigError(
                f"rank must be 0 to {self.world_size - 1}, got {self.rank} of "
                f"{self.world_size} ranks; pass the data-parallel rank and size"
            )

    @property
    def num_parts(self) -> int:
        """Micro-batches of all ranks."""
        return self.world_size * self.micro_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizes:
    """What the user asked for: exactly one of the two.

    Attributes:
        global_batch_size: Samples, for all buckets, or a table: by bucket (``"17x384x640"``), by
            width and height whatever the frames (``"640x384"``), and ``"default"`` for the rest.
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
        if self.tokens_per_rank is not None:
            whole(self.tokens_per_rank, name="tokens_per_rank", least=1)
        elif isinstance(self.global_batch_size, Mapping):
            _parse_table(self.global_batch_size)
        else:
            whole(self.global_batch_size, name="global_batch_size", least=1)
        if not (
            isinstance(self.patch, Sequence)
            and len(self.patch) == 3
            and all(isinstance(edge, int) and edge > 0 for edge in self.patch)
        ):
            raise ConfigError(
                f"patch must be three positive numbers of cells (T, H, W), got {self.patch!r}; "
                f"use (1, 2, 2)"
            )

    def resolve(
        self, latents: Mapping[Bucket, tuple[int, ...]], ranks: Ranks, *, axes: str
    ) -> dict[Bucket, int]:
        """Return the global batch of each bucket.

        Args:
            latents: Bucket to the shape of its latent.
            ranks: Who shares it.
            axes: Letters of the shapes' dimensions: ``CHW``, ``CTHW``, ``NC``, ``THW`` ...

        Raises:
            ConfigError: A bucket has no size, or one that ranks cannot share.
        """
        sizes = {
            bucket: self._size(bucket, shape, ranks, axes) for bucket, shape in latents.items()
        }
        for bucket, size in sizes.items():
            check_size(size, ranks, where=f"bucket {bucket}")
        return sizes

    def _size(self, bucket: Bucket, shape: tuple[int, ...], ranks: Ranks, axes: str) -> int:
        if self.tokens_per_rank is not None:
            tokens = num_tokens(shape, self.patch, axes=axes)
            each = self.tokens_per_rank // tokens
            if not each:
                raise ConfigError(
                    f"tokens_per_rank must hold one sample, got {self.tokens_per_rank} where "
                    f"one of {bucket} has {tokens}; use {tokens} or leave the bucket out"
                )
            return each * ranks.num_parts
        if isinstance(self.global_batch_size, Mapping):
            table = _parse_table(self.global_batch_size)
            found = table.size(bucket)
            if found is None:
                known = ", ".join(map(str, self.global_batch_size)) or "none"
                raise ConfigError(
                    f"global_batch_size must name every bucket, got none for {bucket} (has "
                    f'{known}); add it, or "default", or leave the bucket out'
                )
            return found
        assert self.global_batch_size is not None, "one of the two is given"
        return self.global_batch_size

    def unused(self, buckets: Collection[Bucket]) -> list[str]:
        """Return the entries of a table that are of none of some buckets."""
        if not isinstance(self.global_batch_size, Mapping):
            return []
        names = {str(one) for one in buckets} | {_size_name(one) for one in buckets}
        return [name for name in map(str, self.global_batch_size) if name not in {*names, _REST}]


_REST = "default"
_SIZE = re.compile(r"[1-9]\d*x[1-9]\d*")


@dataclass(slots=True)
class _Table:
    """Sizes by bucket, by width and height, and of all others."""

    by_bucket: dict[Bucket, int] = field(default_factory=dict)
    by_size: dict[str, int] = field(default_factory=dict)
    rest: int | None = None

    def size(self, bucket: Bucket) -> int | None:
        """Return the size of a bucket's batches: the nearest entry's."""
        size = self.by_size.get(_size_name(bucket), self.rest)
        return self.by_bucket.get(bucket, size)


def _parse_table(table: Mapping[str, int]) -> _Table:
    found = _Table()
    for name, given in table.items():
        size = whole(given, name=f"global_batch_size of {name}", least=1)
        if name == _REST:
            found.rest = size
        elif _SIZE.fullmatch(str(name)):
            found.by_size[str(name)] = size
        else:
            try:
                found.by_bucket[Bucket.parse(str(name))] = size
            except ValueError:
                raise ConfigError(
                    f"global_batch_size must name buckets as TxHxW or as width x height, or "
                    f"default, got {name!r}; write for example 1x384x640, 640x384 or default"
                ) from None
    return found


def _size_name(bucket: Bucket) -> str:
    return f"{bucket.width_px}x{bucket.height_px}"


_WITHIN_A_TOKEN = "CQF"
"""Axes that lie within a token: channels, codebooks of one place, features of one moment."""


def num_tokens(shape: tuple[int, ...], patch: tuple[int, int, int], *, axes: str) -> int:
    """Return the tokens of one latent; edges are padded.

    Args:
        shape: Of the latent.
        patch: Cells (T, H, W) of one token.
        axes: Letters of its dimensions; tokens without a grid (``N``) count one each.
    """
    edges = dict(zip("THW", patch, strict=True))
    return math.prod(
        -(-cells // edges.get(letter, 1))
        for letter, cells in zip(axes, shape, strict=True)
        if letter not in _WITHIN_A_TOKEN
    )


def check_size(size: int, ranks: Ranks, *, where: str) -> None:
    """Refuse a global batch that ranks cannot share equally.

    Raises:
        ConfigError: It does not divide; names the next that does.
    """
    parts = ranks.num_parts
    if size < 1 or size % parts:
        fitting = max(1, -(-size // parts)) * parts
        micro = f" x {ranks.micro_batches} micro-batches" if ranks.micro_batches > 1 else ""
        plural = "s" if ranks.world_size > 1 else ""
        raise ConfigError(
            f"global batch {size} does not divide by {ranks.world_size} rank{plural}{micro} "
            f"({where}); use {fitting}"
        )
