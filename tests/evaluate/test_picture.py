import io

import numpy as np
from PIL import Image

from latentcache.evaluate import side_by_side_png


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
