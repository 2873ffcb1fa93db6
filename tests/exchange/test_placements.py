"""Several rows of a sample in copies, folds and exports: none is lost, each says which it is."""

import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket, SourceRef, sample_key
from latentcache.core.placements import Placement
from latentcache.core.units import BucketRun
from latentcache.exchange import ExportRequest, copy_subset, export_samples, fold_store
from latentcache.loader import LatentLoader, Source
from latentcache.store import GenerationDraft, Store, verify_snapshot
from latentcache.store.rows import PLACED_PLAN_SCHEMA
from latentcache.testing.synthetic import SyntheticColumn, add_column

COLUMNS = ["latents", "path", "resolution_px", "crop_index", "is_flipped"]
NUM = 5


def quiet(done: int, total: int) -> None:
    assert done <= total


def add_rows(store: Store, *, crop_index: int) -> None:
    """Plan a crop of each sample, plain and mirrored."""
    first_shard = sum(each.num_shards for each in store.generations())
    bucket = Bucket(1, 64, 64)
    rows = []
    for at in range(2 * NUM):
        place = Placement(resolution_px=64, crop_index=crop_index, is_flipped=at % 2 == 1)
        source = SourceRef(path=f"{at // 2}.png")
        key = place.key(sample_key(source), first_resolution_px=64)
        rows.append(
            {
                "key": key,
                "shard": first_shard,
                "row": at,
                "bucket": str(bucket),
                "path": source.path,
                "member": "",
                "offset_bytes": -1,
                "size_bytes": 100,
                "version": "1",
                "source_width_px": 200,
                "source_height_px": 100,
                "resized_width_px": 128,
                "resized_height_px": 64,
                "crop_top_px": 0,
                "crop_left_px": 32 * (1 - crop_index),
                "is_animated": False,
                "resolution_px": 64,
                "crop_index": crop_index,
                "is_flipped": at % 2 == 1,
            }
        )
    run = BucketRun(bucket=bucket, first_shard=first_shard, num_rows=2 * NUM, rows_per_shard=16)
    draft = GenerationDraft(
        corpus_url="drawn",
        corpus_kind="folder",
        options={"resolution_px": 64},
        seed=0,
        runs=(run,),
        rows=[pa.Table.from_pylist(rows, PLACED_PLAN_SCHEMA)],
        num_placements=4,
        totals={"listed": NUM},
    )
    store.write_generation(draft)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two crops of each sample, the second one by an update, each plain and mirrored."""
    store = Store.create(tmp_path / "store")
    for crop_index in (0, 1):
        add_rows(store, crop_index=crop_index)
    figures = {"ops": [{"op": "divide", "values": [2.0]}], "source": "drawn"}
    add_column(store, SyntheticColumn(rows_per_unit=16, normalizer=figures))
    return store


def rows_of(store: Store) -> dict[str, tuple[object, ...]]:
    """Return of each key which row it is, and its latents."""
    source = Source(store=store.folder.url)
    loader = LatentLoader(
        source, columns=COLUMNS, global_batch_size=1, one_pass=True, normalize=False
    )
    return {
        batch["key"][0]: (
            batch["path"][0],
            *(int(batch[name][0]) for name in COLUMNS[2:]),
            batch["latents"].numpy().tobytes(),
        )
        for batch in loader
    }


def test_a_fold_keeps_every_row_and_which_it_is(store: Store) -> None:
    before = rows_of(store)
    assert len(before) == 4 * NUM
    done = fold_store(store, dry_run=False, on_progress=quiet)
    assert (done.num_samples, done.num_shards) == (4 * NUM, 2)
    assert store.generations()[-1].num_placements == 4
    assert rows_of(store) == before
    assert verify_snapshot(store.snapshot()).ok


def test_a_copy_has_the_very_rows(store: Store, tmp_path: Path) -> None:
    copy_subset(store.snapshot(), tmp_path / "part", filter_text="is_flipped", on_progress=quiet)
    part = rows_of(Store.open(tmp_path / "part"))
    assert part == {key: row for key, row in rows_of(store).items() if row[3]}
    assert len(part) == 2 * NUM


def test_an_export_says_which_row_each_is_and_refuses_what_cannot(
    store: Store, tmp_path: Path
) -> None:
    request = ExportRequest(format="webdataset")
    done = export_samples(store.snapshot(), tmp_path / "tars", request, on_progress=quiet)
    assert done.num_samples == 4 * NUM
    told = {}
    for path in (tmp_path / "tars").glob("*.tar"):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".json"):
                    facts = json.load(tar.extractfile(name))  # type: ignore[arg-type]  # a file
                    told[name.removesuffix(".json")] = tuple(facts[each] for each in COLUMNS[1:])
    assert told == {key: row[:4] for key, row in rows_of(store).items()}
    named = ExportRequest(format="simpletuner")
    with pytest.raises(ConfigError, match="samples must have one row each there, got several of"):
        export_samples(store.snapshot(), tmp_path / "named", named, on_progress=quiet)
