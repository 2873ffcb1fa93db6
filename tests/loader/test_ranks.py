"""Ranks of a real process group agree on the snapshot, or stop with both sides shown."""

import json
import subprocess
import sys
from pathlib import Path

from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.loader.conftest import SQUARE

_RANK = """
import sys, itertools, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
torch.set_num_threads(1)
rank, meeting, url = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
from latentcache.loader import LatentLoader
for loader in (
    LatentLoader(url, global_batch_size=8),
    LatentLoader.from_mesh(
        url, init_device_mesh("cpu", (1, 2), mesh_dim_names=("dp", "tp")), global_batch_size=8
    ),
):
    print([batch["row"].tolist() for batch in itertools.islice(loader, 3)])
try:
    LatentLoader(url, global_batch_size=8, seed=rank)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
dist.destroy_process_group()
"""


def run_ranks(tmp_path: Path, url: Path) -> list[list[str]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK, str(rank), str(tmp_path / "meeting"), str(url)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    return [process.communicate(timeout=120)[0].splitlines() for process in processes]


def test_ranks_share_batches_or_say_why_not(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 40, 16)])
    add_column(store, SyntheticColumn())
    first, second = run_ranks(tmp_path, tmp_path / "store")
    assert len(first) == len(second) == 3
    shares = [{row for batch in json.loads(out[0]) for row in batch} for out in (first, second)]
    assert len(shares[0]) == len(shares[1]) == 12
    assert not shares[0] & shares[1]
    # Tensor-parallel neighbours get the same samples.
    assert first[1] == second[1]
    assert all(len(batch) == 8 for batch in json.loads(first[1]))
    for output in (first, second):
        assert output[2].startswith("ConfigError: order must be equal on all ranks, got ")
