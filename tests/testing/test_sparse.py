"""A sparse store is a store: a loader opens it, draws from it and resumes on it."""

from pathlib import Path

import pytest
import torch

from latentcache.loader import LatentLoader, Source
from latentcache.testing.sparse import sparse_store


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 3, 8, 8)])
def test_a_loader_draws_from_it_and_resumes_anywhere(tmp_path: Path, shape: tuple) -> None:
    snapshot = sparse_store(tmp_path, num_samples=10_000, shape=shape, rows_per_shard=256)
    assert len(snapshot.column("latents").units()) == 40
    disk = sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*.tar"))
    assert disk < snapshot.column("latents").num_bytes / 8
    loader = LatentLoader(tmp_path, global_batch_size=16, normalize=False)
    state = loader.state
    state["step"], state["positions"] = 10**7, dict.fromkeys(state["streams"], 16 * 10**7)
    loader.load_state_dict(state)
    batch = next(iter(loader))
    assert torch.equal(batch["latents"], torch.zeros((16, *shape), dtype=torch.float16))
    assert batch.state["step"] == 10**7 + 1


def test_with_plan_rows_it_can_be_split(tmp_path: Path) -> None:
    sparse_store(tmp_path, num_samples=300, shape=(4, 2, 2), with_plan_rows=True)
    source = Source(store=tmp_path, split="val", holdout=0.2)
    loader = LatentLoader(source, columns=["latents", "crop"], global_batch_size=4)
    assert next(iter(loader))["crop"].shape == (4, 2)
    assert 20 < loader.coverage()[0].num_rows < 120
