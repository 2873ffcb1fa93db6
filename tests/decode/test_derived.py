"""Inputs made of others: small laws that each keeps, and bits that no machine changes."""

import hashlib

import numpy as np
import pytest

from latentcache.core.inputs import DERIVED, canonical_input, parse_input
from latentcache.decode import derive
from latentcache.decode.derived.blur import blur, weights
from latentcache.decode.derived.canny import canny
from latentcache.decode.derived.grey import grey
from latentcache.decode.derived.low_resolution import low_resolution


def noise(height: int = 24, width: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def square() -> np.ndarray:
    """A white square on black."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[12:36, 20:44] = 255
    return picture


def test_grey_keeps_grey_and_weighs_green_most() -> None:
    level = np.full((4, 4, 3), 137, np.uint8)
    assert np.array_equal(grey(level), level)
    primaries = np.eye(3, dtype=np.uint8)[None] * 255
    assert grey(primaries)[0, :, 0].tolist() == [76, 150, 29]


@pytest.mark.parametrize("sigma", [0.5, 2.0, 7.0])
def test_blur_keeps_what_is_even_and_the_mean_of_what_is_not(sigma: float) -> None:
    assert sum(weights(sigma)) == 4096
    level = np.full((16, 16, 3), 201, np.uint8)
    assert np.array_equal(blur(level, sigma), level)
    dot = np.zeros((101, 101, 3), np.uint8)
    dot[40:61, 40:61] = 255
    made = blur(dot, sigma)
    assert abs(made.mean() - dot.mean()) < 0.2
    assert np.array_equal(made, made[::-1, ::-1])
    assert blur(noise(), sigma).std() < noise().std()


def test_low_resolution_keeps_size_and_block_means_and_loses_detail() -> None:
    picture = noise(32, 48)
    made = low_resolution(picture, 8.0)
    assert made.shape == picture.shape
    assert made.std() < 0.3 * picture.std()
    assert abs(made.mean() - picture.mean()) < 1.5
    assert np.array_equal(low_resolution(picture, 1.0), picture)
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 3, 3, axis=2).repeat(8, axis=0)
    inner = low_resolution(ramp, 4.0)[:, 4:-4].astype(int) - ramp[:, 4:-4]
    assert np.abs(inner).max() <= 1  # a straight line is its own interpolation


def test_low_resolution_takes_sizes_that_its_blocks_do_not_divide() -> None:
    level = np.full((13, 7, 3), 90, np.uint8)
    assert np.array_equal(low_resolution(level, 4.0), level)


def test_canny_draws_thin_lines_around_a_square_and_nothing_else() -> None:
    edges = canny(square())
    assert set(np.unique(edges)) == {0, 255}
    drawn = edges[..., 0] > 0
    assert drawn[10:38, 18:46].sum() == drawn.sum()
    assert not drawn[16:32, 24:40].any()
    assert 70 <= drawn.sum() <= 120, "four sides of 24 px, one pixel wide"
    assert (drawn[20:28].sum(axis=1) == 2).all()


def test_canny_of_what_is_even_is_black() -> None:
    assert not canny(np.full((20, 20, 3), 99, np.uint8)).any()


@pytest.mark.parametrize("name", sorted(DERIVED))
def test_every_frame_of_a_clip_is_changed_alone(name: str) -> None:
    clip = np.stack([noise(seed=each) for each in range(3)])
    alone = clip[1:2].copy()
    derive(clip, f"pixels/{name}")
    derive(alone, f"role:control/{name}")
    assert np.array_equal(clip[1], alone[0])


def test_pixels_that_are_not_to_be_changed_are_not() -> None:
    clip = noise()[None]
    derive(clip, "last_frame")
    assert np.array_equal(clip[0], noise())


def test_an_input_is_written_down_in_one_way() -> None:
    assert canonical_input("pixels/blur") == canonical_input("pixels/blur=2.0") == "pixels/blur=2"
    assert canonical_input("role:mask:pixels") == "role:mask"
    assert parse_input("role:reference.1:last_frame/grey").role == "reference.1"
    for kept in ("pixels", "first_frame+zeros", "text:caption", "role:control:first_frame"):
        assert canonical_input(kept) == kept


_BITS = {
    "blur": "3d015faa1ce5311e",
    "canny": "f9ec1c974dceaaec",
    "grey": "91fbff0bb43039cc",
    "low_resolution": "2caa2d9416a94358",
}


@pytest.mark.parametrize("name", sorted(_BITS))
def test_bits_are_the_same_on_every_machine(name: str) -> None:
    clip = noise(64, 96, seed=5)[None]
    derive(clip, f"pixels/{name}")
    assert hashlib.sha256(clip.tobytes()).hexdigest()[:16] == _BITS[name]
