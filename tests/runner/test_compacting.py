"""What was taken down is in no object of the store once it was compacted."""

import os
import shutil
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from latentcache.loader import LatentLoader, Source
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    compact,
    encode_column,
    retire_samples,
)
from latentcache.stats import merge_arrays
from latentcache.store import Store, collect_garbage, verify_snapshot
from latentcache.store.units import iter_unit
from tests.store.stopping import StoppedError, stopping

GONE = ("cats/3.png", "dogs/4.png")
WORDS = "latentcache.testing.text_fakes:WordTower"


def encode(column: str, **options: object) -> EncodeRequest:
    return EncodeRequest(column=column, encode=EncodeOptions(**options), resources=Resources())


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with a store of two columns, one of moments and one of drawn latents."""
    root = tmp_path_factory.mktemp("compact")
    for kind, seed in (("cats", 0), ("dogs", 100)):
        (root / "corpus" / kind).mkdir(parents=True)
        for number in range(12):
            draw = np.random.default_rng(seed + number)
            pixels = draw.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "corpus" / kind / f"{number}.png")
            text = f"the {kind} of number {number}, a sentence that nobody else wrote"
            (root / "corpus" / kind / f"{number}.txt").write_text(text)
    plan = PlanRequest(
        corpus_url=str(root / "corpus"),
        options=PlanOptions(resolution_px=64, rows_per_shard=8),
        resources=Resources(),
    )
    build(str(root / "store"), plan, encode("latents", encoder="dct"), reporter=SilentReporter())
    other = encode("small", encoder="dct:block=4")
    encode_column(str(root / "store"), other, reporter=SilentReporter())
    return root


@pytest.fixture
def store(pristine: Path, tmp_path: Path) -> Store:
    shutil.copytree(pristine / "store", tmp_path / "store")
    return Store.open(tmp_path / "store")


def latents(store: Store, column: str = "latents") -> dict[str, bytes]:
    """Return every live sample's stored fields by key."""
    found = {}
    retired = {
        (shard, row)
        for generation in store.generations()
        for shard, row in _retired(store, generation)
    }
    for entry in store.snapshot().column(column).units():
        for sample in iter_unit(store.folder, entry, column=column):
            if (entry.unit.unit.shard, sample.row) not in retired:
                found[sample.key] = b"".join(
                    np.asarray(v).tobytes() for v in sample.fields.values()
                )
    return found


def _retired(store: Store, generation: object) -> list[tuple[int, int]]:
    from latentcache.store.rows import read_retired  # noqa: PLC0415

    table: pa.Table = read_retired(store.folder, generation)
    return list(zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True))


def secrets_of(store: Store) -> list[bytes]:
    """Return what nobody may find any more: latents of both columns, and captions."""
    found = []
    for column in ("latents", "small"):
        keys = _keys(store)
        stored = latents(store, column)
        found += [stored[keys[path]] for path in GONE]
    for path in GONE:
        kind, number = path.removesuffix(".png").split("/")
        found.append(f"the {kind} of number {number}, a sentence that".encode())
    return found


def _keys(store: Store) -> dict[str, str]:
    (generation,) = store.generations()[:1]
    rows = [
        row
        for unit in generation.units(rows_per_unit=8)
        for row in store.read_rows(unit, ["path", "key"]).to_pylist()
    ]
    return {row["path"]: row["key"] for row in rows}


def holding(store: Store, secrets: list[bytes]) -> set[str]:
    """Return the files that hold a secret, or a good part of one."""
    parts = [part for secret in secrets for part in (secret[:48], secret[-48:])]
    root = Path(store.folder.url)
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {
        str(path.relative_to(root))
        for path, data in files.items()
        if any(part in data for part in parts)
    }


def age(store: Store) -> None:
    """Make all that is there two days old."""
    then_s = time.time() - 2 * 86400
    for path in Path(store.folder.url).rglob("*"):
        os.utime(path, (then_s, then_s))


