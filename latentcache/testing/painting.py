"""How drawn pictures are painted: a ground, one lit shape with its shadow, and the final size.

Canvases are float32 HWC over [0, 255], larger than the picture by ``SUPERSAMPLE``.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from latentcache.testing.drawn_shapes import Mask, Plane

SUPERSAMPLE = 2

Axes = tuple[Plane, Plane]
"""x and y in a shape's own turned and scaled frame; the shape fills [-1, 1]."""


def gradient(
    width: int, height: int, colour: tuple[int, int, int], random: np.random.Generator
) -> Plane:
    """Return a soft two-colour sky with a few broad clouds."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = random.uniform(0, 2 * math.pi)
    ramp = 0.5 + 0.5 * (math.cos(angle) * (x / width - 0.5) + math.sin(angle) * (y / height - 0.5))
    for _ in range(3):
        centre_x, centre_y = random.uniform(0, width), random.uniform(0, height)
        spread = random.uniform(0.15, 0.4) * max(width, height)
        distance = ((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * spread**2)
        ramp += random.uniform(-0.25, 0.25) * np.exp(-distance)
    base = np.array(colour, dtype=np.float32)
    dark, pale = base * 0.45, base * 0.35 + 165.0
    mixed: Plane = dark + (pale - dark) * np.clip(ramp, 0, 1)[..., None]
    return mixed


def turned_axes(
    size: tuple[int, int], *, centre: tuple[float, float], radius: float, turn: float
) -> Axes:
    """Return the axes of a shape.

    Args:
        size: Width and height of the canvas in pixels.
        centre: Of the shape, x and y in pixels.
        radius: What is 1 on the axes, in pixels.
        turn: In radians.
    """
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    x, y = (x - centre[0]) / radius, (y - centre[1]) / radius
    cosine, sine = math.cos(turn), math.sin(turn)
    return x * cosine + y * sine, y * cosine - x * sine


def lit(colour: tuple[int, int, int], axes: Axes) -> Plane:
    """Return a surface of ``colour`` with light from the upper left."""
    x, y = axes
    light: Plane = np.clip(1.08 - 0.28 * (x * 0.5 + y * 0.7), 0.6, 1.35, dtype=np.float32)
    return np.array(colour, dtype=np.float32) * light[..., None]


def paint(
    canvas: Plane, shape: Callable[[Plane, Plane], Mask], axes: Axes, surface: Plane
) -> Plane:
    """Return the canvas with the shape and the soft shadow it throws."""
    x, y = axes
    shadow = (shape(x - 0.1, y - 0.14) * 255).astype(np.uint8)
    blur = ImageFilter.GaussianBlur(min(canvas.shape[:2]) / 40)
    soft = np.asarray(Image.fromarray(shadow).filter(blur), dtype=np.float32) / 255.0
    shaded = canvas * (1.0 - 0.35 * soft)[..., None]
    painted: Plane = np.where(shape(x, y)[..., None], surface, shaded)
    return painted


def finish(canvas: Plane, width_px: int, height_px: int) -> Image.Image:
    """Return the canvas as an RGB picture of its final size."""
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    return image.resize((width_px, height_px), Image.Resampling.LANCZOS)
