"""What is loaded: the three cases, and the latents that every competitor is given."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from latentcache.core.media import Bucket
from latentcache.core.units import UnitId, UnitRange
from latentcache.testing.synthetic import SPATIAL_FACTOR, SyntheticColumn, unit_values

Array = np.ndarray[Any, Any]

TEMPORAL_FACTOR = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One set of latents and the batch it is read in.

    Attributes:
        name: Of the case, one letter.
        num_samples: In all.
        shape: C, H, W or C, T, H, W.
        dtype: ``float16`` or ``bfloat16``.
        batch_size: Samples of a batch.
        rows_per_shard: Of our store; blocks in which the latents are drawn.
        many_rows_per_shard: Of our second store, of many small shards; 0 for none.
        window_shards: Whole shards among which rows are shuffled when the disk is read.
        buffer: Samples in a peer's shuffle buffer.
    """

    name: str
    num_samples: int
    shape: tuple[int, ...]
    dtype: str
    batch_size: int
    rows_per_shard: int
    many_rows_per_shard: int = 0
    window_shards: int = 2
    buffer: int = 1000

    @property
    def values(self) -> int:
        """Numbers in one latent."""
        return int(np.prod(self.shape))

    @property
    def row_bytes(self) -> int:
        """Bytes of one latent: both dtypes have two a number."""
        return 2 * self.values

    @property
    def size_bytes(self) -> int:
        """Bytes of all latents."""
        return self.num_samples * self.row_bytes

    def of(self, num_samples: int) -> "Case":
        """Return the case with another number of samples, to try things out."""
        return replace(self, num_samples=num_samples)

    def describe(self) -> str:
        """Return the case in one line."""
        shape = "x".join(map(str, self.shape))
        return (
            f"{self.num_samples:,} latents of {shape} {self.dtype} "
            f"({self.row_bytes / 1024:,.0f} KiB), batch {self.batch_size}"
        )


CASES = {
    "a": Case(
        name="a",
        num_samples=100_000,
        shape=(4, 32, 32),
        dtype="float16",
        batch_size=256,
        rows_per_shard=8192,
        many_rows_per_shard=64,
    ),
    "b": Case(
        name="b",
        num_samples=2_000,
        shape=(16, 128, 128),
        dtype="bfloat16",
        batch_size=32,
        rows_per_shard=128,
        buffer=500,
    ),
    "c": Case(
        name="c",
        num_samples=320,
        shape=(16, 21, 60, 104),
        dtype="bfloat16",
        batch_size=4,
        rows_per_shard=32,
        buffer=64,
    ),
}


def bucket_of(case: Case) -> Bucket:
    """Return the pixels such latents would come from."""
    frames = 1 + (case.shape[1] - 1) * TEMPORAL_FACTOR if len(case.shape) == 4 else 1
    return Bucket(frames, case.shape[-2] * SPATIAL_FACTOR, case.shape[-1] * SPATIAL_FACTOR)


def column_of(case: Case) -> SyntheticColumn:
    """Return the column as ``synthetic_store`` would make it."""
    return SyntheticColumn(
        channels=case.shape[0], dtype=case.dtype, is_video=len(case.shape) == 4, seed=0
    )


def draw_block(case: Case, rows_per_shard: int, shard: int) -> Array:
    """Return one shard's latents, [rows, *shape] of uint16 bits, drawn apart from any store."""
    first = shard * rows_per_shard
    unit = UnitRange(
        unit=UnitId(shard=shard, part=0),
        generation=0,
        bucket=bucket_of(case),
        first_row=0,
        num_rows=min(rows_per_shard, case.num_samples - first),
    )
    values = unit_values(column_of(case), unit)["z"]
    if case.dtype == "bfloat16":
        return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return values.astype(np.float16).view(np.uint16)


def iter_blocks(case: Case, rows_per_shard: int | None = None) -> Iterator[Array]:
    """Yield the latents in order, shard by shard."""
    rows = rows_per_shard or case.rows_per_shard
    for shard in range(-(-case.num_samples // rows)):
        yield draw_block(case, rows, shard)


def digests_of(rows: Array) -> Array:
    """Return 64 bits of BLAKE2b per row: which latent it is, if it is one to the bit."""
    packed = np.ascontiguousarray(rows).reshape(len(rows), -1)
    found = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in packed)
    return np.frombuffer(found, np.uint64)
