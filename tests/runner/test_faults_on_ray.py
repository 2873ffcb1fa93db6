"""An encoder that ends its process ends an actor of Ray's: the same as without Ray comes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.runner import EncodeResult
from tests.runner.test_faults import check_costs_itself_alone

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

_CRASHING = "latentcache.testing.fakes:CrashingEncoder"


def test_a_sample_that_kills_its_actor_costs_itself_alone(
    marked_corpus: Path, undisturbed: Path, build_store: Callable[..., EncodeResult], tmp_path: Path
) -> None:
    result = build_store(marked_corpus, tmp_path / "store", _CRASHING)
    check_costs_itself_alone(tmp_path / "store", result, "crashed: the encoder dies", undisturbed)
