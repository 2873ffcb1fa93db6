"""Every publisher picks the same commit, whatever order they are listed in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ShardCorruptError
from latentcache.core.units import UnitId
from latentcache.store.format.object_names import UnitObject, unit_object_name
from latentcache.store.units.commits import best_commits, newer_than, rank_commits
from tests.store.small_store import encoding_record, make_store, write_unit

writes = st.builds(
    UnitObject,
    st.builds(UnitId, st.integers(0, 3), st.integers(0, 1)),
    st.integers(0, 12),
    st.text("0123456789abcdef", min_size=16, max_size=16),
)


def commit_name(written: UnitObject) -> str:
    return unit_object_name("latents", "f" * 32, "commits", written)


@given(st.lists(writes, max_size=30), st.randoms())
def test_highest_rev_then_lowest_write_id_in_any_order(found, random) -> None:
    names = [commit_name(written) for written in found]
    names += ["encodings/latents/x/encoding.json", "commits/.tmp.1", "readme.txt"]
    names += [unit_object_name("latents", "f" * 32, "meta", written) for written in found]
    random.shuffle(names)
    best = best_commits(rank_commits(names))
    assert set(best) == {written.unit for written in found}
    assert list(best) == sorted(best)
    for unit, ref in best.items():
        same = [written for written in found if written.unit == unit]
        rev = max(written.rev for written in same)
        lowest = min(written.write_id for written in same if written.rev == rev)
        assert (ref.rev, ref.write_id) == (rev, lowest)
        assert ref.name == commit_name(UnitObject(unit, rev, lowest))


@given(st.lists(writes, max_size=30), st.integers(0, 12))
def test_only_a_higher_rev_replaces_a_choice(found, rev: int) -> None:
    for unit, refs in rank_commits(commit_name(written) for written in found).items():
        newer = newer_than(refs, rev)
        assert {(ref.rev, ref.write_id) for ref in newer} == {
            (written.rev, written.write_id)
            for written in found
            if written.unit == unit and written.rev > rev
        }
        assert newer_than(refs, None) == refs


def test_a_store_lists_one_commit_a_unit(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    record, (generation,) = encoding_record(), store.generations()
    first, second, *_ = store.units(record)
    commits = [write_unit(store, record, generation, first) for _ in range(2)]
    repaired = write_unit(store, record, generation, second, rev=1)
    write_unit(store, record, generation, second)
    found = store.commits(record)
    assert set(found) == {first.unit, second.unit}
    assert found[first.unit].write_id == min(commit.write_id for commit in commits)
    assert store.read_commit(found[second.unit]) == repaired


def test_a_commit_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    record, (generation,) = encoding_record(), store.generations()
    unit = store.units(record)[0]
    commit = write_unit(store, record, generation, unit)
    moved = UnitObject(UnitId(4, 1), 0, commit.write_id)
    store.folder.write(commit_name(moved), commit.to_bytes())
    with pytest.raises(ShardCorruptError, match="commit must be the one its name says"):
        store.read_commit(store.commits(record)[moved.unit])
