import io

import numpy as np
from PIL import Image

from latentcache.evaluate import above_each_other, film_strip, side_by_side_png


def test_both_pictures_are_shown_pixel_for_pixel_over_a_strip() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.integers(0, 256, (2, 64, 300, 3), np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(side_by_side_png([left, right], ["key", "path"]))))
    assert (shown[:64, :300] == left).all()
    assert (shown[:64, -300:] == right).all()
    strip = shown[64:]
    assert strip.shape[0] > 30
    assert strip.max() - strip.min() > 150


def test_a_small_picture_leaves_room_for_its_caption() -> None:
    small = np.zeros((8, 8, 3), np.uint8)
    shown = Image.open(io.BytesIO(side_by_side_png([small, small], ["x" * 500])))
    assert shown.width > 400


def test_a_clip_is_a_strip_of_its_frames_from_first_to_last() -> None:
    frames = np.full((9, 4, 6, 3), np.arange(9, dtype=np.uint8)[:, None, None, None])
    strip = film_strip(frames, most=3)
    assert strip.shape == (4, 3 * 6 + 2 * 4, 3)
    assert [int(strip[0, x, 0]) for x in (0, 10, 20)] == [0, 4, 8]
    assert above_each_other([strip, strip]).shape == (4 + 4 + 4, strip.shape[1], 3)
    assert np.array_equal(film_strip(frames[0]), frames[0])