def swept(store: Store) -> None:
    """Compact, and collect garbage as ``gc --compact --delete`` does, with days in between."""
    for _ in range(2):
        done = compact(store, dry_run=False, reporter=SilentReporter())
        collect_garbage(store, retire=done.showing, dry_run=False)
        age(store)
    collect_garbage(store, dry_run=False)


def test_no_object_holds_what_was_taken_down_and_all_else_is_as_it_was(store: Store) -> None:
    secrets, before = secrets_of(store), latents(store)
    assert len(holding(store, secrets)) >= 4
    retire_samples(store, GONE)
    kept = latents(store)
    swept(store)
    assert holding(store, secrets) == set()
    assert latents(store) == kept
    assert len(before) - len(kept) == 2
    snapshot = store.snapshot()
    assert snapshot.column("latents").entry.num_encoded == 22
    assert snapshot.column("latents").entry.num_missing == 0
    assert verify_snapshot(snapshot).ok
    loader = LatentLoader(
        Source(store=store.folder.url), columns=["latents", "caption"], global_batch_size=1,
        seed=0, one_pass=True,
    )  # fmt: skip
    assert {batch["key"][0] for batch in loader} == set(kept)
    done = compact(store, dry_run=False, reporter=SilentReporter())
    assert (done.num_units, done.num_values, done.left, done.showing) == (0, 0, (), ())


def test_statistics_are_those_of_the_samples_that_stay(store: Store, pristine: Path) -> None:
    retire_samples(store, GONE)
    swept(store)
    for column in ("latents", "small"):
        view = store.snapshot().column(column)
        found = view.statistics()
        name = next(each for each in found if each.endswith(".first.num_samples"))
        assert found[name].tolist() == [22]
        merged = merge_arrays([found])
        mean = next(each for each in merged if each.endswith(".first.mean"))
        values = np.stack(
            [
                np.asarray(next(iter(sample.fields.values())), np.float64)
                for entry in view.units()
                for sample in iter_unit(store.folder, entry, column=column)
            ]
        )
        assert np.allclose(values.mean((0, 2, 3)), found[mean], atol=1e-6)


def test_a_dry_run_writes_nothing_and_says_what_would_go(store: Store) -> None:
    retire_samples(store, GONE)
    root = Path(store.folder.url)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    done = compact(store, dry_run=True, reporter=SilentReporter())
    assert done.num_samples == 2  # of each of two columns
    assert done.num_values >= 2
    assert done.showing == (1, 2, 3)
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert before == after


def test_a_run_that_reads_an_older_snapshot_is_not_disturbed(store: Store) -> None:
    source = Source(store=store.folder.url, snapshot=2)
    options = {"columns": ["latents", "caption"], "global_batch_size": 4, "seed": 1}
    expected = [
        batch["latents"].clone()
        for batch, _ in zip(LatentLoader(source, **options), range(12), strict=False)
    ]
    reading = iter(LatentLoader(source, **options))
    found = [next(reading)["latents"].clone() for _ in range(3)]
    retire_samples(store, GONE)
    done = compact(store, dry_run=False, reporter=SilentReporter())
    collect_garbage(store, retire=done.showing, dry_run=False)
    found += [next(reading)["latents"].clone() for _ in range(9)]
    assert all(bool((a == b).all()) for a, b in zip(expected, found, strict=True))


def test_what_an_encoding_holds_that_nobody_serves_goes_too(store: Store) -> None:
    secret = latents(store)[_keys(store)[GONE[0]]]
    swap = replace(encode("latents", encoder="dct:block=16"), may_replace=True)
    encode_column(store.folder.url, swap, reporter=SilentReporter())
    retire_samples(store, GONE)
    swept(store)
    assert holding(store, [secret]) == set()
    assert len(store.encodings("latents")) == 2


