"""Builds into a bucket that fails, on a Ray of two nodes and without, killed: nothing is lost.

``make test-failure`` tries all kinds.
"""

import signal
from collections.abc import Iterator

import pytest

from tests.failure.remote_stages import Disturbance, RemoteStages

pytestmark = [pytest.mark.slow, pytest.mark.s3]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteStages]:
    made = RemoteStages(tmp_path_factory.mktemp("remote"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("on_ray", "whom", "how"),
    [
        pytest.param(False, "driver", signal.SIGKILL, id="driver"),
        pytest.param(
            True, "encode actor", signal.SIGSTOP, id="stopped-actor", marks=pytest.mark.ray
        ),
        pytest.param(True, "raylet of a node", signal.SIGKILL, id="raylet", marks=pytest.mark.ray),
    ],
)
def test_a_disturbed_build_into_a_bucket_is_finished_by_the_next_one(
    on_ray: bool, whom: str, how: int, stages: RemoteStages
) -> None:
    stages.disturb_and_recover(Disturbance(on_ray, whom, how, after_s=0.5))
    assert stages.num_faults() > 0
