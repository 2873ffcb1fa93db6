"""A cache on S3 becomes a store there, is folded and compacted, and comes back the same."""

from pathlib import Path

import numpy as np
import pytest

from latentcache.core.media import Bucket
from latentcache.exchange import (
    ExportRequest,
    ImportRequest,
    copy_store,
    copy_subset,
    export_samples,
    fold_store,
    import_cache,
)
from latentcache.runner import SilentReporter, compact, retire_samples
from latentcache.storage import Folder
from latentcache.store import Store, collect_garbage, verify_snapshot
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.exchange import foreign_caches as foreign
from tests.exchange.foreign_caches import NUM

pytestmark = pytest.mark.s3


def quiet(done: int, total: int) -> None:
    assert done <= total


def payloads(store: Store) -> dict[str, bytes]:
    """Return the stored bytes of each live sample, by key."""
    samples = store.snapshot().column("latents").iter_samples()
    return {
        key: b"".join(np.asarray(value).tobytes() for value in fields.values())
        for key, _, _, fields in samples
    }


def upload(source: Path, url: str) -> None:
    folder = Folder.open(url)
    for path in source.rglob("*"):
        if path.is_file():
            folder.write(str(path.relative_to(source)), path.read_bytes())


def test_a_cache_on_s3_is_imported_exported_and_copied_there_and_back(
    s3_url: str, tmp_path: Path
) -> None:
    foreign.simpletuner(tmp_path / "cache", foreign.drawn())
    upload(tmp_path / "cache", f"{s3_url}/cache")
    request = ImportRequest(layout="simpletuner", encoder="sdxl", kind="sample")
    done = import_cache(f"{s3_url}/cache", f"{s3_url}/store", request, on_progress=quiet)
    import_cache(tmp_path / "cache", tmp_path / "local", request, on_progress=quiet)
    remote, local = Store.open(f"{s3_url}/store"), Store.open(tmp_path / "local")
    assert done.num_samples == NUM
    assert payloads(remote) == payloads(local)
    copy_store(remote, f"{s3_url}/copy", on_progress=quiet)
    again = copy_store(remote, f"{s3_url}/copy", on_progress=quiet)
    assert again.num_objects == 0
    back = copy_store(Store.open(f"{s3_url}/copy"), tmp_path / "back", on_progress=quiet)
    assert back.num_objects
    assert verify_snapshot(Store.open(tmp_path / "back").snapshot()).ok
    assert payloads(Store.open(tmp_path / "back")) == payloads(local)
    export = ExportRequest(format="webdataset", columns=("latents",))
    for source, where in ((remote, f"{s3_url}/out"), (local, str(tmp_path / "out"))):
        export_samples(source.snapshot(), where, export, on_progress=quiet)
    tars = [
        {info.name: info.size_bytes for info in Folder.open(where).list()}
        for where in (f"{s3_url}/out", tmp_path / "out")
    ]
    assert tars[0] == tars[1]
    assert tars[0]


def test_a_store_on_s3_is_folded_cut_and_compacted(s3_url: str) -> None:
    store = Store.create(f"{s3_url}/store")
    for num_rows in (20, 3, 3):
        add_generation(store, [(Bucket(1, 32, 32), num_rows, 32)])
    add_column(store, SyntheticColumn(rows_per_unit=32))
    before = payloads(store)
    assert fold_store(store, dry_run=False, on_progress=quiet).num_shards == 1
    assert payloads(store) == before
    gone = sorted(before)[:2]
    retire_samples(store, gone)
    compact(store, dry_run=False, reporter=SilentReporter())
    newest = store.snapshot().number
    later = store.folder.now_s() + 10 * 86400.0
    older = [number for number in store.snapshots() if number != newest]
    collect_garbage(store, retire=older, dry_run=False, now_s=later)
    collect_garbage(store, dry_run=False, now_s=later)
    assert payloads(store) == {key: value for key, value in before.items() if key not in gone}
    tars = [info for info in store.folder.list() if info.name.endswith(".tar")]
    assert len(tars) == 1
    assert verify_snapshot(store.snapshot()).ok
    copied = copy_subset(
        store.snapshot(), f"{s3_url}/part", filter_text="source_width_px > 0", on_progress=quiet
    )
    assert copied.num_samples == len(before) - len(gone)
