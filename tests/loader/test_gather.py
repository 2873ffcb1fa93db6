"""Gathers give what the store's own reader gives, sample for sample, however rows are lost."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.errors import ShardCorruptError
from latentcache.core.media import Bucket
from latentcache.loader.gather import range_gather as gather_module
from latentcache.loader.gather.range_gather import RangeGather
from latentcache.loader.gather.unit_gather import FindTar, Gather, UnitGather, keys_as_text
from latentcache.loader.index.column_units import ColumnUnits
from latentcache.loader.index.sample_layout import StreamLayout, read_template
from latentcache.loader.index.unit_index import UnitIndex
from latentcache.loader.order.feistel import Indices
from latentcache.store import ColumnView, Snapshot, Store, TensorBytes, UnitEntry
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation

WIDE, SQUARE = Bucket(1, 32, 64), Bucket(1, 32, 32)
REJECTED = frozenset(
    {(0, 0), (0, 7), (0, 8), (1, 19), (2, 3), *((1, row) for row in range(8, 16)), (3, 0)}
)


@pytest.fixture(scope="module", params=["bfloat16", "float16", "float32"])
def snapshot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    store = Store.create(tmp_path_factory.mktemp("gather") / "store")
    add_generation(store, [(SQUARE, 50, 20), (WIDE, 11, 8)])
    column = SyntheticColumn(
        dtype=request.param, has_logvar=True, rows_per_unit=8, rejected=REJECTED
    )
    return add_column(store, column)


def index_of(column: ColumnView, run_number: int) -> UnitIndex:
    run = column.generations[0].runs[run_number]
    return UnitIndex(str(run.bucket), [ColumnUnits.read(column).of_run(run)])


def layout_of(column: ColumnView, index: UnitIndex) -> StreamLayout:
    return StreamLayout.whole([read_template(column.folder, index.entries.values())])


def gather_of(
    kind: type, column: ColumnView, run_number: int, **options: int
) -> tuple[Gather, UnitIndex]:
    index = index_of(column, run_number)
    return kind(index, layout_of(column, index), find_in(column), **options), index


def keys_of(gather: Gather, index: UnitIndex, rows: Indices) -> list[str]:
    return keys_as_text(gather.keys(gather.places(index.locate(rows))))


def find_in(column: ColumnView) -> FindTar:
    return lambda entry: column.folder.local_path(entry.tar.name)


def num_maps(column: ColumnView) -> int:
    maps = Path("/proc/self/maps").read_text()
    return sum(entry.tar is not None and entry.tar.name in maps for entry in column.units())


@pytest.mark.parametrize("kind", [RangeGather, UnitGather])
@pytest.mark.parametrize("run_number", [0, 1])
def test_a_batch_is_the_samples_the_store_reads(
    snapshot: Snapshot, kind: type, run_number: int
) -> None:
    column = snapshot.column("latents")
    gather, index = gather_of(kind, column, run_number)
    rows = np.random.default_rng(0).permutation(index.runs[0].run.num_rows)
    rows = rows[index.is_present(rows)]
    rows = np.concatenate([rows, rows[:3]])  # a row may come twice
    places = gather.places(index.locate(rows))
    layout = layout_of(column, index)
    keys = keys_as_text(gather.keys(places))
    fields = {name: gather.field(places, one.entry) for name, one in layout.fields.items()}
    assert set(fields) == {"mean", "logvar"}
    for at, place in enumerate(rows.tolist()):
        shard, row = divmod(place, index.runs[0].run.rows_per_shard)
        sample = column.read_row(index.runs[0].run.first_shard + shard, row)
        assert keys[at] == sample.key
        for name, values in fields.items():
            stored = sample.fields[name]
            if isinstance(stored, TensorBytes):
                stored = stored.to_numpy()
            found = values[at]
            bits = found.view(torch.uint16) if found.dtype == torch.bfloat16 else found
            assert np.array_equal(bits.numpy(), stored)


def test_rows_present_are_those_not_in_quarantine(snapshot: Snapshot) -> None:
    column = snapshot.column("latents")
    present = set()
    for number in range(2):
        index = index_of(column, number)
        rows = np.arange(index.runs[0].run.num_rows)
        shards, inside = np.divmod(rows[index.is_present(rows)], index.runs[0].run.rows_per_shard)
        present |= set(
            zip((shards + index.runs[0].run.first_shard).tolist(), inside.tolist(), strict=True)
        )
        spans = [np.arange(*span) for span in index.spans_without_tar().tolist()]
        absent = np.concatenate([index.missing, *spans])
        assert set(absent.tolist()) == set(rows[~index.is_present(rows)].tolist())
        assert len(set(absent.tolist())) == len(absent)
    assert len(present) == column.num_encoded
    assert not present & REJECTED


def test_retired_rows_that_were_rejected_do_not_move_their_neighbours(tmp_path: Path) -> None:
    """The quarantine forgets a retired row; its unit's meta does not."""
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 10, 10)])
    column = SyntheticColumn(rejected=frozenset({(0, 2), (0, 5)}))
    add_column(store, column)
    add_generation(store, [(SQUARE, 4, 4)], retired=[(0, 2), (0, 7)])
    view = add_column(store, column).column("latents")
    gather, index = gather_of(RangeGather, view, 0)
    rows = np.array([9, 8, 6, 4, 3, 1])
    keys = keys_of(gather, index, rows)
    assert keys == [view.read_row(0, row).key for row in rows.tolist()]
    assert index.is_present(np.array([2, 5, 6])).tolist() == [False, False, True]


