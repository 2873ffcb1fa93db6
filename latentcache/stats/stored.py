"""Statistics of a unit from what is stored of it: for units that are written without an encoder."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentcache.core.media import Bucket
from latentcache.stats.covariance import MAX_COVARIANCE_CHANNELS, MAX_FEATURE_CHANNELS
from latentcache.stats.published_check import patch_size
from latentcache.stats.unit import UnitStatistics
from latentcache.store import EncodingRecord, TensorBytes

_ROWS_AT_ONCE = 32
_FEATURE_KNOBS = ("layout", "cell")
"""What vision features alone are told."""
_OF_POSTERIOR = ("posterior_count", "posterior_variance_sum", "posterior_kl_sum")

Stored = Mapping[str, NDArray[np.generic] | TensorBytes]
"""A sample's fields as they are stored."""
Arrays = dict[str, NDArray[np.generic]]


def unit_statistics(record: EncodingRecord, bucket: Bucket) -> UnitStatistics:
    """Return empty statistics for rows of ``bucket`` in one encoding."""
    normalizer = record.normalizer or {"ops": []}
    is_features = set(_FEATURE_KNOBS) <= set(record.spec.get("knobs") or {})
    return UnitStatistics(
        record.fields,
        record.spec.get("posterior", "point"),
        patch_size=patch_size(normalizer["ops"]),
        pixels_per_sample=bucket.num_pixels,
        max_covariance_channels=MAX_FEATURE_CHANNELS if is_features else MAX_COVARIANCE_CHANNELS,
        has_positions=is_features,
    )


def count_stored(record: EncodingRecord, bucket: Bucket, samples: Iterable[Stored]) -> Arrays:
    """Return a unit's statistics arrays, counted over its stored values in row order.

    Args:
        record: The encoding.
        bucket: Of the unit.
        samples: In row order; each is let go once it is counted.
    """
    statistics = unit_statistics(record, bucket)
    is_joined = record.spec.get("modality") == "text"
    for rows in _batches(samples, is_joined=is_joined):
        names = rows[0]
        if is_joined:
            joined = {name: np.concatenate([row[name] for row in rows])[None] for name in names}
            statistics.add(joined, num_samples=len(rows))
        else:
            statistics.add({name: np.stack([row[name] for row in rows]) for name in names})
    return statistics.arrays()


def _batches(samples: Iterable[Stored], *, is_joined: bool) -> Iterator[list[Arrays]]:
    """Yield rows that can be counted together: of equal shapes, or joined along their texts."""
    waiting: list[Arrays] = []
    for sample in samples:
        row = {name: _values(value) for name, value in sample.items()}
        if is_joined and not len(row["lengths"]):
            continue  # it has no text and holds nothing
        is_other = bool(waiting) and not is_joined and _shapes(row) != _shapes(waiting[0])
        if is_other or len(waiting) == _ROWS_AT_ONCE:
            yield waiting
            waiting = []
        waiting.append(row)
    if waiting:
        yield waiting


def _shapes(row: Arrays) -> list[tuple[int, ...]]:
    return [values.shape for values in row.values()]


def _values(value: Any) -> NDArray[np.generic]:
    """Return stored values as statistics see them: floats in float32, whole numbers in int64."""
    if isinstance(value, TensorBytes):
        values: NDArray[np.generic] = value.to_numpy_float32()
        return values
    is_float = np.issubdtype(value.dtype, np.floating)
    return np.asarray(value).astype(np.float32 if is_float else np.int64)


def with_posterior_share(counted: Arrays, before: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return statistics with the posterior's sums where only ``before`` still knows them.

    A log-variance that was not stored cannot be counted again: of the sums of the unit as it was
    encoded, the rows that stay get their share by number, so that means stay as they were.

    Args:
        counted: Over the rows that stay.
        before: Of the unit with all its rows, with or without the prefix ``stats.``.
    """
    found = dict(counted)
    then = {f"stats.{name.removeprefix('stats.')}": array for name, array in before.items()}
    for name, array in counted.items():
        prefix, _, what = name.rpartition(".")
        if what != "num_frames" or f"{prefix}.{_OF_POSTERIOR[0]}" in counted:
            continue
        if f"{prefix}.{_OF_POSTERIOR[0]}" not in then:
            continue
        share = float(array[0]) / float(then[name][0])
        count = np.rint(then[f"{prefix}.{_OF_POSTERIOR[0]}"] * share).astype(np.int64)
        found[f"{prefix}.{_OF_POSTERIOR[0]}"] = count
        for each in _OF_POSTERIOR[1:]:
            found[f"{prefix}.{each}"] = then[f"{prefix}.{each}"] * share
    return found
