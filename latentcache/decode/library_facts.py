"""What the installed libraries make of fixed inputs: the part of a pixel that is theirs.

Two versions of a library may round otherwise (Pillow 12.3 and 13.0 resize some pictures up to 34
levels apart). A number of version says nothing about that, so digests of what really comes out
are part of the fingerprint: libraries that make the same pixels are the same, whatever they
are called.
"""

import hashlib
import math
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentcache.decode.picture.colour import lab_to_rgb, to_resizable
from latentcache.decode.picture.fact_files import FILES
from latentcache.decode.picture.jpeg import decode_plain_jpeg
from latentcache.decode.picture.open_picture import FORMATS, pillow_rules
from latentcache.decode.pixel_options import ImageLimits
from latentcache.decode.pixels.resize import resized

Pixels = NDArray[np.uint8]

_WIDTH_PX, _HEIGHT_PX = 53, 37
_SIZES_PX = ((24, 17), (53, 20), (80, 61))
_ABSENT = "none"


def picture_facts() -> dict[str, str]:
    """Return a digest by each way in which libraries make a picture's pixels.

    ``none`` where this machine's Pillow has no decoder of a format.

    Raises:
        ConfigError: torch has no resizer.
    """
    return dict(_picture_facts())


def drawn_noise(*shape: int) -> Pixels:
    """Return noise that is the same on every machine."""
    words = hashlib.shake_256(b"latentcache pixels 1").digest(math.prod(shape))
    return np.frombuffer(words, np.uint8).reshape(shape).copy()


def digest_of(*found: Pixels) -> str:
    """Return eight hexadecimal digits that stand for values and shapes."""
    hashed = hashlib.blake2b(digest_size=4)
    for pixels in found:
        hashed.update(repr(pixels.shape).encode() + pixels.tobytes())
    return hashed.hexdigest()


@lru_cache(maxsize=1)
def _picture_facts() -> dict[str, str]:
    facts = {name: _decoded(name, data) for name, data in FILES.items()}
    noise = drawn_noise(_HEIGHT_PX, _WIDTH_PX, 4)
    facts["icc"] = digest_of(
        np.asarray(lab_to_rgb(Image.frombytes("LAB", (32, 32), drawn_noise(32, 32, 3).tobytes())))
    )
    facts["resize"] = digest_of(
        *(resized(noise[..., :count], size) for count in (1, 2, 3, 4) for size in _SIZES_PX),
        resized(noise[..., :3], (20, 14), source_px=(_WIDTH_PX - 0.5, _HEIGHT_PX - 0.5)),
    )
    return dict(sorted(facts.items()))


def _decoded(name: str, data: bytes) -> str:
    if name == "jpeg":
        sizes = ((24, 16), (12, 8), (3, 2))
        return digest_of(*(_plain_jpeg(data, size) for size in sizes))
    with pillow_rules(ImageLimits()):
        try:
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                image.load()
                return digest_of(np.asarray(to_resizable(image).convert("RGB")))
        except OSError:
            return _ABSENT


def _plain_jpeg(data: bytes, size_px: tuple[int, int]) -> Pixels:
    pixels = decode_plain_jpeg(data, "RGB", size_px)
    assert pixels is not None, "an ordinary file"
    return pixels
