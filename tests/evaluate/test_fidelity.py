import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError, EncoderError, StoreError
from latentcache.core.media import Bucket
from latentcache.encoders import EncoderOptions, load_encoder
from latentcache.evaluate import (
    choose_samples,
    find_sample,
    load_recorded_encoder,
    measure_fidelity,
    psnr_db,
    reconstruct,
)
from latentcache.evaluate.fidelity import MAX_COMPARED_BYTES, MAX_PSNR_DB, num_compared
from latentcache.evaluate.planned import recorded_transform
from latentcache.store import Store
from tests.evaluate.drawn_store import NUM_GOOD, TRANSFORM


def test_psnr_is_that_of_the_mean_squared_error() -> None:
    original = np.zeros((4, 4, 3), np.uint8)
    assert psnr_db(original, original + 5) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr_db(original, original + 255) == pytest.approx(0.0)


def test_equal_pictures_score_a_finite_maximum() -> None:
    picture = np.full((2, 2, 3), 7, np.uint8)
    assert psnr_db(picture, picture) == MAX_PSNR_DB


@given(st.integers(0, 255), st.integers(0, 255))
def test_psnr_does_not_care_which_picture_is_the_original(first: int, second: int) -> None:
    one, other = (np.full((2, 3, 3), value, np.uint8) for value in (first, second))
    assert psnr_db(one, other) == psnr_db(other, one)


def test_pictures_of_two_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr_db(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 4, 3), np.uint8))


def test_every_stored_latent_decodes_close_to_its_own_source(drawn_store: Store) -> None:
    view = drawn_store.snapshot().column("latents")
    report = measure_fidelity(view, load_recorded_encoder(view.record, device="cpu"), 1000)
    assert len(report.psnr_db) == NUM_GOOD
    assert not report.skipped
    assert report.min_db is not None
    assert report.mean_db is not None
    assert 25 < report.min_db <= report.mean_db < 60


def test_a_latent_is_far_from_another_source(drawn_store: Store) -> None:
    view = drawn_store.snapshot().column("latents")
    encoder = load_recorded_encoder(view.record, device="cpu")
    samples = choose_samples(view, 1000)
    bucket = max({each.bucket for each in samples}, key=[s.bucket for s in samples].count)
    first, second = [each for each in samples if each.bucket == bucket][:2]
    original, _ = reconstruct(view, first, encoder)
    _, decoded = reconstruct(view, second, encoder)
    assert psnr_db(original, decoded) < 20


@pytest.mark.parametrize("num_samples", [1, 5, NUM_GOOD])
def test_samples_are_drawn_the_same_every_time(drawn_store: Store, num_samples: int) -> None:
    view = drawn_store.snapshot().column("latents")
    drawn = [each.key for each in choose_samples(view, num_samples, seed=3)]
    assert len(set(drawn)) == num_samples
    assert drawn == [each.key for each in choose_samples(view, num_samples, seed=3)]


def test_another_seed_draws_other_samples(drawn_store: Store) -> None:
    view = drawn_store.snapshot().column("latents")
    draws = {tuple(s.key for s in choose_samples(view, 3, seed=seed)) for seed in range(8)}
    assert len(draws) > 1


def test_a_sample_is_found_by_key_and_by_path(drawn_store: Store) -> None:
    view = drawn_store.snapshot().column("latents")
    by_path = find_sample(view, "000003.jpg")
    assert by_path.source.path == "000003.jpg"
    assert find_sample(view, by_path.key) == by_path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("broken_002_empty.jpg", "the file has no bytes", id="refused-by-the-scan"),
        pytest.param("broken_000_cut_short.jpg", "decode: .*ends before", id="refused-by-decode"),
        pytest.param("0" * 20, "key must be one of the plan's", id="unknown-key"),
        pytest.param("nowhere.jpg", "a file of the corpus by name or path", id="unknown-path"),
    ],
)
def test_a_sample_that_is_not_there_is_explained(drawn_store: Store, text: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        find_sample(drawn_store.snapshot().column("latents"), text)


def test_a_changed_source_is_skipped_and_said_so(drawn_store: Store, tmp_path: Path) -> None:
    view = drawn_store.snapshot().column("latents")
    moved = tmp_path / "moved"
    moved.mkdir()
    chosen = choose_samples(view, 2)
    for sample in chosen:
        source = Path(sample.corpus_url) / sample.source.path
        (moved / sample.source.path).write_bytes(source.read_bytes())
    with (moved / chosen[0].source.path).open("ab") as file:
        file.write(b"\0")
    encoder = load_recorded_encoder(view.record, device="cpu")
    report = measure_fidelity(view, encoder, 2, corpus_url=str(moved))
    assert list(report.psnr_db) == [chosen[1].key]
    assert "not the ones that were encoded" in report.skipped[chosen[0].key]


def test_other_knobs_are_refused_with_both_sides_shown(drawn_store: Store) -> None:
    view = drawn_store.snapshot().column("latents")
    with pytest.raises(StoreError, match=r"knobs .*'block': 8.* got .*'block': 4"):
        load_recorded_encoder(view.record, encoder="dct:block=4", device="cpu")


def test_an_unknown_encoder_is_refused(drawn_store: Store) -> None:
    view = drawn_store.snapshot().column("latents")
    with pytest.raises((ConfigError, EncoderError)):
        load_recorded_encoder(view.record, encoder="nothing", device="cpu")


def test_a_transform_of_other_rules_is_refused() -> None:
    recorded = TRANSFORM.identity()
    assert recorded_transform({**recorded, "background": [255, 255, 255]}) == TRANSFORM
    for change in ({"version": 99}, {"resize": "nearest"}, {"unknown": 1}):
        with pytest.raises(StoreError, match="transform must be"):
            recorded_transform({**recorded, **change})


@pytest.mark.parametrize(
    ("bucket", "encoder", "num_frames"),
    [
        pytest.param("81x480x832", "dct-video", 81, id="all-of-a-usual-clip"),
        pytest.param("16001x480x832", "dct-video", 445, id="as-many-as-fit"),
        pytest.param("9x30000x30000", "dct-video", 1, id="at-least-one"),
        pytest.param("1x30000x30000", "dct", 1, id="a-picture"),
    ],
)
def test_as_many_frames_are_compared_as_fit(bucket: str, encoder: str, num_frames: int) -> None:
    spec = load_encoder(encoder, EncoderOptions(device="cpu")).spec
    assert num_compared(Bucket.parse(bucket), spec) == num_frames
    assert num_frames == 1 or num_frames * 480 * 832 * 3 <= MAX_COMPARED_BYTES
