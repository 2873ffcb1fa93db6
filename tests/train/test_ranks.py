"""Two ranks train what one does: the same samples, losses and weights, over checkpoints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader
from latentcache.train import StepFacts, Trainer, TrainOptions
from tests.train.conftest import tiny_dit, tiny_trainer

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_two_ranks_go_on_where_one_stood_and_one_where_two_did(
    image_store: str, tmp_path: Path
) -> None:
    straight: list[StepFacts] = []
    trainer = tiny_trainer(image_store)
    trainer.run(until_step=2)
    trainer.save(tmp_path / "one_rank.safetensors")
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.train.rank_worker", tmp_path, image_store, str(rank)],
            cwd=REPOSITORY,
        )
        for rank in range(2)
    ]
    trainer.run(until_step=6, on_step=straight.append, with_samples=True)
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    told = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]

    losses = [facts.loss for facts in straight]
    for theirs in told:
        assert theirs["losses"] == pytest.approx(losses[:2], rel=1e-4)
        for facts, samples in zip(straight, theirs["samples"], strict=False):
            expected = {one.key: one.loss for one in facts.samples}
            assert dict(samples) == pytest.approx(expected, rel=1e-3)
    assert "below_a_file" in told[0]["refused"]
    assert "rank 0 must finish" in told[1]["refused"]
    assert [theirs["stopped_at"] for theirs in told] == [5, 5]

    alone: list[StepFacts] = []
    one = tiny_trainer(image_store)
    one.load(tmp_path / "two_ranks.safetensors")
    one.run(until_step=6, on_step=alone.append, with_samples=True)
    assert [facts.loss for facts in alone] == pytest.approx(losses[2:], rel=1e-3)
    for facts, again in zip(straight[2:], alone, strict=True):
        assert [each.key for each in facts.samples] == [each.key for each in again.samples]


def test_a_loader_for_other_ranks_is_refused(image_store: str) -> None:
    loader = LatentLoader(image_store, global_batch_size=8, rank=0, world_size=2)
    with pytest.raises(ConfigError, match="world_size of the loader must be that of the process"):
        Trainer(tiny_dit(num_classes=None), loader, TrainOptions())
