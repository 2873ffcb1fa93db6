"""Shapes and textures that drawn pictures are made of, on the shape's own axes.

x and y run over [-1, 1] where the shape is; y points down.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

TEXTURES = ("plain", "striped", "dotted", "checked", "grainy")


def texture_factor(name: str, x: Plane, y: Plane, random: np.random.Generator) -> Plane:
    """Return the factor by which a texture darkens a surface, per pixel."""
    pitch = random.uniform(7.0, 11.0)
    dark = np.float32(0.68)
    if name == "striped":
        return np.where(np.sin(x * pitch * 1.4) > 0, 1.0, dark)
    if name == "dotted":
        dots = np.cos(x * pitch) * np.cos(y * pitch) > 0.45
        return np.where(dots, dark, 1.0)
    if name == "checked":
        return np.where((np.sin(x * pitch) > 0) ^ (np.sin(y * pitch) > 0), 1.0, dark)
    if name == "grainy":
        noise = random.normal(0.92, 0.12, x.shape).astype(np.float32)
        return np.clip(noise, 0.5, 1.2)
    return np.ones_like(x)


def _circle(x: Plane, y: Plane) -> Mask:
    return x**2 + y**2 < 1


def _square(x: Plane, y: Plane) -> Mask:
    return np.maximum(abs(x), abs(y)) < 0.85


def _triangle(x: Plane, y: Plane) -> Mask:
    return (y < 0.75) & (y > 1.9 * abs(x) - 1.0)


def _star(x: Plane, y: Plane) -> Mask:
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    inside: Mask = radius < 0.72 + 0.28 * np.cos(5 * angle)
    return inside


def _heart(x: Plane, y: Plane) -> Mask:
    u, v = 1.2 * x, -1.2 * y + 0.1
    inside: Mask = (u**2 + v**2 - 1) ** 3 - u**2 * v**3 < 0
    return inside


def _ring(x: Plane, y: Plane) -> Mask:
    radius = np.hypot(x, y)
    return (radius < 1) & (radius > 0.55)


def _cross(x: Plane, y: Plane) -> Mask:
    small, large = np.minimum(abs(x), abs(y)), np.maximum(abs(x), abs(y))
    return (small < 0.32) & (large < 0.95)


def _moon(x: Plane, y: Plane) -> Mask:
    return (x**2 + y**2 < 1) & ((x - 0.5) ** 2 + (y + 0.15) ** 2 > 0.72)


SHAPES: dict[str, Callable[[Plane, Plane], Mask]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
    "cross": _cross,
    "moon": _moon,
}
"""Shapes by name, as the test of whether a point lies inside."""
