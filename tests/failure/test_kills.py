"""Real processes killed in the life of a store, at drawn points: nothing is lost.

``make test-failure`` tries all of them.
"""

import os
import random
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.failure.stages import Point, Stages

pytestmark = pytest.mark.slow

_NUM_NAMED, _NUM_RANDOM = 4, 1
_SEED = int(os.environ.get("KILLS_SEED", "1"))


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    made = Stages(tmp_path_factory.mktemp("stages"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def points(stages: Stages) -> list[Point]:
    draw = random.Random(_SEED)
    named = stages.named_points(draw)[:_NUM_NAMED]
    return [*named, *islice(stages.random_points(draw), _NUM_RANDOM)]


@pytest.mark.parametrize("number", range(_NUM_NAMED + _NUM_RANDOM))
def test_a_killed_run_is_finished_by_the_next_one(
    number: int, stages: Stages, points: list[Point]
) -> None:
    stages.disturb_and_recover(points[number])


def test_two_drivers_of_one_store_make_what_one_makes(stages: Stages) -> None:
    store = stages.fresh("build")
    arguments = stages.arguments("build", store)
    runs = [stages.launcher.start(arguments, store, is_alone=False) for _ in range(2)]
    for code, said in [run.wait() for run in runs]:
        assert code == 0, said
        assert "Traceback" not in said, said
    stages.check("build", store)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_disk_that_fills_is_one_sentence_and_the_next_run_goes_on(
    stages: Stages, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        store = disk / "store"
        code, said = stages.launcher.start(stages.arguments("build", store), store).wait()
        assert code == 1, said
        assert "Traceback" not in said, said
        assert said.splitlines()[-1].startswith("error: destination must have room, got"), said
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        stages.check_recovery("build", store)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
