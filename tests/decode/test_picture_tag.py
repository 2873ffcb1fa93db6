"""Pictures that say they are no sRGB come out as the sRGB of what they show."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from latentcache.core.errors import MediaError
from latentcache.decode import ImageTransform
from latentcache.decode.picture.avif_boxes import find_nclx
from latentcache.decode.picture.picture_tag import read_tag
from latentcache.decode.pixels.gamut import BT709, BT2020, ColourTag, to_bt709
from latentcache.decode.pixels.tone import to_srgb_by_tag
from tests.decode.files import with_chunk

P3 = ColourTag.from_cicp(12, 13)
REFUSING = ImageTransform(hdr="refuse")


def flat(colour: tuple[int, int, int] | int, size_px: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB" if isinstance(colour, tuple) else "L", size_px, colour)


def with_nclx(avif: bytes, primaries: int, transfer: int) -> bytes:
    """Return an AVIF whose first colour box says other code points."""
    at = avif.index(b"nclx") + 4
    return avif[:at] + struct.pack(">HH", primaries, transfer) + avif[at + 4 :]


def with_icc_cicp(primaries: int, transfer: int) -> bytes:
    """Return an sRGB profile with a ``cicp`` tag, which ICC's fourth version allows."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (count,) = struct.unpack_from(">I", data, 128)
    table, body = data[132 : 132 + 12 * count], data[132 + 12 * count :]
    moved = b"".join(
        table[12 * n : 12 * n + 4]
        + struct.pack(">II", *(np.add(struct.unpack_from(">II", table, 12 * n + 4), (12, 0))))
        for n in range(count)
    )
    at = len(data) + 12
    tag = b"cicp" + bytes(4) + bytes([primaries, transfer, 0, 1])
    whole = data[:128] + struct.pack(">I", count + 1) + moved
    whole += b"cicp" + struct.pack(">II", at, 12) + body + tag
    return struct.pack(">I", len(whole)) + whole[4:]


def tag_of(data: bytes) -> ColourTag | None:
    with Image.open(io.BytesIO(data)) as image:
        return read_tag(image, data)


