"""Buckets and geometry: which shape a picture is trained at, and which of its pixels.

The table is the one that trainers in the line of SD-scripts and SDXL use: sides are
multiples of a step, a bucket holds at most ``resolution ** 2`` pixels, and for each longer
side the shorter one is the largest that fits.

Choices use integers and single divisions, which every machine rounds alike; a logarithm is
not such an operation.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.plan.plan_options import PlanOptions


def bucket_table(options: PlanOptions, resolution_px: int = 0) -> tuple[Bucket, ...]:
    """Return the buckets that ``options`` allow, from the tallest to the widest.

    Of two buckets with one aspect the larger is kept.

    Args:
        options: Of the plan.
        resolution_px: One of its resolutions; 0 is the first.
    """
    side = resolution_px or options.resolutions_px[0]
    step = options.step_of(side)
    by_aspect = {Fraction(1): Bucket(1, side, side)}
    long_px = side + step
    while not options.square:
        short_px = side * side // long_px // step * step
        if short_px == 0 or long_px > 4 * side * max(1.0, options.max_aspect):
            break
        aspect = Fraction(long_px, short_px)
        if aspect <= Fraction(options.max_aspect):
            by_aspect[aspect] = Bucket(1, short_px, long_px)
            by_aspect[1 / aspect] = Bucket(1, long_px, short_px)
        long_px += step
    return tuple(by_aspect[aspect] for aspect in sorted(by_aspect))


def aspect_of(bucket: Bucket) -> float:
    """Width over height."""
    return bucket.width_px / bucket.height_px


def choose_bucket(width_px: int, height_px: int, buckets: Sequence[Bucket]) -> Bucket:
    """Return the bucket whose aspect is nearest by ratio, ``|log(w / h) - log(W / H)|``.

    Exactly between two, the one nearer to a square is taken, and the wider one if that
    does not decide either.

    Args:
        width_px: Of the source, after orientation.
        height_px: Of the source, after orientation.
        buckets: In ascending order of aspect, at least one.
    """
    for narrow, wide in pairwise(buckets):
        # The border between two aspects a < b lies at sqrt(a * b): compare squares.
        above = width_px**2 * narrow.height_px * wide.height_px
        below = height_px**2 * narrow.width_px * wide.width_px
        if above < below:
            return narrow
        is_narrow_squarer = narrow.width_px * wide.width_px > narrow.height_px * wide.height_px
        if above == below and is_narrow_squarer:
            return narrow
    return buckets[-1]


def fit(width_px: int, height_px: int, bucket: Bucket, options: PlanOptions) -> Geometry:
    """Return how a source becomes ``bucket``: resized to cover it, then cropped at the centre.

    One side of the resized picture equals the bucket's; the other is the exact
    proportional length rounded half up, never below the bucket's. So the aspect is
    wrong by half a pixel at most.

    Args:
        width_px: Of the source, after orientation; at least 1.
        height_px: Of the source, after orientation; at least 1.
        bucket: The target.
        options: Limits on enlargement and on cropping.

    Raises:
        MediaError: ``too_narrow`` or ``too_small``.
    """
    if bucket.width_px * height_px >= bucket.height_px * width_px:
        width, height = bucket.width_px, _scaled(height_px, bucket.width_px, width_px)
        scale = bucket.width_px / width_px
    else:
        width, height = _scaled(width_px, bucket.height_px, height_px), bucket.height_px
        scale = bucket.height_px / height_px
    width, height = max(width, bucket.width_px), max(height, bucket.height_px)
    kept = bucket.width_px * bucket.height_px / (width * height)
    if kept < 1 - options.max_crop:
        raise MediaError("too_narrow", _too_narrow(width_px, height_px, bucket, kept, options))
    if scale > options.max_upscale:
        raise MediaError("too_small", _too_small(width_px, height_px, bucket, scale, options))
    return Geometry(
        source_width_px=width_px,
        source_height_px=height_px,
        resized_width_px=width,
        resized_height_px=height,
        crop_left_px=(width - bucket.width_px) // 2,
        crop_top_px=(height - bucket.height_px) // 2,
    )


def _too_narrow(
    width_px: int, height_px: int, bucket: Bucket, kept: float, options: PlanOptions
) -> str:
    return (
        f"{width_px} x {height_px} px would lose {1 - kept:.0%} of its area in the "
        f"{bucket.width_px} x {bucket.height_px} bucket, "
        f"the limit is {options.max_crop:.0%} (max_crop)"
    )


def _too_small(
    width_px: int, height_px: int, bucket: Bucket, scale: float, options: PlanOptions
) -> str:
    return (
        f"{width_px} x {height_px} px would be enlarged {scale:.2f} times for the "
        f"{bucket.width_px} x {bucket.height_px} bucket, "
        f"the limit is {options.max_upscale:g} (max_upscale)"
    )


def _scaled(length: int, numerator: int, denominator: int) -> int:
    """Return ``length * numerator / denominator`` rounded half up."""
    return (2 * length * numerator + denominator) // (2 * denominator)


def merge_buckets(
    counts: Mapping[Bucket, int],
    min_bucket: int,
    *,
    resolution_of: Callable[[Bucket], int] = lambda _: 0,
) -> dict[Bucket, Bucket]:
    """Return where the samples of each bucket go so that no bucket has fewer than ``min_bucket``.

    The smallest bucket moves as a whole to its nearest neighbour by aspect, until all are
    large enough or one is left; buckets of different frame counts or resolutions never mix. Ties
    go to the fuller neighbour, then to the first of the buckets' order; equal smallest ones are
    taken in that order too.

    Args:
        counts: Samples per bucket; empty buckets are no targets.
        min_bucket: Fewest samples of a bucket.
        resolution_of: A bucket's resolution.
    """
    alike: defaultdict[tuple[int, int], dict[Bucket, int]] = defaultdict(dict)
    for bucket, count in counts.items():
        if count:
            alike[bucket.num_frames, resolution_of(bucket)][bucket] = count
    target: dict[Bucket, Bucket] = {}
    for kind in sorted(alike):
        target |= _merged(alike[kind], min_bucket)
    return target


def _merged(counts: Mapping[Bucket, int], min_bucket: int) -> dict[Bucket, Bucket]:
    sizes = dict(counts)
    target = {bucket: bucket for bucket in sizes}
    while len(sizes) > 1:
        smallest = min(sizes, key=lambda bucket: (sizes[bucket], bucket))
        if sizes[smallest] >= min_bucket:
            break
        moved = sizes.pop(smallest)
        nearest = min(sizes, key=lambda bucket: (_ratio(bucket, smallest), -sizes[bucket], bucket))
        sizes[nearest] += moved
        target = {old: nearest if new == smallest else new for old, new in target.items()}
    return target


def _ratio(one: Bucket, other: Bucket) -> Fraction:
    """Return the ratio of two aspects, at least 1: the distance of their logarithms, exactly."""
    ratio = Fraction(one.width_px * other.height_px, one.height_px * other.width_px)
    return max(ratio, 1 / ratio)
