"""One of two ranks, started by test_ranks.py: goes on from a checkpoint and tells its losses."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from latentcache.core.errors import LatentCacheError
from latentcache.train import StepFacts
from tests.train.conftest import tiny_trainer


def main(folder: Path, store: str, rank: int) -> None:
    """Train from step 2 to the end, and write what happened to ``rank<rank>.json``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    trainer = tiny_trainer(store, micro_batches=2)
    trainer.load(folder / "one_rank.safetensors")
    found: list[StepFacts] = []
    trainer.run(until_step=4, on_step=found.append, with_samples=True)
    trainer.save(folder / "two_ranks.safetensors")
    try:
        trainer.save(folder / "one_rank.safetensors" / "below_a_file")
        refused = ""
    except LatentCacheError as error:
        refused = str(error)
    if rank == 1:
        trainer.stop()
    trainer.run(until_step=9)
    told = {
        "losses": [facts.loss for facts in found],
        "samples": [[(one.key, one.loss) for one in facts.samples] for facts in found],
        "refused": refused,
        "stopped_at": trainer.step,
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
