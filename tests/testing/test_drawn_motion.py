"""The corpus of moving shapes: each clip is a loop that moves the way its class says."""

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from latentcache.testing.drawn_motion import (
    DIRECTIONS,
    FRAME_RATE_FPS,
    MOTION_CLASSES,
    PERIOD_FRAMES,
    MovingShape,
    draw_motion,
    write_drawn_motion,
)


def drawn(index: int, *, direction: str = "right", seed: int = 0) -> NDArray[np.uint8]:
    moving = MovingShape(seed=seed, index=index, shape="heart", colour="red", direction=direction)
    return draw_motion(moving, 32)


def test_the_table_numbers_the_classes_of_the_files(tmp_path: Path) -> None:
    written = write_drawn_motion(tmp_path, 30, size_px=16)
    lines = (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    facts = [json.loads(line) for line in lines]
    assert len(set(MOTION_CLASSES)) == 24
    assert [tmp_path / each["file_name"] for each in facts] == written
    assert [each["label"] for each in facts] == [index % 24 for index in range(30)]
    assert all(each["caption"] == f"a {MOTION_CLASSES[each['label']]}" for each in facts)


def test_a_file_is_a_video_of_one_period_and_its_first_frame_again(tmp_path: Path) -> None:
    (path,) = write_drawn_motion(tmp_path, 1, size_px=32)
    with av.open(io.BytesIO(path.read_bytes())) as video:
        stream = video.streams.video[0]
        assert stream.average_rate == FRAME_RATE_FPS
        frames = np.stack([each.to_ndarray(format="rgb24") for each in video.decode(stream)])
    assert frames.shape == (PERIOD_FRAMES + 1, 32, 32, 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() < 4
    assert np.abs(frames[0].astype(int) - frames[PERIOD_FRAMES // 2]).mean() > 10


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_shape_moves_the_way_its_class_says(direction: str) -> None:
    clip = drawn(0, direction=direction)
    assert np.array_equal(clip[0], clip[-1])
    middles = []
    for frame in clip[:4].astype(float):
        weight = np.clip(frame[..., 0] - frame[..., 1] - 60, 0, None)  # red on grey
        places = np.indices(weight.shape)
        middles.append([float((each * weight).sum() / weight.sum()) for each in places])
    down, right = (middles[3][axis] - middles[0][axis] for axis in (0, 1))
    step_x, step_y = DIRECTIONS[direction]
    assert (right, down) == pytest.approx((6 * step_x, 6 * step_y), abs=0.5)


def test_equal_seeds_draw_equal_clips() -> None:
    assert np.array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))
    assert not np.array_equal(drawn(3), drawn(3, seed=1))


def test_nearest_class_mean_is_nearly_always_the_own_one() -> None:
    labels = np.arange(96) % 24
    clips = []
    for index, label in enumerate(labels):
        colour, shape, _, direction = MOTION_CLASSES[label].split()
        moving = MovingShape(seed=0, index=index, shape=shape, colour=colour, direction=direction)
        clips.append(draw_motion(moving, 32)[::4].astype(np.float32).ravel())
    asked = np.stack(clips)
    means = np.stack([asked[labels == label].mean(axis=0) for label in range(24)])
    distances = np.square(asked[:, None] - means[None]).sum(axis=2)
    # Left out of it, a clip lies 4 / 3 times as far from the mean of the 4 of its class.
    distances[np.arange(96), labels] *= (4 / 3) ** 2
    nearest = distances.argmin(axis=1)
    assert (nearest == labels).mean() > 0.8
    assert (nearest % 4 == labels % 4).mean() > 0.97
