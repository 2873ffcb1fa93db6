"""A loader that is made before the process group is there draws its rank's rows all the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from latentcache.loader import LatentLoader
from latentcache.store import Store
from tests.loader.conftest import make_store

_RANK = """
import itertools, json, os, sys, torch, torch.distributed as dist
torch.set_num_threads(1)
rank, meeting, url = int(sys.argv[1]), *sys.argv[2:]
from latentcache.core.errors import LatentCacheError
from latentcache.loader import LatentLoader
loader = LatentLoader(url, global_batch_size=8)
fixed = LatentLoader(url, global_batch_size=8, rank=0, world_size=2)
assert loader.state["parts"] == [1, 1]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
print(json.dumps([batch["row"].tolist() for batch in itertools.islice(loader, 3)]))
print(json.dumps(loader.state["parts"]))
try:
    next(iter(fixed))
except LatentCacheError as error:
    print(error)
dist.destroy_process_group()
try:
    next(iter(loader))
except LatentCacheError as error:
    print(error)
sys.stdout.flush()
os._exit(0)
"""


def test_ranks_are_taken_when_iteration_begins(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    command = [sys.executable, "-c", _RANK]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meeting"), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    first, second = (one.communicate(timeout=120)[0].splitlines() for one in processes)
    whole = LatentLoader(store, global_batch_size=8)
    for one, two, batch in zip(json.loads(first[0]), json.loads(second[0]), whole, strict=False):
        assert one + two == batch["row"].tolist()
    assert first[1] == second[1] == "[2, 1]"
    assert first[2].startswith("rank must be each of 0 to 1 somewhere, got [0, 0] on the processes")
    assert "ranks must stay those with which the loader began, got rank 0 of 1" in second[3]


def test_a_launcher_without_a_process_group_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    loader = LatentLoader(store, global_batch_size=8)
    with pytest.raises(ValueError, match="got none with WORLD_SIZE 2: every rank would draw"):
        next(iter(loader))
    assert len(next(iter(LatentLoader(store, global_batch_size=8, rank=0, world_size=1)))["row"])
