"""Drawn media: a labelled corpus made on the spot, for the demo and for tests.

Each picture shows one shape in one colour and texture on a soft gradient; what it shows
is its caption and its class folder. Everything follows from the seed.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from latentcache.testing.drawn_shapes import SHAPES, TEXTURES, texture_factor
from latentcache.testing.painting import (
    SUPERSAMPLE,
    Axes,
    finish,
    gradient,
    lit,
    paint,
    turned_axes,
)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 58, 54),
    "orange": (236, 138, 44),
    "yellow": (240, 206, 70),
    "green": (70, 160, 88),
    "teal": (48, 158, 164),
    "blue": (58, 104, 204),
    "violet": (132, 84, 190),
    "pink": (230, 120, 164),
}
ASPECTS = ((1, 1), (4, 3), (3, 2), (16, 9), (3, 4), (2, 3))
"""Width to height, as cameras make them."""

MARK_RGB = (255, 0, 255)
"""No drawn picture is this magenta; ``testing.fakes`` misbehave when they see it."""

_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnPicture:
    """What one picture shows; equal pictures have equal pixels."""

    seed: int
    shape: str
    colour: str
    texture: str
    background: str
    width_px: int
    height_px: int

    @property
    def caption(self) -> str:
        """A sentence for the picture."""
        article = "an" if self.texture[0] in "aeiou" else "a"
        return f"{article} {self.texture} {self.colour} {self.shape} on {self.background}"


def write_drawn_corpus(
    folder: Path,
    num_images: int,
    *,
    seed: int = 0,
    size_px: int = 256,
    num_broken: int = 0,
    layout: str = "captions",
) -> list[Path]:
    """Return the files written: ``num_images`` good ones, then ``num_broken`` broken ones.

    The broken ones are, in turn: a JPEG cut short, a web page named ``.png``, an empty
    file.

    Args:
        folder: Made if absent.
        num_images: Good pictures, JPEG and every fifth one PNG.
        seed: Decides everything.
        size_px: Shorter side.
        num_broken: Further files that no decoder takes.
        layout: ``captions`` puts a ``.txt`` beside each picture; ``classes`` puts pictures
            into folders named after their shape.
    """
    if layout not in ("captions", "classes"):
        raise ValueError(f"layout must be captions or classes, got {layout!r}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for index in range(num_images):
        picture = plan_picture(index, seed=seed, size_px=size_px)
        home = folder / picture.shape if layout == "classes" else folder
        home.mkdir(exist_ok=True)
        path = home / f"{index:06d}.{'png' if index % 5 == 4 else 'jpg'}"
        path.write_bytes(encode_picture(draw_picture(picture), path.suffix))
        if layout == "captions":
            path.with_suffix(".txt").write_text(picture.caption + "\n", encoding="utf-8")
        written.append(path)
    for index in range(num_broken):
        written.append(_write_broken(folder, index, seed=seed, size_px=size_px))
    return written


def plan_picture(index: int, *, seed: int, size_px: int) -> DrawnPicture:
    """Return what picture ``index`` of a corpus shows; shapes and colours take turns."""
    random = np.random.Generator(np.random.Philox(key=[seed & 0xFFFFFFFFFFFFFFFF, index]))
    colours, shapes = list(COLOURS), list(SHAPES)
    colour = colours[index % len(colours)]
    others = [name for name in colours if name != colour]
    width, height = ASPECTS[int(random.integers(len(ASPECTS)))]
    scale = size_px / min(width, height)
    return DrawnPicture(
        seed=int(random.integers(2**31)),
        shape=shapes[index // len(colours) % len(shapes)],
        colour=colour,
        texture=TEXTURES[int(random.integers(len(TEXTURES)))],
        background=others[int(random.integers(len(others)))],
        width_px=round(width * scale),
        height_px=round(height * scale),
    )


def draw_picture(picture: DrawnPicture) -> Image.Image:
    """Return the picture, RGB."""
    random = np.random.Generator(np.random.Philox(key=picture.seed))
    width, height = picture.width_px * SUPERSAMPLE, picture.height_px * SUPERSAMPLE
    canvas = gradient(width, height, COLOURS[picture.background], random)
    axes = _local_axes(width, height, random)
    surface = lit(COLOURS[picture.colour], axes)
    surface *= texture_factor(picture.texture, *axes, random)[..., None]
    canvas = paint(canvas, SHAPES[picture.shape], axes, surface)
    canvas += random.normal(0.0, 1.5, (height, width, 1)).astype(np.float32)
    return finish(canvas, picture.width_px, picture.height_px)


def encode_picture(image: Image.Image, suffix: str) -> bytes:
    """Return the file's bytes: JPEG for ``.jpg``, else PNG."""
    buffer = io.BytesIO()
    if suffix == ".jpg":
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def marked_picture(width_px: int, height_px: int) -> Image.Image:
    """Return a picture that the fake encoders recognise: plain ``MARK_RGB``."""
    return Image.new("RGB", (width_px, height_px), MARK_RGB)


def _write_broken(folder: Path, index: int, *, seed: int, size_px: int) -> Path:
    kind = index % 3
    if kind == 0:
        picture = plan_picture(1_000_000 + index, seed=seed, size_px=size_px)
        data = encode_picture(draw_picture(picture), ".jpg")
        path, data = folder / f"broken_{index:03d}_cut_short.jpg", data[: len(data) // 2]
    elif kind == 1:
        path = folder / f"broken_{index:03d}_web_page.png"
        data = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>\n"
    else:
        path, data = folder / f"broken_{index:03d}_empty.jpg", b""
    path.write_bytes(data)
    return path


def _local_axes(width: int, height: int, random: np.random.Generator) -> Axes:
    """Return the axes of a shape that is placed, sized and turned at random.

    It stays within the central square, so that a square crop keeps the label true.
    """
    edge = min(width, height)
    radius = random.uniform(0.26, 0.4) * edge
    reach = edge / 2 - radius
    centre_x = width / 2 + random.uniform(-reach, reach)
    centre_y = height / 2 + random.uniform(-reach, reach)
    turn = random.uniform(-0.5, 0.5)
    return turned_axes((width, height), centre=(centre_x, centre_y), radius=radius, turn=turn)