def pq_code(nits: float) -> int:
    """Return the 8-bit code of a luminance; source: SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (nits / 10_000) ** m1
    return round(255 * ((c1 + c2 * power) / (1 + c3 * power)) ** m2)


@pytest.mark.parametrize("format", ["PNG", "AVIF"])
@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_pictures_are_tone_mapped_or_refused(encode, decode, format, transfer) -> None:
    code = pq_code(203) if transfer == 16 else round(0.75 * 255)
    options = {} if format == "PNG" else {"quality": 100}
    plain = encode(flat((code, code, code)), format, **options)
    assert decode(plain, transform=REFUSING)[0, 0].tolist() == [code] * 3
    data = (
        with_chunk(plain, b"cICP", bytes([9, transfer, 0, 1]))
        if format == "PNG"
        else with_nclx(plain, 9, transfer)
    )
    # Reference white is 0.89 of the range.
    assert np.abs(decode(data)[16, 16].astype(int) - 227).max() <= 4
    with pytest.raises(MediaError, match=r"the picture is HDR \((PQ|HLG)\)") as caught:
        decode(data, transform=REFUSING)
    assert caught.value.code == "unsupported"


def test_linear_light_and_other_gammas_are_converted(encode, decode) -> None:
    plain = encode(flat(128), "PNG")
    for gamma, expected in ((1.0, 188), (1 / 1.8, 145), (1 / 2.2, 128), (0.45455, 128), (0, 128)):
        told = struct.pack(">I", round(gamma * 100_000))
        found = decode(with_chunk(plain, b"gAMA", told))[0, 0].astype(int)
        assert np.abs(found - expected).max() <= 1, gamma


def test_wide_gamut_is_converted_to_the_same_colour(encode, decode) -> None:
    # A red that sRGB has too, in numbers of BT.2020 and of Display P3.
    inside = np.array([200, 60, 50])
    for points, name in (((9, 13), BT2020), ((12, 13), P3.primaries)):
        light = ((inside / 255 + 0.055) / 1.055) ** 2.4
        wide = np.linalg.inv(np.array(to_bt709(name))) @ light
        numbers = np.round(255 * (1.055 * wide ** (1 / 2.4) - 0.055)).astype(int)
        picture = flat(tuple(int(value) for value in numbers))
        png = with_chunk(encode(picture, "PNG"), b"cICP", bytes([*points, 0, 1]))
        avif = with_nclx(encode(picture, "AVIF", quality=100, subsampling="4:4:4"), *points)
        for data in (png, avif):
            assert np.abs(decode(data)[16, 16].astype(int) - inside).max() <= 4


def test_chromaticities_of_a_png_are_its_primaries(encode) -> None:
    plain = encode(flat((200, 60, 50)), "PNG")
    rounded = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    assert tag_of(with_chunk(plain, b"cHRM", rounded)) == ColourTag()
    p3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    found = tag_of(with_chunk(plain, b"cHRM", p3))
    assert found is not None
    assert found.primaries == pytest.approx(P3.primaries)
    for broken in (bytes(32), struct.pack(">8I", *[33000] * 8), struct.pack(">8I", *[2**31] * 8)):
        assert tag_of(with_chunk(plain, b"cHRM", broken)) == ColourTag()


def test_the_first_of_several_tags_that_is_to_be_believed_is() -> None:
    def png(*chunks: tuple[bytes, bytes], **options: object) -> bytes:
        buffer = io.BytesIO()
        flat(128).save(buffer, "PNG", **options)
        data = buffer.getvalue()
        for name, told in chunks:
            data = with_chunk(data, name, told)
        return data

    linear, srgb = (b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")
    hdr = (b"cICP", bytes([9, 16, 0, 1]))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert tag_of(png(linear)) == ColourTag(curve="linear")
    assert tag_of(png(linear, srgb)) == ColourTag()
    assert tag_of(png(linear, icc_profile=profile)) is None
    assert tag_of(png(linear, srgb, hdr, icc_profile=profile)) == ColourTag.from_cicp(9, 16)


def test_a_profile_that_says_hdr_is_read_by_its_code_points(encode, decode) -> None:
    picture = flat((pq_code(203),) * 3)
    for format in ("PNG", "JPEG", "AVIF"):
        data = encode(picture, format, quality=100, icc_profile=with_icc_cicp(9, 16))
        assert tag_of(data) == ColourTag.from_cicp(9, 16)
        assert np.abs(decode(data)[16, 16].astype(int) - 227).max() <= 4
        assert tag_of(encode(picture, format, icc_profile=with_icc_cicp(12, 13))) is None


def test_an_avif_without_a_colour_box_is_read_by_its_stream(encode) -> None:
    data = encode(flat((100, 100, 100)), "AVIF", quality=100)
    assert tag_of(data) == ColourTag()
    # The box becomes free space, the stream's own numbers (sRGB) stay.
    assert tag_of(data.replace(b"colrnclx", b"freenclx")) == ColourTag()


def test_another_items_colour_box_is_not_the_pictures(encode) -> None:
    data = encode(flat((100, 100, 100)), "AVIF", quality=100)
    at = data.index(b"ipco")
    size = struct.unpack_from(">I", data, at - 4)[0]
    stray = struct.pack(">I", 19) + b"colrnclx" + struct.pack(">HHHB", 9, 16, 9, 128)
    grown = data[: at - 4] + struct.pack(">I", size + 19) + data[at : at - 4 + size] + stray
    grown += data[at - 4 + size :]
    for name in (b"iprp", b"meta"):
        place = grown.index(name) - 4
        grown = (
            grown[:place]
            + struct.pack(">I", struct.unpack_from(">I", grown, place)[0] + 19)
            + grown[place + 4 :]
        )
    assert find_nclx(grown) == (1, 13)


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_broken_boxes_say_nothing_and_raise_nothing(encode, cut) -> None:
    data = encode(flat((100, 100, 100)), "AVIF")
    assert find_nclx(data[:cut]) in (None, (1, 13))
    find_nclx(data[:cut] + b"\xff\xff" + data[cut + 2 :])


def test_greys_stay_grey_in_any_primaries_and_white_stays_white() -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for points in (9, 10, 11, 12):
        found = to_srgb_by_tag(greys, ColourTag.from_cicp(points, 13))
        assert np.abs(found.astype(int) - greys).max() <= 1, points


def test_matrices_are_those_of_the_standards() -> None:
    # Source: ITU-R BT.2087, equation 2.
    expected = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    assert np.abs(np.array(to_bt709(BT2020)) - expected).max() < 1e-4
    assert np.abs(np.array(to_bt709(BT709)) - np.eye(3)).max() < 1e-6
