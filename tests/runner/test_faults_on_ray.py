"""An encoder that ends its process ends an actor of Ray's: the same as without Ray comes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.runner import EncodeResult, Resources
from tests.runner.test_faults import check_costs_itself_alone

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

_CRASHING = "latentcache.testing.fakes:CrashingEncoder"


def test_a_sample_that_kills_its_actor_costs_itself_alone(
    marked_corpus: Path, undisturbed: Path, build_store: Callable[..., EncodeResult], tmp_path: Path
) -> None:
    result = build_store(marked_corpus, tmp_path / "store", _CRASHING)
    check_costs_itself_alone(tmp_path / "store", result, "crashed: the encoder dies", undisturbed)


def test_a_crash_that_passes_changes_no_byte(
    marked_corpus: Path,
    undisturbed: Path,
    build_store: Callable[..., EncodeResult],
    chosen_digests: Callable[[Path], dict[str, tuple[str, str]]],
    tmp_path: Path,
) -> None:
    build_store(marked_corpus, tmp_path / "store", f"{_CRASHING}:once={tmp_path / 'struck'}")
    assert (tmp_path / "struck").exists(), "the fault never happened"
    assert chosen_digests(tmp_path / "store") == chosen_digests(undisturbed)


def test_a_hanging_encoder_is_found_on_ray_too(
    marked_corpus: Path, build_store: Callable[..., EncodeResult], tmp_path: Path
) -> None:
    result = build_store(
        marked_corpus,
        tmp_path / "store",
        "latentcache.testing.fakes:HangingEncoder",
        resources=Resources(num_actors=1, batch_time_limit_s=2.0),
    )
    assert (result.encoded, result.quarantined) == (120, 1)
