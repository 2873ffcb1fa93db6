"""Gathering: what a page says is what the store holds."""

from pathlib import Path

import numpy as np
import pytest

from latentcache.demo.kill_test import Build, compare
from latentcache.evaluate import load_recorded_encoder
from latentcache.report.pages import stats_page
from latentcache.report.read_facts import read_store_page
from latentcache.report.reconstructions import read_reconstructions
from latentcache.store import Store
from tests.evaluate.drawn_store import NUM_BROKEN, NUM_GOOD, build_drawn_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_drawn_store(Path(tmp_path_factory.mktemp("drawn")))


def test_facts_are_those_of_the_snapshot(store: Store) -> None:
    facts = read_store_page(store.snapshot(), "latents")
    column = facts.column
    assert (column.num_encoded, column.num_quarantined) == (NUM_GOOD, NUM_BROKEN)
    assert column.num_planned == NUM_GOOD + NUM_BROKEN
    assert column.encoder == "dct"
    assert len(facts.quarantine) == NUM_BROKEN
    assert all(row.source.startswith("broken_") for row in facts.quarantine)
    planned = sum(bucket.num_samples for bucket in facts.buckets)
    refused = sum(row.stage == "scan" for row in facts.quarantine)
    assert planned + refused == column.num_planned


def test_histograms_count_every_stored_value(store: Store) -> None:
    snapshot = store.snapshot()
    (field,) = read_store_page(snapshot, "latents").fields
    stored = [fields["z"] for _, _, _, fields in snapshot.column("latents").iter_samples()]
    for channel in field.channels:
        values = np.concatenate([np.asarray(one[channel.index]).ravel() for one in stored])
        assert int(channel.count.sum()) == values.size
        assert channel.maximum == values.max()
        assert channel.mean == pytest.approx(values.astype(np.float64).mean(), rel=1e-9)


def test_reconstructions_are_decoded_from_the_store(store: Store) -> None:
    snapshot = store.snapshot()
    encoder = load_recorded_encoder(snapshot.column("latents").record, device="cpu")
    rows = read_reconstructions(snapshot, "latents", encoder, num_samples=4)
    assert len(rows) == 4
    for row in rows:
        assert row.original.shape == row.decoded.shape
        assert row.latent is not None
        assert row.latent.shape[0] == row.original.shape[0] // 8
        assert 20 < row.psnr_db < 60
        assert row.title
    page = stats_page(read_store_page(snapshot, "latents", reconstructions=rows))
    assert page.count("data:image/png") == 12


def test_kill_test_sees_a_flipped_byte_that_no_record_mentions(
    store: Store, tmp_path: Path
) -> None:
    other = build_drawn_store(tmp_path)
    build = Build(arguments=["build"], store=Path(other.folder.url), log=tmp_path / "log")
    undisturbed = Path(store.folder.url)
    test = compare(undisturbed, build, "latents", committed=frozenset())
    assert test.num_equal == len(test.units) > 1
    tar = next(Path(other.folder.url).glob("encodings/*/*/shards/*.tar"))
    damaged = bytearray(tar.read_bytes())
    damaged[700] ^= 1
    tar.write_bytes(damaged)
    test = compare(undisturbed, build, "latents", committed=frozenset())
    assert test.num_equal == len(test.units) - 1
