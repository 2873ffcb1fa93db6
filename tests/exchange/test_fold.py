"""Small generations packed into full shards: the same samples, and runs keep their order."""

import itertools
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from latentcache.cli.stores.fold import fold
from latentcache.core.errors import StoreError
from latentcache.core.media import Bucket
from latentcache.exchange import fold_store
from latentcache.loader import LatentLoader
from latentcache.runner import SilentReporter, compact, retire_samples
from latentcache.store import Store, verify_snapshot
from latentcache.store.rows import iter_rows
from latentcache.store.rows.annotations import write_annotations
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.store.stopping import StoppedError, stopping

SQUARE, WIDE = Bucket(1, 32, 32), Bucket(1, 16, 48)
GENERATIONS = ([(SQUARE, 40, 16), (WIDE, 5, 16)], *([(SQUARE, 3, 16), (WIDE, 1, 16)],) * 4)
COLUMNS = (
    SyntheticColumn(rows_per_unit=8, rejected=frozenset({(4, 1), (0, 3)})),
    SyntheticColumn(name="cond", channels=2, rows_per_unit=16),
)


def quiet(done: int, total: int) -> None:
    assert done <= total


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build and four small updates; generation 2 has captions, one of which somebody gave."""
    store = Store.create(tmp_path_factory.mktemp("fold") / "store")
    for runs in GENERATIONS:
        add_generation(store, runs)
    for column in COLUMNS:
        add_column(store, column)
    for generation in store.generations():
        places = [
            (row["shard"], row["row"])
            for table in iter_rows(store.folder, generation, ["shard", "row"])
            for row in table.to_pylist()
        ]
        shards, rows = zip(*places, strict=True)
        table = pa.table({"shard": shards, "row": rows, "value": [f"{p}" for p in places]})
        given = np.zeros(len(places), bool)
        given[0] = generation.number == 2
        write_annotations(store.folder, generation, "caption", [table], given=given)
    store.publish([], allow_partial=True)
    return Path(store.folder.url.removeprefix("file://"))


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Store:
    shutil.copytree(template, tmp_path / "store")
    return Store.open(tmp_path / "store")


def samples(store: Store, number: int | None = None) -> dict[str, dict[str, Any]]:
    """Return what a snapshot's live samples hold, by key."""
    loader = LatentLoader(
        store if number is None else store.folder.url,
        columns=["latents", "cond", "caption"],
        global_batch_size=1,
        one_pass=True,
        normalize=False,
    )
    return {
        batch["key"][0]: {
            name: batch[name][0] if isinstance(batch[name], list) else batch[name].numpy().tobytes()
            for name in ("latents", "cond", "caption")
        }
        for batch in loader
    }


def test_samples_are_the_same_in_fewer_shards_and_quarantine_stays(store: Store) -> None:
    before, counts = samples(store), store.snapshot().columns["latents"].entry
    would = fold_store(store, dry_run=True, on_progress=quiet)
    assert len(store.generations()) == len(GENERATIONS)
    done = fold_store(store, dry_run=False, on_progress=quiet)
    # Of squares generation 0 has full shards and stays; of wide ones all are small.
    assert (done.num_samples, done.num_shards_before, done.num_shards) == (21, 9, 2)
    assert (would.num_samples, would.num_shards) == (done.num_samples, done.num_shards)
    assert samples(store) == before
    assert verify_snapshot(store.snapshot()).ok
    after = store.snapshot().columns["latents"].entry
    assert (after.num_encoded, after.num_planned) == (counts.num_encoded, counts.num_planned)
    assert fold_store(store, dry_run=False, on_progress=quiet).num_samples == 0


def test_what_somebody_gave_is_still_marked_so(store: Store) -> None:
    fold_store(store, dry_run=False, on_progress=quiet)
    newest = store.generations()[-1]
    caption = store.annotation(newest, "caption")
    assert caption is not None
    assert int(caption.given.sum()) == 1