@pytest.mark.parametrize("lands", [True, False])
def test_killed_at_any_write_it_loses_nothing_and_goes_on(store: Store, lands: bool) -> None:
    secrets = secrets_of(store)
    retire_samples(store, GONE)
    kept = latents(store)
    for writes in range(100):  # each goes on from wherever the one before was stopped
        try:
            compact(stopping(store, writes, lands=lands), dry_run=False, reporter=SilentReporter())
        except StoppedError:
            assert latents(store) == kept
            continue
        break
    assert 4 < writes < 100
    assert verify_snapshot(store.snapshot()).ok
    swept(store)
    assert latents(store) == kept
    assert holding(store, secrets) == set()


def test_a_unit_whose_samples_are_all_gone_has_no_tar(store: Store) -> None:
    first = store.snapshot().column("latents").units()[0]
    names = [s.key for s in iter_unit(store.folder, first, column="latents")]
    retire_samples(store, names)
    swept(store)
    unit = store.snapshot().column("latents").units()[0]
    assert unit.num_present == 0
    assert unit.tar is None
    assert len(latents(store)) == 24 - len(names)
    assert verify_snapshot(store.snapshot()).ok
    tars = list(Path(store.folder.url).glob("encodings/*/*/shards/*.tar"))
    with tarfile.open(tars[0]) as tar:
        assert not {each.name.partition(".")[0] for each in tar.getmembers()} & set(names)


def keys_in_tars(store: Store, column: str) -> set[str]:
    """Return the samples that any tar of a column holds."""
    found: set[str] = set()
    for path in Path(store.folder.url).glob(f"encodings/{column}/*/shards/*.tar"):
        with tarfile.open(path) as tar:
            found |= {each.name.partition(".")[0] for each in tar.getmembers()}
    return found


def test_what_was_retired_is_not_encoded_into_new_columns(store: Store) -> None:
    url, keys = store.folder.url, _keys(store)
    gone = {keys[path] for path in GONE}
    retire_samples(store, GONE)
    for request in (
        encode("third", encoder="dct:block=16"),
        encode("text", encoder=WORDS, input="text:caption"),
    ):
        encode_column(url, request, reporter=SilentReporter())
        entry = store.snapshot().column(request.column).entry
        assert (entry.num_encoded, entry.num_quarantined, entry.num_missing) == (22, 0, 0)
        assert keys_in_tars(store, request.column) == set(keys.values()) - gone
    assert verify_snapshot(store.snapshot()).ok


def test_text_columns_are_compacted_and_not_stale_afterwards(store: Store) -> None:
    url, keys = store.folder.url, _keys(store)
    request = encode("text", encoder=WORDS, input="text:caption")
    encode_column(url, request, reporter=SilentReporter())
    retire_samples(store, GONE)
    swept(store)
    assert keys_in_tars(store, "text") == set(keys.values()) - {keys[path] for path in GONE}
    again = encode_column(url, request, reporter=SilentReporter())
    assert again.newly_encoded == 0
    assert verify_snapshot(store.snapshot()).ok


def test_a_sample_that_two_generations_held_is_gone_from_both(
    store: Store, pristine: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(pristine / "corpus", corpus)
    secrets = secrets_of(store)
    draw = np.random.default_rng(9000)
    Image.fromarray(draw.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(corpus / GONE[0])
    plan = PlanRequest(
        corpus_url=str(corpus),
        options=PlanOptions(resolution_px=64, rows_per_shard=8),
        resources=Resources(),
        update=True,
    )
    request = encode("latents", encoder="dct")
    build(store.folder.url, plan, request, reporter=SilentReporter())
    assert len(store.generations()) == 2
    units = store.snapshot().column("latents").units()
    newest = next(iter_unit(store.folder, units[-1], column="latents"))
    secrets.append(b"".join(np.asarray(v).tobytes() for v in newest.fields.values()))
    assert retire_samples(store, GONE).num_retired == 2
    swept(store)
    assert holding(store, secrets) == set()
    assert verify_snapshot(store.snapshot()).ok
