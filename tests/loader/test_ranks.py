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
rank, meeting, url, mode = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
from latentcache.loader import LatentLoader
try:
    if mode == "mesh":
        mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("dp", "tp"))
        loader = LatentLoader.from_mesh(url, mesh, dp="dp", global_batch_size=8)
    else:
        seed = rank if mode == "seeds" else 0
        loader = LatentLoader(url, global_batch_size=8, seed=seed)
    for batch in itertools.islice(loader, 2):
        print(batch["row"].tolist())
except Exception as error:
    print(f"{type(error).__name__}: {error}")
dist.destroy_process_group()
"""


def run_ranks(tmp_path: Path, url: Path, mode: str) -> list[str]:
    command = [sys.executable, "-c", _RANK]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / f"meeting-{mode}"), str(url), mode],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    return [process.communicate(timeout=120)[0] for process in processes]


def test_ranks_share_batches_or_say_why_not(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(SQUARE, 40, 16)])
    add_column(store, SyntheticColumn())
    first, second = (out.splitlines() for out in run_ranks(tmp_path, tmp_path / "store", "plain"))
    assert len(first) == len(second) == 2
    assert not set(json.loads(first[0])) & set(json.loads(second[0]))
    one, two = run_ranks(tmp_path, tmp_path / "store", "mesh")
    assert one == two
    assert len(one.splitlines()) == 2
    for output in run_ranks(tmp_path, tmp_path / "store", "seeds"):
        assert output.startswith("ConfigError: order must be equal on all ranks, got ")