@pytest.mark.parametrize("kind", [RangeGather, UnitGather])
def test_a_tar_that_was_cut_short_is_named(tmp_path: Path, kind: type) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 10, 10)])
    column = add_column(store, SyntheticColumn()).column("latents")
    (entry,) = column.units()
    gather, index = gather_of(kind, column, 0)
    path = tmp_path / "store" / entry.tar.name
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(ShardCorruptError, match=r"tar must have \d+ bytes, got \d+ .*\.tar"):
        keys_of(gather, index, np.array([1]))
    path.unlink()
    with pytest.raises(ShardCorruptError, match="tar must be in the store, got none"):
        keys_of(gather, index, np.array([1]))


def test_a_range_gives_its_addresses_back(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 10, 10)])
    column = add_column(store, SyntheticColumn()).column("latents")
    gather, index = gather_of(RangeGather, column, 0)
    keys_of(gather, index, np.array([1]))
    assert column.units()[0].tar.name in Path("/proc/self/maps").read_text()
    del gather
    assert column.units()[0].tar.name not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("kind", [RangeGather, UnitGather])
def test_a_tar_thrown_out_before_it_was_mapped_is_found_again(tmp_path: Path, kind: type) -> None:
    """Another job's fetch may make room in the cache between ours and the mapping."""
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 10, 10)])
    column = add_column(store, SyntheticColumn()).column("latents")
    index = index_of(column, 0)
    layout = layout_of(column, index)
    found: list[Path] = []

    def find(entry: UnitEntry) -> Path:
        found.append(tmp_path / f"gone-{len(found)}.tar")
        return found[-1] if len(found) < 4 else find_in(column)(entry)

    gather = kind(index, layout, find)
    assert keys_of(gather, index, np.array([1])) == [column.read_row(0, 1).key]
    assert len(found) == 4


@pytest.mark.parametrize("kind", [RangeGather, UnitGather])
def test_no_more_tars_stay_mapped_than_allowed(tmp_path: Path, kind: type) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 40, 4)])
    column = add_column(store, SyntheticColumn()).column("latents")
    bounded, index = gather_of(kind, column, 0, max_mapped=3)
    free, _ = gather_of(RangeGather, column, 0)
    entry = layout_of(column, index).fields["z"].entry
    draw = np.random.default_rng(0)
    for _ in range(6):
        slots = index.locate(draw.integers(0, 40, 5))
        found = bounded.field(bounded.places(slots), entry)
        assert num_maps(column) <= 3
        assert torch.equal(found, free.field(free.places(slots), entry))
        del free
        free, _ = gather_of(RangeGather, column, 0)
    free.keys(free.places(index.locate(np.arange(40))))
    assert num_maps(column) == 10


def test_neighbouring_tars_leave_no_gap_that_counts_as_a_map(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 40, 4)])
    column = add_column(store, SyntheticColumn()).column("latents")
    gather, index = gather_of(RangeGather, column, 0)

    def count() -> int:
        return len(Path("/proc/self/maps").read_text().splitlines())

    places = gather.places(index.locate(np.arange(40)))
    before = count()
    gather.keys(places)
    assert count() - before <= 10 + 2


def test_threads_may_share_a_gather_whose_tars_are_unmapped(tmp_path: Path) -> None:
    """A place that is unmapped while another thread reads it would kill the process."""
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 40, 4)])
    column = add_column(store, SyntheticColumn()).column("latents")
    gather, index = gather_of(RangeGather, column, 0, max_mapped=2)
    entry = layout_of(column, index).fields["z"].entry
    whole = gather.field(gather.places(index.locate(np.arange(40))), entry)

    def read(seed: int) -> bool:
        draw = np.random.default_rng(seed)
        for _ in range(25):
            rows = draw.integers(0, 40, 6)
            found = gather.field(gather.places(index.locate(rows)), entry)
            if not torch.equal(found, whole[torch.from_numpy(rows)]):
                return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(read, range(3)))


@pytest.mark.parametrize("kind", [RangeGather, UnitGather])
def test_rows_are_written_where_they_are_wanted(snapshot: Snapshot, kind: type) -> None:
    gather, index = gather_of(kind, snapshot.column("latents"), 1)
    entry = layout_of(snapshot.column("latents"), index).fields["logvar"].entry
    places = gather.places(index.locate(np.array([4, 1, 2, 1])))
    fresh = gather.field(places, entry)
    out = torch.empty_like(fresh)
    assert gather.field(places, entry, out) is out
    assert torch.equal(out, fresh)
    assert torch.equal(gather.field(places.part(1, 3), entry), fresh[1:3])


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no large pages here"
)
@pytest.mark.parametrize("has_room", [False, True])
def test_tars_come_in_large_pages_only_where_memory_has_room(
    snapshot: Snapshot, has_room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a row of a store that memory cannot hold would read 2 MiB from the disk."""
    column = snapshot.column("latents")
    monkeypatch.setattr(gather_module, "memory_bytes", lambda: 2**40 if has_room else 2**10)
    gather, index = gather_of(RangeGather, column, 0)
    keys_of(gather, index, np.array([1]))
    maps = Path("/proc/self/smaps").read_text().split("VmFlags:")
    names = [entry.tar.name for entry in column.units() if entry.tar is not None]
    flags = [
        after.splitlines()[0].split()
        for before, after in pairwise(maps)
        if any(name in before for name in names)
    ]
    assert flags
    assert all(("hg" in one) == has_room for one in flags)
