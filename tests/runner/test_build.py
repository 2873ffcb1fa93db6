"""The main job: running it again finishes what is missing and changes nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.core.errors import RunError
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    SilentReporter,
    encode_column,
    plan_corpus,
)
from latentcache.store import Store, verify_snapshot

pytestmark = pytest.mark.slow

Build = Callable[..., EncodeResult]
Digests = Callable[[Path | str], dict[str, tuple[str, str]]]

_ONE_ACTOR = Resources(num_actors=1)
"""Half the processes to start, where their number is not the point."""


@pytest.fixture(scope="module")
def built(
    drawn_corpus: Path, build_store: Build, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EncodeResult]:
    store = tmp_path_factory.mktemp("built") / "store"
    return store, build_store(drawn_corpus, store)


@pytest.fixture
def own_store(built: tuple[Path, EncodeResult], tmp_path: Path) -> Path:
    """A copy of the built store that a test may change."""
    shutil.copytree(built[0], tmp_path / "store")
    return tmp_path / "store"


def test_a_finished_build_is_whole_and_verified(built: tuple[Path, EncodeResult]) -> None:
    store, result = built
    assert (result.planned, result.encoded, result.missing) == (120, 120, 0)
    report = verify_snapshot(Store.open(store).snapshot())
    assert (report.ok, report.num_samples, report.damaged) == (True, 120, ())


def test_captions_beside_the_pictures_become_annotations(
    built: tuple[Path, EncodeResult], drawn_corpus: Path
) -> None:
    store = Store.open(built[0])
    (generation,) = store.generations()
    captions = store.annotation(generation, "caption")
    assert captions is not None
    (unit, *_) = generation.units(rows_per_unit=16)
    row = store.read_rows(unit).to_pylist()[0]
    expected = (drawn_corpus / row["path"]).with_suffix(".txt").read_text().strip()
    assert captions.value(row["shard"], row["row"]) == expected


def test_running_again_encodes_nothing_and_publishes_nothing(
    built: tuple[Path, EncodeResult], drawn_corpus: Path, build_store: Build
) -> None:
    store, first = built
    again = build_store(drawn_corpus, store, resources=_ONE_ACTOR)
    assert (again.newly_encoded, again.snapshot) == (0, first.snapshot)


def test_number_of_actors_changes_no_byte(
    built: tuple[Path, EncodeResult],
    drawn_corpus: Path,
    build_store: Build,
    chosen_digests: Digests,
    tmp_path: Path,
) -> None:
    resources = Resources(num_actors=1, units_in_flight=1)
    build_store(drawn_corpus, tmp_path / "store", resources=resources)
    assert chosen_digests(tmp_path / "store") == chosen_digests(built[0])


def test_a_lost_tar_is_repaired_to_the_same_bytes(
    built: tuple[Path, EncodeResult], own_store: Path, chosen_digests: Digests
) -> None:
    store = own_store
    entry = Store.open(store).snapshot().columns["latents"].units()[2]
    assert entry.tar is not None
    (store / entry.tar.name).unlink()
    report = verify_snapshot(Store.open(store).snapshot())
    damaged = frozenset(each.unit for each in report.damaged if each.unit is not None)
    assert damaged == {entry.unit.unit}
    request = EncodeRequest(
        column="latents", encode=EncodeOptions(), resources=_ONE_ACTOR, rerun=damaged
    )
    encode_column(str(store), request, reporter=SilentReporter())
    snapshot = Store.open(store).snapshot()
    assert verify_snapshot(snapshot).ok
    assert snapshot.number == 2
    assert chosen_digests(store) == chosen_digests(built[0])


def test_a_repair_never_replaces_a_unit_by_a_poorer_one(
    drawn_corpus: Path, own_store: Path, tmp_path: Path
) -> None:
    corpus, store = tmp_path / "corpus", own_store
    shutil.copytree(drawn_corpus, corpus)
    before = Store.open(store).snapshot().columns["latents"].units()
    for path in sorted(corpus.glob("*.jpg"))[::2]:
        path.unlink()
    request = EncodeRequest(
        column="latents",
        encode=EncodeOptions(),
        resources=_ONE_ACTOR,
        corpus_url=str(corpus),
        rerun=frozenset({before[0].unit.unit, before[1].unit.unit}),
    )
    with pytest.raises(RunError, match="must not lose samples"):
        encode_column(str(store), request, reporter=SilentReporter())
    assert Store.open(store).snapshot().columns["latents"].units() == before


def test_a_commit_whose_tar_is_gone_before_any_snapshot_is_encoded_again(
    drawn_corpus: Path, own_store: Path, build_store: Build
) -> None:
    store = own_store
    entry = Store.open(store).snapshot(1).columns["latents"].units()[1]
    shutil.rmtree(store / "snapshots")
    assert entry.tar is not None
    (store / entry.tar.name).unlink()
    result = build_store(drawn_corpus, store, resources=_ONE_ACTOR)
    assert (result.encoded, result.missing) == (120, 0)
    assert result.newly_encoded == entry.num_present
    assert verify_snapshot(Store.open(store).snapshot()).ok


def test_a_file_that_was_away_for_a_moment_is_encoded_by_a_retry(
    drawn_corpus: Path, build_store: Build, tmp_path: Path
) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    shutil.copytree(drawn_corpus, corpus)
    resources = Resources(num_actors=1, max_quarantine=1.0)
    plan = PlanRequest(
        corpus_url=str(corpus),
        options=PlanOptions(resolution_px=64, rows_per_shard=16),
        resources=resources,
    )
    plan_corpus(str(store), plan, reporter=SilentReporter())
    away = sorted(corpus.glob("*.png"))[0]
    away.rename(tmp_path / "away.png")
    assert build_store(corpus, store, resources=resources).quarantined == 1
    (tmp_path / "away.png").rename(away)
    request = EncodeRequest(
        column="latents", encode=EncodeOptions(), resources=resources, retry_quarantined=True
    )
    result = encode_column(str(store), request, reporter=SilentReporter())
    assert (result.encoded, result.quarantined) == (120, 0)


def test_a_swap_serves_the_new_encoder_and_keeps_the_old_snapshot(own_store: Path) -> None:
    store = Store.open(own_store)
    before = store.snapshot()
    request = EncodeRequest(
        column="latents", encode=EncodeOptions(encoder="dct:keep=4"), resources=_ONE_ACTOR
    )
    result = encode_column(str(own_store), request, reporter=SilentReporter())
    after = store.snapshot()
    assert result.snapshot == after.number == before.number + 1
    old, new = before.columns["latents"], after.columns["latents"]
    assert old.record.fingerprint != new.record.fingerprint
    assert store.snapshot(before.number).columns["latents"].record == old.record
    assert verify_snapshot(store.snapshot(before.number)).ok
    keys = [[key for key, *_ in view.iter_samples()] for view in (old, new)]
    assert keys[0] == keys[1]
    assert len(store.generations()) == 1


@pytest.mark.s3
def test_a_store_on_s3_has_the_same_bytes_as_a_local_one(
    drawn_corpus: Path,
    built: tuple[Path, EncodeResult],
    build_store: Build,
    chosen_digests: Digests,
    s3_url: str,
) -> None:
    build_store(drawn_corpus, f"{s3_url}/store", resources=_ONE_ACTOR)
    local = Store.open(built[0]).snapshot(1).columns["latents"]
    expected = {
        str(each.unit.unit): (each.tar.sha256 if each.tar else "", each.meta.sha256)
        for each in local.units()
    }
    assert chosen_digests(f"{s3_url}/store") == expected
    assert verify_snapshot(Store.open(f"{s3_url}/store").snapshot()).ok
