"""Pictures of more than 8 bits to 8-bit values, scaled and never clipped.

Colours that a tag says are not sRGB's are converted here, before anything is rounded to 8 bits:
256 steps of linear light would leave dark tones in bands.

- Greys of 16 bits run from 0 to 65535; a TIFF whose ``BitsPerSample`` says 12 runs to 4095, and
  one whose white is zero is turned round. Mode ``I`` holds 16-bit values; others are refused.
- Floats are read as 0 to 1; others are refused, since their white is anyone's guess.
- Colours of 16 bits lose their low byte in Pillow; a PNG that is tagged, or has a transparent
  colour, is decoded by FFmpeg, which keeps it.
"""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.pixels.gamut import ColourTag
from latentcache.decode.pixels.tone import grey_to_srgb, to_srgb_by_tag

Pixels = NDArray[np.uint8]

_MAX_16_BIT = 65535
_PNG_DEPTH, _PNG_KIND = 24, 25
"""Where IHDR, always the first chunk, says the bits of a sample and the kind of colours (0: grey).
"""
_TIFF_WHITE_IS_ZERO = 0


def from_integers(image: Image.Image, tag: ColourTag | None) -> Image.Image:
    """Return I, I;16, I;16B, ... as L in sRGB, or La where one value is declared transparent.

    Args:
        image: Decoded.
        tag: What its numbers mean; None leaves them as they are.

    Raises:
        MediaError: ``unsupported``: values beyond 16 bits, or below zero.
    """
    told = np.asarray(image).astype(np.int64)
    largest, is_white_zero = _range_of(image)
    if told.min() < 0 or told.max() > largest:
        raise _no_known_range(f"whole numbers beyond {largest.bit_length()} bits")
    values = largest - told if is_white_zero else told
    grey = Image.fromarray(_shown((values * _MAX_16_BIT + largest // 2) // largest, tag))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(told == transparent, 0, 255).astype(np.uint8)
        return Image.merge("LA", (grey, Image.fromarray(alpha))).convert("La")
    return grey


def from_floats(image: Image.Image) -> Image.Image:
    """Return F as L.

    Raises:
        MediaError: ``unsupported``: values beyond 0 to 1.
    """
    values = np.asarray(image)
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise _no_known_range("floats beyond 0 to 1")
    return Image.fromarray((values * 255).round().astype(np.uint8))


def spread_key(image: ImageFile.ImageFile, data: bytes) -> None:
    """Bring the transparent grey of a PNG of 2 or 4 bits to the 8 bits that Pillow spreads it to.

    Args:
        image: Of any format; its ``info`` is changed.
        data: The whole file.
    """
    key = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(key, int):
        largest = (1 << data[_PNG_DEPTH]) - 1
        image.info["transparency"] = (key & largest) * 255 // largest


def is_deep_png(image: ImageFile.ImageFile, data: bytes, tag: ColourTag | None) -> bool:
    """Return whether a PNG's low bytes are needed: 16-bit colours, tagged or with a key."""
    is_colour = image.format == "PNG" and data[_PNG_DEPTH] == 16 and data[_PNG_KIND] != 0
    return is_colour and (bool(tag and not tag.is_srgb) or "transparency" in image.info)


def read_deep_png(data: bytes, tag: ColourTag | None) -> Image.Image:
    """Return a PNG of 16-bit colours as RGB, or RGBa where it has alpha or a transparent colour.

    Args:
        data: The whole file, which Pillow has found undamaged.
        tag: What its numbers mean; None leaves them as they are.

    Raises:
        MediaError: ``unsupported``: FFmpeg does not read what Pillow reads.
    """
    import av  # noqa: PLC0415  it takes a moment to load, and such pictures are few

    try:
        with av.open(BytesIO(data), "r", format="png_pipe") as container:
            frame = next(container.decode(video=0))
    except (av.FFmpegError, StopIteration) as error:
        raise MediaError(
            RejectCode.UNSUPPORTED.word,
            "the PNG has 16-bit colours of a kind that is not read; convert it to 8 bits",
        ) from error
    deep = frame.reformat(format="rgba64le").to_ndarray()
    has_alpha = any(component.is_alpha for component in frame.format.components)
    tagged = tag if tag is not None and not tag.is_srgb else None
    colours = to_srgb_by_tag(deep[..., :3], tagged) if tagged else to_8_bits(deep[..., :3])
    if not has_alpha:
        return Image.fromarray(colours)
    straight = np.concatenate([colours, to_8_bits(deep[..., 3:])], axis=-1)
    return Image.fromarray(straight, "RGBA").convert("RGBa")


def _range_of(image: Image.Image) -> tuple[int, bool]:
    """Return the number of white (or of black, if white is zero), and whether white is zero."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode == "I":
        return _MAX_16_BIT, False
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    photometric = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
    return (1 << bits) - 1, photometric == _TIFF_WHITE_IS_ZERO


def _shown(values: NDArray[Any], tag: ColourTag | None) -> Pixels:
    if tag is None or tag.is_srgb:
        return to_8_bits(values)
    return grey_to_srgb(values.astype(np.uint16), tag)


def to_8_bits(values: NDArray[Any]) -> Pixels:
    """Return values of 0 to 65535 as 0 to 255."""
    deep = values.astype(np.uint32)
    return ((deep * 255 + _MAX_16_BIT // 2) // _MAX_16_BIT).astype(np.uint8)


def _no_known_range(what: str) -> MediaError:
    reason = f"the pixels are {what}, whose black and white are not known; convert it to 16 bits"
    return MediaError(RejectCode.UNSUPPORTED.word, reason)
