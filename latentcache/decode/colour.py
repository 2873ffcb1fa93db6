"""Every colour mode to 8-bit sRGB, by stated rules.

Before resizing, a picture becomes L, La, RGB, RGBa or CMYK with 8 bits (`to_resizable`),
colours multiplied by their alpha; after it, on far fewer pixels, its ICC profile is applied and
it is laid over the background (`to_srgb`). The rules are part of ``ImageTransform.version``:

- 16 bits are scaled to 8, never clipped. ``I`` holds 16-bit values; others are refused.
- Floats are read as 0 to 1; others are refused, since their white is anyone's guess.
- A profile is applied with relative colorimetric intent and black point compensation; one
  that is broken, or made for other channels, is ignored.
- CMYK without a profile takes Pillow's plain conversion.
"""

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode

Pixels = NDArray[np.uint8]

_PLAIN_MODES = {"1": "L", "L": "L", "LA": "La", "La": "La", "RGBA": "RGBa", "RGBa": "RGBa"}
_PLAIN_MODES |= {"CMYK": "CMYK"}
_WITH_ALPHA = {"La": "LA", "RGBa": "RGBA"}
_COLOUR_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
_MAX_16_BIT = 65535


def to_resizable(image: Image.Image) -> Image.Image:
    """Return a decoded picture as L, La, RGB, RGBa or CMYK, profile not yet applied.

    Raises:
        MediaError: ``unsupported``: the values have no known range.
    """
    mode = image.mode
    if mode.startswith("I"):
        return _from_integers(image)
    if mode == "F":
        return _from_floats(image)
    if mode == "LAB":
        return lab_to_rgb(image)
    target = _PLAIN_MODES.get(mode, "RGB")
    if image.has_transparency_data and target in ("L", "RGB"):
        return image.convert("RGBA").convert("RGBa")
    return image if mode == target else image.convert(target)


def to_srgb(
    pixels_HWC: Pixels, mode: str, *, icc_profile: bytes | None, background: tuple[int, ...]
) -> Pixels:
    """Return pixels that `to_resizable` made as opaque sRGB, uint8 (H, W, 3), contiguous.

    Args:
        pixels_HWC: uint8 of L, La, RGB, RGBa or CMYK.
        mode: Which of them.
        icc_profile: What the file says about its colours.
        background: sRGB, shows through transparent pixels.
    """
    if mode == "RGB" and not icc_profile:
        return np.array(pixels_HWC, order="C")  # a copy: it may be part of something larger
    height, width, _ = pixels_HWC.shape
    image = Image.frombytes(mode, (width, height), pixels_HWC.tobytes())
    alpha, opaque = None, image
    if mode in _WITH_ALPHA:
        straight = image.convert(_WITH_ALPHA[mode])
        alpha, opaque = straight.getchannel("A"), straight.convert(straight.mode[:-1])
    transform = _srgb_transform(icc_profile, opaque.mode) if icc_profile else None
    rgb = _apply(opaque, transform) if transform else opaque.convert("RGB")
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


def _from_integers(image: Image.Image) -> Image.Image:
    """Return I, I;16, I;16B, ... as L, or La where one value is declared transparent."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _MAX_16_BIT:
        raise _no_known_range("whole numbers beyond 16 bits")
    grey = Image.fromarray(((values * 255 + _MAX_16_BIT // 2) // _MAX_16_BIT).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha: NDArray[np.uint8] = np.where(values == transparent, 0, 255).astype(np.uint8)
        return Image.merge("LA", (grey, Image.fromarray(alpha))).convert("La")
    return grey


def _from_floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise _no_known_range("floats beyond 0 to 1")
    return Image.fromarray((values * 255).round().astype(np.uint8))


def _no_known_range(what: str) -> MediaError:
    reason = f"the pixels are {what}, whose black and white are not known; convert it to 16 bits"
    return MediaError(RejectCode.UNSUPPORTED.word, reason)
