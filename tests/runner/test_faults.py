"""Promises 1 and 7: whatever an encoder or a file does, it costs its own sample, with a reason."""

from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.core.errors import EncoderError, RunError, StoreError
from latentcache.runner import EncodeResult, Resources
from latentcache.store import Store
from latentcache.testing.drawn import marked_picture, write_drawn_corpus

pytestmark = pytest.mark.slow

Build = Callable[..., EncodeResult]
Digests = Callable[[Path], dict[str, tuple[str, str]]]
_FAKES = "latentcache.testing.fakes"

_ONE_ACTOR = Resources(num_actors=1)
"""Half the processes to start, where their number is not the point."""


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        pytest.param("OverflowEncoder", "non_finite: its latent overflows", id="overflow"),
        pytest.param("RefusingEncoder", "encoder_failed: the encoder fails", id="value-error"),
        pytest.param("CrashingEncoder", "crashed: the encoder dies", id="kills-its-process"),
        pytest.param("StickyEncoder", "crashed: the encoder dies", id="breaks-its-device"),
    ],
)
def test_a_poisonous_sample_costs_itself_alone(
    fake: str,
    reason: str,
    marked_corpus: Path,
    undisturbed: Path,
    build_store: Build,
    tmp_path: Path,
) -> None:
    # Where actors die, two of them: what the other one finishes between is progress.
    resources = None if reason.startswith("crashed") else _ONE_ACTOR
    store = tmp_path / "store"
    result = build_store(marked_corpus, store, f"{_FAKES}:{fake}", resources=resources)
    check_costs_itself_alone(store, result, reason, undisturbed)


def check_costs_itself_alone(
    store: Path, result: EncodeResult, reason: str, undisturbed: Path
) -> None:
    """Check that the marked picture alone is in quarantine, and the others as they were."""
    assert (result.planned, result.encoded, result.quarantined) == (121, 120, 1)
    view = Store.open(store).snapshot().columns["latents"]
    (row,) = view.quarantine().to_pylist()
    assert (row["path"], row["stage"]) == ("marked.png", "encode")
    assert f"{row['code']}: {row['reason']}".startswith(reason)
    good = Store.open(undisturbed).snapshot().columns["latents"]
    expected = {key: fields["z"].data for key, _, _, fields in good.iter_samples()}
    del expected[row["key"]]
    assert {key: fields["z"].data for key, _, _, fields in view.iter_samples()} == expected


@pytest.mark.parametrize(
    "fake",
    [
        pytest.param("CrashingEncoder", id="one-crash"),
        pytest.param("OutOfMemoryEncoder", id="one-out-of-memory"),
    ],
)
def test_a_passing_fault_changes_no_byte(
    fake: str,
    marked_corpus: Path,
    undisturbed: Path,
    build_store: Build,
    chosen_digests: Digests,
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    build_store(marked_corpus, store, f"{_FAKES}:{fake}:once={tmp_path / 'struck'}")
    assert (tmp_path / "struck").exists(), "the fault never happened"
    assert chosen_digests(store) == chosen_digests(undisturbed)


def test_a_hanging_encoder_is_found_and_its_sample_quarantined(
    marked_corpus: Path, build_store: Build, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    resources = Resources(num_actors=1, batch_time_limit_s=2.0)
    result = build_store(marked_corpus, store, f"{_FAKES}:HangingEncoder", resources=resources)
    assert (result.encoded, result.quarantined) == (120, 1)


def test_a_batch_that_never_fits_ends_the_run_with_a_sentence(
    drawn_corpus: Path, build_store: Build, tmp_path: Path
) -> None:
    fake = f"{_FAKES}:OutOfMemoryEncoder:max_batch=4"
    with pytest.raises(RunError, match=r"a batch of 64 must fit the device.*--batch-size 32"):
        build_store(drawn_corpus, tmp_path / "store", fake, resources=_ONE_ACTOR)


def test_a_slow_file_is_stopped_and_tried_twice(build_store: Build, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_drawn_corpus(corpus, 1, size_px=64)
    # 144 Mpx of PNG take Pillow far longer than the limit, and no drawn picture does. One other
    # alone: all of a task that died are decoded again, each in a process of its own.
    marked_picture(12_000, 12_000).save(corpus / "slow.png", compress_level=1)
    resources = Resources(num_actors=1, time_limit_s=0.4, max_quarantine=0.5)
    result = build_store(corpus, tmp_path / "store", f"{_FAKES}:FakeEncoder", resources=resources)
    assert (result.planned, result.encoded) == (2, 1)
    view = Store.open(tmp_path / "store").snapshot().columns["latents"]
    (row,) = view.quarantine().to_pylist()
    assert (row["path"], row["code"], row["is_transient"]) == ("slow.png", "timed_out", True)


def test_another_corpus_is_refused_with_both_shown(
    undisturbed: Path, build_store: Build, tmp_path: Path
) -> None:
    write_drawn_corpus(tmp_path / "other", 2, size_px=64)
    with pytest.raises(StoreError, match="corpus must be the one that the store was planned from"):
        build_store(tmp_path / "other", undisturbed, f"{_FAKES}:FakeEncoder", resources=_ONE_ACTOR)


def test_an_encoder_that_cannot_be_loaded_says_so_before_any_work(
    drawn_corpus: Path, build_store: Build, tmp_path: Path
) -> None:
    with pytest.raises(EncoderError, match=r"weights folder must hold config\.json"):
        build_store(
            drawn_corpus,
            tmp_path / "store",
            f"sdxl:{tmp_path}",
            resources=_ONE_ACTOR,
            is_offline=True,
        )
    assert not (tmp_path / "store").exists(), "the corpus was scanned in vain"
