"""Columns whose samples vary in size come as lists of tensors, each the sample's own."""

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.core.rejects import Reject
from latentcache.loader import LatentLoader
from latentcache.stats import UnitStatistics, merge_arrays
from latentcache.store import ColumnChange, Provenance, Store, UnitWriter
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation

SQUARE = Bucket(1, 32, 32)
LOST = Reject(code="truncated", stage="decode", reason="the pixels end early")


def length_of(shard: int, row: int) -> int:
    return 1 + (7 * shard + 3 * row) % 5


def values_of(shard: int, row: int, length: int) -> np.ndarray:
    draw = np.random.default_rng(100 * shard + row)
    return draw.normal(size=(length, 6)).astype(np.float16)


def add_embeds(store: Store, *, is_varying: bool = True) -> None:
    """Write a column of embeddings, unit by unit, one row of each shard lost."""
    field = Field(name="z", kind="point", axes="NC", channels=6, dtype="float16")
    record = SyntheticColumn(name="embeds", rows_per_unit=8).record()
    store.write_encoding(replace(record, fields=(field,), fingerprint="ab" * 16))
    record = store.read_encoding("embeds", "ab" * 16)
    (generation,) = store.generations()
    provenance = Provenance(generation_digest=generation.digest, software={})
    for unit in store.units(record):
        keys = store.read_rows(unit, ["key"])["key"].to_pylist()
        with UnitWriter(store.folder, record, unit, provenance=provenance) as writer:
            for index, key in enumerate(keys):
                shard, row = unit.unit.shard, unit.first_row + index
                if row == 3:
                    writer.reject(row, LOST)
                    continue
                length = length_of(shard, row) if is_varying else 4
                digest = hashlib.sha256(key.encode()).digest()[:16]
                writer.add(row, key, {"z": values_of(shard, row, length)}, digest)
            writer.finish(UnitStatistics(record.fields, "point").arrays())
    store.publish([ColumnChange(record=record, merge_statistics=merge_arrays)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("varying") / "store")
    add_generation(store, [(SQUARE, 40, 16)])
    add_column(store, SyntheticColumn(rows_per_unit=16))
    add_embeds(store)
    return store


@pytest.mark.parametrize("columns", [["latents", "embeds"], ["embeds", "latents"]])
def test_each_sample_has_its_own_length(store: Store, columns: list[str]) -> None:
    loader = LatentLoader(store, columns=columns, global_batch_size=8, normalize=False)
    alone = LatentLoader(store, columns=["latents"], global_batch_size=8, normalize=False)
    view = store.snapshot().column("embeds")
    num_substituted = 0
    for batch, latents in itertools.islice(zip(loader, alone, strict=True), 12):
        embeds = batch["embeds"]
        assert isinstance(embeds, list)
        for number, key, found in zip(batch["row"].tolist(), batch["key"], embeds, strict=True):
            shard, row = divmod(number, 16)
            expected = values_of(shard, row, length_of(shard, row))
            assert found.dtype == torch.float16
            assert np.array_equal(found.numpy(), expected)
            assert view.read_row(shard, row).key == key
        is_same = batch["row"] == latents["row"]
        assert torch.equal(batch["latents"][is_same], latents["latents"][is_same])
        num_substituted += batch.facts.num_substituted
        assert int((~is_same).sum()) == batch.facts.num_substituted
    assert num_substituted
    assert set(loader.shapes()["1x32x32"]) == {"latents"}


def test_equal_lengths_come_as_one_tensor(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 20, 16)])
    add_column(store, SyntheticColumn())
    add_embeds(store, is_varying=False)
    batch = next(iter(LatentLoader(store, columns=["latents", "embeds"], global_batch_size=4)))
    assert batch["embeds"].shape == (4, 4, 6)
    for number, found in zip(batch["row"].tolist(), batch["embeds"], strict=True):
        assert np.array_equal(found.numpy(), values_of(*divmod(number, 16), 4))


def test_what_is_trained_on_has_one_shape(store: Store) -> None:
    with pytest.raises(ConfigError, match="embeds must have one shape in bucket 1x32x32"):
        LatentLoader(store, columns=["embeds"], global_batch_size=4)
