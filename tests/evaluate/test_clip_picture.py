import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latentcache.evaluate import contact_sheet_png, stacked_mp4
from latentcache.evaluate.clip_picture import MOST_FRAMES

FPS = 12.5
LINES = ["key", "path", "encoder"]


def plain_clip(num_frames: int, height: int, width: int, *, blue: int) -> NDArray[np.uint8]:
    """Return a clip whose frames grow brighter in red, one after the other."""
    clip = np.zeros((num_frames, height, width, 3), np.uint8)
    clip[..., 0] = (20 + np.arange(num_frames) * 180 // num_frames)[:, None, None]
    clip[..., 2] = blue
    return clip


def test_a_sheet_shows_every_frame_of_a_short_clip_above_its_decoded_one() -> None:
    original, decoded = (plain_clip(9, 40, 64, blue=blue) for blue in (0, 200))
    png = contact_sheet_png(original, decoded, LINES, frame_rate_fps=FPS)
    shown = np.asarray(Image.open(io.BytesIO(png)))
    for index in range(9):
        colours = [np.all(shown == clip[index, 0, 0], axis=2) for clip in (original, decoded)]
        assert [int(found.sum()) for found in colours] == [40 * 64, 40 * 64]
        above, below = (np.argwhere(found).mean(axis=0) for found in colours)
        assert above[0] + 40 < below[0]
        assert above[1] == below[1]


def test_a_long_clip_of_large_frames_is_shown_from_first_to_last_and_smaller() -> None:
    clip = plain_clip(100, 90, 720, blue=0)
    png = contact_sheet_png(clip, clip, LINES, frame_rate_fps=FPS)
    shown = np.asarray(Image.open(io.BytesIO(png)))
    reds = np.unique(shown[(shown[..., 1] == 0) & (shown[..., 2] == 0)][:, 0]).tolist()
    assert len(reds) == MOST_FRAMES
    assert (reds[0], reds[-1]) == (clip[0, 0, 0, 0], clip[-1, 0, 0, 0])
    assert shown.shape[1] <= 1280


@pytest.mark.parametrize("size", [(96, 512), (33, 65)], ids=["even", "odd"])
def test_a_video_plays_both_clips_at_their_rate(size: tuple[int, int]) -> None:
    original, decoded = (plain_clip(7, *size, blue=blue) for blue in (30, 160))
    mp4 = stacked_mp4(original, decoded, LINES, frame_rate_fps=FPS)
    with av.open(io.BytesIO(mp4)) as video:
        stream = video.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert context.width % 2 == context.height % 2 == 0
        assert stream.average_rate is not None
        assert float(stream.average_rate) == FPS
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
    assert len(frames) == 7
    middle = frames[0].shape[1] // 2
    for index, pixels in enumerate(frames):
        for clip, row in ((original, size[0] // 2), (decoded, size[0] + 4 + size[0] // 2)):
            near = pixels[row - 4 : row + 4, middle - 8 : middle + 8].reshape(-1, 3).mean(axis=0)
            assert np.abs(near - clip[index, 0, 0]).max() < 4
    strip = frames[3][-60:]
    assert strip.max() - strip.min() > 150
