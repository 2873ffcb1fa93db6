"""Moving pictures play for ever, and show each sample beside its nearest clip."""

import base64
import io
import re

import numpy as np
from PIL import Image

from latentcache.demo.page.animations import PAIRS_A_LINE, clip_grid
from latentcache.demo.page.demo_page import demo_page
from latentcache.report.moving import webp_bytes
from tests.report.pages import demo_facts


def clips(num_clips: int, num_frames: int = 5) -> list[np.ndarray]:
    """Return clips of 8 x 8 px whose colour tells the clip (red) and the frame (blue)."""
    red = np.arange(num_clips)[:, None] * 40
    blue = np.arange(num_frames)[None] * 50
    made = np.zeros((num_clips, num_frames, 8, 8, 3), np.uint8)
    made[..., 0], made[..., 2] = red[..., None, None], blue[..., None, None]
    return list(made)


def test_an_animation_plays_every_frame_for_ever() -> None:
    frames = clip_grid(clips(3), clips(3)[::-1], num_columns=2)
    with Image.open(io.BytesIO(webp_bytes(frames, frame_rate_fps=12))) as moving:
        assert (moving.format, moving.n_frames, moving.info["loop"]) == ("WEBP", 4, 0)
        for index in range(4):
            moving.seek(index)
            # Lossy, but a plain square keeps its colour.
            middle = np.asarray(moving.convert("RGB"))[4, 4].astype(int)
            assert np.abs(middle - frames[index][4, 4, :3]).max() < 12
        assert moving.info["duration"] == 83


def test_pairs_stand_beside_each_other_and_the_loop_has_no_frame_twice() -> None:
    samples, nearest = clips(3), clips(3)[::-1]
    frames = clip_grid(samples, nearest, num_columns=2, scale=2)
    assert len(frames) == len(samples[0]) - 1
    for time, frame in enumerate(frames):
        first, beside, second = frame[0, 0], frame[0, 16], frame[0, 34]
        assert first[:3].tolist() == samples[0][time][0, 0].tolist()
        assert beside[:3].tolist() == nearest[0][time][0, 0].tolist()
        assert second[:3].tolist() == samples[1][time][0, 0].tolist()


def test_an_animation_lies_inside_its_page() -> None:
    facts = demo_facts('a "moving" <shape>')
    (found,) = re.findall(
        r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]+)"', demo_page(facts)
    )
    assert "a &#34;moving&#34; &lt;shape&gt;" in found[1]
    last = facts.motion.training.grids[-1]
    frames = clip_grid(last.samples, last.nearest, num_columns=PAIRS_A_LINE)
    assert base64.b64decode(found[0]) == webp_bytes(frames, frame_rate_fps=12)
