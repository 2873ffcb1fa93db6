"""A drawn corpus for a class-conditional model: small square pictures in class folders.

A class is one shape in one colour; place, size, turn and ground vary a little, so that the
mean of a class is a recognisable picture and the nearest mean tells classes apart.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from latentcache.testing.drawn import COLOURS, encode_picture
from latentcache.testing.drawn_shapes import SHAPES
from latentcache.testing.painting import SUPERSAMPLE, finish, gradient, lit, paint, turned_axes

CLASS_SHAPES = ("circle", "triangle", "star", "heart", "ring", "cross")
CLASS_COLOURS = ("red", "yellow", "green", "blue")
CLASSES = tuple(f"{colour} {shape}" for shape in CLASS_SHAPES for colour in CLASS_COLOURS)
CLASS_CAPTIONS = tuple(f"a {name}" for name in CLASSES)

_GROUNDS = ((186, 178, 160), (160, 176, 186), (178, 170, 186), (166, 182, 168))
_GROUND_CONTRAST = 0.6
"""Of the gradient of a ground: darker ones would outweigh the shape in the nearest mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPicture:
    """One picture of a class; equal ones have equal pixels."""

    seed: int
    index: int
    shape: str
    colour: str


def write_drawn_classes(
    folder: Path, num_images: int, *, seed: int = 0, size_px: int = 64
) -> list[Path]:
    """Return the PNG files written, in folders named after their class; classes take turns.

    ``metadata.jsonl`` beside the folders numbers the classes: ``label`` is the place in
    ``CLASSES``, as models want it, and not the folder's name.

    Args:
        folder: Made if absent.
        num_images: Pictures of all classes together.
        seed: Decides everything.
        size_px: Both sides.
    """
    written, lines = [], []
    for index in range(num_images):
        name = CLASSES[index % len(CLASSES)]
        colour, shape = name.split()
        picture = ClassPicture(seed=seed, index=index, shape=shape, colour=colour)
        path = folder / name.replace(" ", "_") / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_picture(draw_class_picture(picture, size_px), path.suffix))
        written.append(path)
        facts = {"label": CLASSES.index(name), "caption": CLASS_CAPTIONS[index % len(CLASSES)]}
        lines.append(json.dumps({"file_name": path.relative_to(folder).as_posix(), **facts}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


def draw_class_picture(picture: ClassPicture, size_px: int) -> Image.Image:
    """Return the picture, RGB and square."""
    random = np.random.Generator(
        np.random.Philox(key=[picture.seed & 0xFFFFFFFFFFFFFFFF, picture.index])
    )
    edge = size_px * SUPERSAMPLE
    ground = _GROUNDS[int(random.integers(len(_GROUNDS)))]
    clouds = gradient(edge, edge, ground, random)
    canvas = np.array(ground, dtype=np.float32) + _GROUND_CONTRAST * (clouds - clouds.mean())
    centre_x, centre_y = edge * (0.5 + random.uniform(-0.04, 0.04, size=2))
    axes = turned_axes(
        (edge, edge),
        centre=(float(centre_x), float(centre_y)),
        radius=edge * random.uniform(0.335, 0.38),
        turn=random.uniform(-0.18, 0.18),
    )
    surface = lit(COLOURS[picture.colour], axes)
    return finish(paint(canvas, SHAPES[picture.shape], axes, surface), size_px, size_px)
