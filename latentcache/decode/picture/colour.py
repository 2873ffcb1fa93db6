"""Every colour mode to 8-bit sRGB, by stated rules.

Before resizing, a picture becomes L, La, RGB, RGBa or CMYK with 8 bits (`to_resizable`),
colours multiplied by their alpha; after it, on far fewer pixels, its ICC profile or its tag is
applied and it is laid over the background (`to_srgb`). The rules, and those of ``decode.deep``,
``decode.picture_tag``, ``decode.gamut`` and ``decode.tone``, are part of
``ImageTransform.version``:

- A profile is applied with relative colorimetric intent and black point compensation; one
  that is broken, or made for other channels, is ignored.
- CMYK without a profile takes Pillow's plain conversion.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from latentcache.decode.pixels.deep import from_floats, from_integers
from latentcache.decode.pixels.gamut import ColourTag
from latentcache.decode.pixels.tone import to_srgb_by_tag

Pixels = NDArray[np.uint8]

_PLAIN_MODES = {"1": "L", "L": "L", "LA": "La", "La": "La", "RGBA": "RGBa", "RGBa": "RGBa"}
_PLAIN_MODES |= {"CMYK": "CMYK"}
_WITH_ALPHA = {"La": "LA", "RGBa": "RGBA"}
_COLOUR_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}


def to_resizable(image: Image.Image, tag: ColourTag | None = None) -> Image.Image:
    """Return a decoded picture as L, La, RGB, RGBa or CMYK, profile not yet applied.

    Args:
        image: Decoded.
        tag: What its numbers mean; pictures of more than 8 bits are converted by it here.

    Raises:
        MediaError: ``unsupported``: the values have no known range.
    """
    mode = image.mode
    if mode.startswith("I"):
        return from_integers(image, tag)
    if mode == "F":
        return from_floats(image)
    if mode == "LAB":
        return lab_to_rgb(image)
    target = _PLAIN_MODES.get(mode, "RGB")
    if image.has_transparency_data and target in ("L", "RGB"):
        return image.convert("RGBA").convert("RGBa")
    return image if mode == target else image.convert(target)


def to_srgb(
    pixels_HWC: Pixels,
    mode: str,
    *,
    icc_profile: bytes | None,
    tag: ColourTag | None,
    background: tuple[int, ...],
) -> Pixels:
    """Return pixels that `to_resizable` made as opaque sRGB, uint8 (H, W, 3), contiguous.

    Args:
        pixels_HWC: uint8 of L, La, RGB, RGBa or CMYK.
        mode: Which of them.
        icc_profile: What the file says about its colours.
        tag: Or this, which is used instead; None says nothing.
        background: sRGB, shows through transparent pixels.
    """
    tagged = tag if tag is not None and not tag.is_srgb else None
    if tag is not None:
        icc_profile = None
    if mode == "RGB" and tagged:
        return to_srgb_by_tag(pixels_HWC, tagged)
    if mode == "RGB" and not (icc_profile and _srgb_transform(icc_profile, mode)):
        return np.array(pixels_HWC, order="C")  # a copy: it may be part of something larger
    height, width, _ = pixels_HWC.shape
    image = Image.frombytes(mode, (width, height), pixels_HWC.tobytes())
    alpha, opaque = None, image
    if mode in _WITH_ALPHA:
        straight = image.convert(_WITH_ALPHA[mode])
        alpha, opaque = straight.getchannel("A"), straight.convert(straight.mode[:-1])
    transform = _srgb_transform(icc_profile, opaque.mode) if icc_profile else None
    rgb = _apply(opaque, transform) if transform else opaque.convert("RGB")
    if tagged:
        rgb = Image.fromarray(to_srgb_by_tag(np.asarray(rgb), tagged))
    if alpha is None:
        return np.array(rgb)  # a copy: a view of Pillow's memory is read-only
    canvas = Image.new("RGB", rgb.size, background)
    canvas.paste(rgb, mask=alpha)
    return np.array(canvas)


@lru_cache(maxsize=64)
def _srgb_transform(icc_profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way to sRGB, or None if there is none or nothing to do."""
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc_profile))
        if profile.profile.xcolor_space.strip() != _COLOUR_SPACES[mode]:
            return None
        transform = _build_transform(profile, mode)
        return None if mode == "RGB" and _is_identity(transform) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _build_transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _apply(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    rgb = ImageCms.applyTransform(image, transform)
    assert rgb is not None  # None only where the picture is changed in place
    return rgb


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Return whether colours move by one level at most, as with the many copies of sRGB."""
    axis = np.linspace(0, 255, 9).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(_apply(Image.fromarray(lattice), transform)).astype(int)
    return int(np.abs(moved - lattice).max()) <= 1


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """Return an LAB picture as sRGB."""
    return _apply(image, _lab_transform())


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return _build_transform(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB")