def test_statistics_count_each_sample_once(store: Store) -> None:
    def moments(name: str) -> tuple[int, float]:
        arrays = store.snapshot().columns[name].statistics()
        count = int(arrays["stats.z.first.count"].sum())
        return count, float((arrays["stats.z.first.mean"] * arrays["stats.z.first.count"]).sum())

    before = {column.name: moments(column.name) for column in COLUMNS}
    fold_store(store, dry_run=False, on_progress=quiet)
    for name, (count, total) in before.items():
        assert moments(name)[0] == count
        assert moments(name)[1] == pytest.approx(total)


def test_a_run_in_progress_keeps_its_order_and_moves_on_when_asked(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "latentcache")

    def loader() -> LatentLoader:
        return LatentLoader(store, columns=["latents"], global_batch_size=2, seed=5)

    begun = loader()
    list(itertools.islice(begun, 7))
    state = begun.state_dict()
    expected = [batch["row"].tolist() for batch in itertools.islice(begun, 6)]
    fold_store(store, dry_run=False, on_progress=quiet)
    resumed = loader()
    resumed.load_state_dict(state)
    assert [batch["row"].tolist() for batch in itertools.islice(resumed, 6)] == expected
    moved = loader()
    with caplog.at_level(logging.WARNING, "latentcache"):
        moved.load_state_dict(state, newest=True)
    assert any("samples that were folded" in message for message in caplog.messages)
    assert {one.stream.split("/")[1] for one in moved.coverage()} == {"0", "5"}
    drawn = {one.stream: one.num_drawn for one in moved.coverage()}
    kept = "0/0/1x32x32"
    assert drawn[kept] == json.loads(state["state"])["positions"][kept] > 0
    assert len(list(itertools.islice(moved, 10))) == 10


@pytest.mark.parametrize("lands", [True, False])
def test_killed_at_any_write_it_goes_on_and_older_snapshots_stand(
    store: Store, *, lands: bool
) -> None:
    before, older = samples(store), store.snapshot().number
    for writes in range(200):
        try:
            fold_store(
                stopping(store, writes % 9 + 1, lands=lands), dry_run=False, on_progress=quiet
            )
        except StoppedError:
            assert store.snapshot(older).number == older
            continue
        break
    assert samples(store) == before
    assert verify_snapshot(store.snapshot()).ok
    assert len(store.generations()) == len(GENERATIONS) + 1


def test_compacting_frees_what_lies_there_twice(store: Store) -> None:
    before = samples(store)
    fold_store(store, dry_run=False, on_progress=quiet)
    result = compact(store, dry_run=False, reporter=SilentReporter())
    assert result.num_samples == 21
    assert samples(store) == before
    assert verify_snapshot(store.snapshot()).ok


def test_a_sample_that_was_folded_is_taken_down_as_any_other(store: Store) -> None:
    fold_store(store, dry_run=False, on_progress=quiet)
    newest = store.generations()[-1]
    key = next(iter_rows(store.folder, newest, ["key"]))["key"][0].as_py()
    assert retire_samples(store, [key]).num_retired == 1
    assert key not in samples(store)


def test_a_column_that_is_not_complete_is_told(store: Store) -> None:
    add_generation(store, [(SQUARE, 2, 16)])
    with pytest.raises(StoreError, match="must have all planned rows"):
        fold_store(store, dry_run=False, on_progress=quiet)


def test_a_generation_that_is_retired_as_a_whole_is_no_stream(store: Store) -> None:
    keys = [
        key
        for table in iter_rows(store.folder, store.generations()[1], ["key"])
        for key in table["key"].to_pylist()
    ]
    retire_samples(store, keys)
    streams = LatentLoader(store, columns=["latents"], global_batch_size=1).coverage()
    assert {one.stream.split("/")[1] for one in streams} == {"0", "2", "3", "4"}


def test_the_command_says_what_it_would_do_and_did(store: Store) -> None:
    runner = CliRunner()
    told = [
        runner.invoke(fold, [store.folder.url, *flags], catch_exceptions=False).stdout
        for flags in (["--dry-run"], [], ["--json"])
    ]
    assert told[0].startswith("would fold 21 samples of 5 generations: 9 shards are 2")
    assert told[1].startswith("folded 21 samples of 5 generations: 9 shards are 2")
    assert "snapshot 4 serves them" in told[1]
    assert json.loads(told[2])["num_samples"] == 0
