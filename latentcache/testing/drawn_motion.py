"""A drawn corpus of short videos: one shape in one colour that moves in one direction.

What leaves the picture on one side comes back on the other, and after ``PERIOD_FRAMES`` a
shape is where it began: a clip is a loop. It begins near the middle, so that the mean of a
class is a recognisable clip and the nearest mean tells classes apart, directions included.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from latentcache.testing.drawn import COLOURS
from latentcache.testing.drawn_shapes import SHAPES, Plane
from latentcache.testing.painting import SUPERSAMPLE, gradient, lit, turned_axes

MOTION_SHAPES = ("circle", "star", "heart")
MOTION_COLOURS = ("red", "blue")
DIRECTIONS = {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}
"""Names, and steps in x and y; y points down."""
MOTION_CLASSES = tuple(
    f"{colour} {shape} moving {direction}"
    for shape in MOTION_SHAPES
    for colour in MOTION_COLOURS
    for direction in DIRECTIONS
)
PERIOD_FRAMES = 16
FRAME_RATE_FPS = 12

_GROUNDS = ((196, 188, 170), (170, 186, 196), (188, 180, 196), (176, 192, 178))
_GROUND_CONTRAST = 0.35
"""Of the gradient of a ground: darker ones would outweigh the shape in the nearest mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingShape:
    """One clip of a class; equal ones have equal frames."""

    seed: int
    index: int
    shape: str
    colour: str
    direction: str


def write_drawn_motion(
    folder: Path, num_clips: int, *, seed: int = 0, size_px: int = 64
) -> list[Path]:
    """Return the MP4 files written; classes take turns.

    ``metadata.jsonl`` beside them numbers the classes: ``label`` is the place in
    ``MOTION_CLASSES``. A file holds one period and its first frame once more, 17 frames: what
    causal encoders take, and the last one shows that the loop is closed.

    Args:
        folder: Made if absent.
        num_clips: Of all classes together.
        seed: Decides everything.
        size_px: Both sides; a multiple of ``PERIOD_FRAMES``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written, lines = [], []
    for index in range(num_clips):
        label = index % len(MOTION_CLASSES)
        colour, shape, _, direction = MOTION_CLASSES[label].split()
        moving = MovingShape(
            seed=seed, index=index, shape=shape, colour=colour, direction=direction
        )
        path = folder / f"{index:06d}.mp4"
        path.write_bytes(encode_mp4(draw_motion(moving, size_px)))
        written.append(path)
        facts = {"label": label, "caption": f"a {MOTION_CLASSES[label]}"}
        lines.append(json.dumps({"file_name": path.name, **facts}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


def draw_motion(moving: MovingShape, size_px: int) -> NDArray[np.uint8]:
    """Return the frames, (``PERIOD_FRAMES + 1``, ``size_px``, ``size_px``, 3)."""
    if size_px % PERIOD_FRAMES:
        raise ValueError(f"size_px must be a multiple of {PERIOD_FRAMES}, got {size_px}")
    random = np.random.Generator(
        np.random.Philox(key=[moving.seed & 0xFFFFFFFFFFFFFFFF, moving.index])
    )
    edge = size_px * SUPERSAMPLE
    ground = _GROUNDS[int(random.integers(len(_GROUNDS)))]
    clouds = gradient(edge, edge, ground, random)
    canvas = np.array(ground, dtype=np.float32) + _GROUND_CONTRAST * (clouds - clouds.mean())
    inside, shadow, surface = _sprite(moving, edge, random)
    # The middle, but for a little: a class's mean stays sharp.
    offset = random.integers(-edge // 24, edge // 24, size=2, endpoint=True)
    step_x, step_y = (edge // PERIOD_FRAMES * one for one in DIRECTIONS[moving.direction])
    frames = []
    for index in range(PERIOD_FRAMES + 1):
        shift = (int(offset[1]) + index * step_y, int(offset[0]) + index * step_x)
        moved = [np.roll(layer, shift, axis=(0, 1)) for layer in (inside, shadow, surface)]
        shaded = canvas * (1.0 - 0.35 * moved[1])
        painted = moved[0] * moved[2] + (1.0 - moved[0]) * shaded
        frames.append(_halved(painted))
    return np.stack(frames)


def encode_mp4(frames_THWC: NDArray[np.uint8], *, frame_rate_fps: int = FRAME_RATE_FPS) -> bytes:
    """Return a video, H.264."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=frame_rate_fps, options={"crf": "14"})
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # Threads change the bytes.
        stream.codec_context.thread_count = 1
        for pixels in frames_THWC:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


def _sprite(
    moving: MovingShape, edge: int, random: np.random.Generator
) -> tuple[Plane, Plane, Plane]:
    """Return where the shape is, its shadow (each HW1 over [0, 1]) and its surface, HWC."""
    axes = turned_axes(
        (edge, edge),
        centre=(edge / 2, edge / 2),
        radius=edge * random.uniform(0.24, 0.27),
        turn=random.uniform(-0.15, 0.15),
    )
    shape = SHAPES[moving.shape]
    inside = shape(*axes).astype(np.float32)[..., None]
    thrown = (shape(axes[0] - 0.1, axes[1] - 0.14) * 255).astype(np.uint8)
    blurred = Image.fromarray(thrown).filter(ImageFilter.GaussianBlur(edge / 40))
    shadow = np.asarray(blurred, dtype=np.float32)[..., None] / 255.0
    return inside, shadow, lit(COLOURS[moving.colour], axes)


def _halved(canvas: Plane) -> NDArray[np.uint8]:
    """Return a canvas at its final size."""
    height, width = (length // SUPERSAMPLE for length in canvas.shape[:2])
    blocks = canvas.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE, 3)
    small: NDArray[np.uint8] = np.clip(blocks.mean(axis=(1, 3)), 0, 255).round().astype(np.uint8)
    return small
