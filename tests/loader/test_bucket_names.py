"""Filters take a bucket by either of its names, and refuse one that no plan has."""

from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.exchange import copy_subset
from latentcache.loader import LatentLoader, Source
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation

TALL, WIDE, CLIPS = Bucket(1, 96, 64), Bucket(1, 64, 96), Bucket(17, 64, 96)
SIZES = {TALL: 8, WIDE: 12, CLIPS: 16}
ADDED = Bucket(1, 64, 64)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Pictures of two buckets, clips as large as one of them, and a bucket that an update added."""
    store = Store.create(tmp_path_factory.mktemp("buckets") / "store")
    add_generation(store, [(bucket, num_rows, 16) for bucket, num_rows in SIZES.items()])
    add_generation(store, [(ADDED, 4, 16)])
    add_column(store, SyntheticColumn(temporal_factor=4))
    return store


def selected(store: Store, text: str) -> set[Bucket]:
    """Return the buckets of which all rows are selected, and nothing of others."""
    loader = LatentLoader(Source(store=store, filter=text), global_batch_size=1)
    found = {Bucket.parse(bucket) for bucket in loader.shapes()}
    num_rows = sum(one.num_rows for one in loader.coverage())
    assert num_rows == sum({**SIZES, ADDED: 4}[bucket] for bucket in found)
    return found


@pytest.mark.parametrize(
    ("text", "buckets"),
    [
        pytest.param('bucket == "64x96"', {TALL}, id="width-first"),
        pytest.param('bucket == "1x96x64"', {TALL}, id="as-files-name-it"),
        pytest.param('bucket == "96x64"', {WIDE, CLIPS}, id="whatever-the-frames"),
        pytest.param('bucket == "96x64, 17 frames"', {CLIPS}, id="clips-as-plans-say-it"),
        pytest.param('bucket != "96x64"', {TALL, ADDED}, id="all-others"),
        pytest.param('"96x64" != bucket', {TALL, ADDED}, id="name-first"),
        pytest.param('bucket in ("64x96", "1x64x64")', {TALL, ADDED}, id="several"),
        pytest.param('bucket not in ["64x96", "64x64"]', {WIDE, CLIPS}, id="none-of-several"),
        pytest.param('not bucket == "96x64" and path is not None', {TALL, ADDED}, id="inside"),
    ],
)
def test_a_bucket_is_filtered_by_the_name_that_plans_and_warnings_show(
    store: Store, text: str, buckets: set[Bucket]
) -> None:
    assert selected(store, text) == buckets


@pytest.mark.parametrize(
    "text",
    [
        'bucket == "320x192"',
        'bucket != "320x192"',
        'bucket != "1x192x320" or path == "x"',
        'bucket in ("64x96", "320x192")',
    ],
)
def test_a_bucket_that_no_plan_has_is_refused_with_those_that_exist(
    store: Store, text: str, tmp_path: Path
) -> None:
    there = r"bucket must be one of the plan's, .*64x96 \(1x96x64\).*, got '(320x192|1x192x320)'"
    with pytest.raises(ConfigError, match=there):
        LatentLoader(Source(store=store, filter=text), global_batch_size=1)
    with pytest.raises(ConfigError, match=there):
        copy_subset(
            store.snapshot(), tmp_path / "copy", filter_text=text, on_progress=lambda *_: None
        )
    assert not (tmp_path / "copy").exists()


def test_a_bucket_in_a_chain_of_comparisons_is_refused_or_taken_as_it_is(store: Store) -> None:
    assert selected(store, 'bucket == bucket == "1x96x64"') == {TALL}
    with pytest.raises(ConfigError, match="join comparisons with and"):
        selected(store, 'bucket == bucket == "64x96"')
