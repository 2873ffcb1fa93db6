"""One resizer makes all bits, and they are those of lanczos as Pillow has it, to two levels."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from latentcache.core.errors import ConfigError
from latentcache.decode.library_facts import digest_of, drawn_noise, picture_facts
from latentcache.decode.pixels import resize
from latentcache.decode.pixels.resize import resized

LANCZOS = Image.Resampling.LANCZOS


def photo(width_px: int, height_px: int, channels: int = 3) -> np.ndarray:
    """Return grain on a gradient with a hard edge, at half of the contrast."""
    y, x = np.mgrid[:height_px, :width_px]
    base = 64 + (x * 3 + y * 2) % 64 + 40 * (x > width_px // 2)
    noise = np.random.default_rng(0).integers(0, 24, (height_px, width_px, channels))
    return (base[..., None] + noise).astype(np.uint8)


@pytest.mark.parametrize("size_px", [(60, 40), (37, 61), (200, 150), (96, 30), (30, 64)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_result_is_pillows_lanczos_to_two_levels(
    size_px: tuple[int, int], channels: int
) -> None:
    pixels = photo(96, 64, channels)
    mode = {1: "L", 2: "La", 3: "RGB", 4: "RGBa"}[channels]
    plain = Image.frombytes(mode, (96, 64), pixels.tobytes()).resize(size_px, LANCZOS)
    expected = np.asarray(plain).reshape(size_px[1], size_px[0], channels)
    found = resized(pixels, size_px)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


def test_a_picture_of_the_right_size_is_itself() -> None:
    pixels = photo(31, 17)
    assert np.array_equal(resized(pixels, (31, 17)), pixels)
    assert np.array_equal(resized(pixels, (31, 17), corner_px=(20, 10)), pixels[:10, :20])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_is_left_out_changes_nothing_of_the_rest(data: st.DataObject) -> None:
    side = st.integers(20, 70)
    width, height = data.draw(side), data.draw(side)
    size_px = (data.draw(side), data.draw(side))
    corner_px = (
        data.draw(st.sampled_from([min(width, size_px[0]), size_px[0] - 7])),
        data.draw(st.sampled_from([min(height, size_px[1]), size_px[1] - 5])),
    )
    pixels = photo(width, height)
    part = resized(pixels, size_px, corner_px=corner_px)
    assert np.array_equal(part, resized(pixels, size_px)[: corner_px[1], : corner_px[0]])


def test_an_odd_side_halved_keeps_its_place() -> None:
    # Lines 96 to 105 of 201, halved: 101 are left, but they stand for 100.5. Taken for 101 the
    # line lands a sixth of a pixel to the left.
    halved = np.zeros((101, 101, 3), np.uint8)
    halved[:, 48:53] = 255
    found = resized(halved, (67, 67), source_px=(100.5, 100.5)).astype(float).sum((0, 2))
    centre = float((found * (np.arange(67) + 0.5)).sum() / found.sum())
    assert abs(centre - 50.5 * 67 / 100.5) < 0.05


def test_threads_change_no_bit() -> None:
    pixels, before = photo(500, 375), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(digest_of(resized(pixels, (341, 256))))
    finally:
        torch.set_num_threads(before)
    assert len(set(found)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["default", "avx2", "avx512"])
def test_the_cpu_changes_no_bit(capability: str) -> None:
    program = (
        "from latentcache.decode.library_facts import picture_facts;"
        "print(picture_facts()['resize'])"
    )
    told = subprocess.run(
        (sys.executable, "-c", program),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
        timeout=60,
    )
    assert told.stdout.strip() == picture_facts()["resize"]


def test_a_torch_without_the_resizer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resize, "_OPERATOR", "_upsample_nothing2d_aa")
    resize.check_torch.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"torch must be 2\.13 or newer .*, got"):
            resized(drawn_noise(8, 8, 3), (4, 4))
    finally:
        resize.check_torch.cache_clear()
