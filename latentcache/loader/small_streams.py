"""Streams with fewer rows than a batch: what is small, bucket, part or generation, what helps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from latentcache.core.media import Bucket
from latentcache.loader.order.batch_sizes import BatchSizes


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallStream:
    """A stream whose batches show a sample more than once.

    Attributes:
        num_rows: That it draws from.
        num_in_bucket: That its source draws from in all generations of the bucket.
        batch_size: Samples of a global batch.
        bucket: Of the stream.
        generation: Of the stream.
        part: Of the bucket, by ``batch_by``; "" without.
        store: As a person is told it.
    """

    num_rows: int
    num_in_bucket: int
    batch_size: int
    bucket: Bucket
    generation: int
    part: str
    store: str

    @property
    def is_of_small_bucket(self) -> bool:
        """Whether all generations of the bucket together would not fill a batch."""
        return self.num_in_bucket < self.batch_size


def iter_warnings(
    small: Sequence[SmallStream], sizes: BatchSizes, *, num_parts: int
) -> Iterator[str]:
    """Yield at most three sentences: of buckets that are small, of their parts, and of generations.

    Args:
        small: All such streams.
        sizes: As asked for.
        num_parts: Micro-batches of all ranks, which a batch is a multiple of.
    """
    buckets = [one for one in small if one.is_of_small_bucket]
    others = [one for one in small if not one.is_of_small_bucket]
    parts = [one for one in others if one.part]
    generations = [one for one in others if not one.part]
    if buckets:
        first = _smallest(buckets)
        num = len({(one.store, one.bucket) for one in buckets})
        count = "1 bucket has" if num == 1 else f"{num:,} buckets have"
        yield (
            f"{count} fewer samples than a batch, so that a batch shows some of them more than "
            f"once ({first.bucket.label} has {first.num_in_bucket} for batches of "
            f"{first.batch_size}); {_smaller_batch(first, sizes, num_parts)}leave it out with a "
            f"filter, or build a new store with --min-bucket {first.batch_size}, which merges "
            f"such buckets"
        )
    if parts:
        first = _smallest(parts)
        count = "1 part of a bucket has" if len(parts) == 1 else f"{len(parts):,} parts have"
        yield (
            f"{count} fewer samples than a batch, so that a batch shows some of them more than "
            f"once ({first.part} of {first.bucket.label} has {first.num_rows} for batches of "
            f"{first.batch_size}); {_smaller_batch(first, sizes, num_parts)}or leave batch_by away"
        )
    if generations:
        first = _smallest(generations)
        num = len({(one.store, one.generation) for one in generations})
        count = "1 generation has" if num == 1 else f"{num:,} generations have"
        yield (
            f"{count} fewer samples of a bucket than a batch, so that a batch shows some of them "
            f"more than once (generation {first.generation} has {first.num_rows} of the "
            f"{first.num_in_bucket} of {first.bucket.label} for batches of {first.batch_size}: "
            f"what an update adds is drawn by itself); {_smaller_batch(first, sizes, num_parts)}"
            f"pack small generations into one, where nothing is encoded: latentcache fold "
            f"{first.store}; or train from a copy, in which all are one: latentcache copy "
            f"{first.store} NEW --filter 'source_width_px > 0'"
        )


def _smallest(small: Sequence[SmallStream]) -> SmallStream:
    return min(small, key=lambda one: (one.num_rows, one.bucket.label, one.generation))


def _smaller_batch(small: SmallStream, sizes: BatchSizes, num_parts: int) -> str:
    """Return the words for a batch that the rows fill; none where ranks are more than rows."""
    size = small.num_rows // num_parts * num_parts
    if not size:
        return ""
    if sizes.tokens_per_rank is not None:
        return "give it a smaller batch with fewer tokens_per_rank, "
    bucket = small.bucket
    is_image = bucket.num_frames == 1
    name = f"{bucket.width_px}x{bucket.height_px}" if is_image else str(bucket)
    rest = (
        "" if not isinstance(sizes.global_batch_size, int) else f', "default": {small.batch_size}'
    )
    return f'give it a smaller batch with global_batch_size {{"{name}": {size}{rest}}}, '
