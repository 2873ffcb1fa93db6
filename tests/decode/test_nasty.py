"""Hundreds of hostile files: each decodes, or is refused for a reason that has a word."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.core.rejects import Reject
from latentcache.decode import ImageLimits, ImageTransform, classify, decode_image, probe_image

#: Where we differ from what MANIFEST.csv expects, and why.
EXPLAINED = {
    "Pillow__10ct_32bit_128.tiff": "floats beyond 0 to 1 have no known white: unsupported",
    # MANIFEST.csv gives these files' outcome as videos.
    "bitflips300.mp4": "a video is no image: not_an_image",
    "mkv_named.mp4": "a video is no image: not_an_image",
    "truncated_40pct.mkv": "a video is no image: not_an_image",
}

#: The code each family of MANIFEST.csv's `expected` may end in.
FAMILIES = {
    "fails_open": {
        "not_media",
        "not_an_image",
        "unsupported",
        "corrupt",
        "truncated",
        "empty",
    },
    "fails_load": {"corrupt", "truncated", "unsupported"},
    "bomb": {"bomb"},
}

NAMED = {
    "html_error_page.jpg": ("not_media", "web page"),
    "lfs_pointer.png": ("not_media", "Git LFS pointer"),
    "nul_bytes.jpg": ("not_media", "zero bytes"),
    "zero_byte.png": ("empty", "0 bytes"),
    "video_named.jpg": ("not_an_image", "video (mkv)"),
    "truncated_60pct.png": ("truncated", "PNG file ends before"),
    "truncated_60pct.webp": ("truncated", "WEBP file ends before"),
    "truncated_60pct.avif": ("truncated", "AVIF file ends before"),
    "truncated_60pct.tif": ("truncated", "TIFF file ends before"),
    "truncated_97pct.jpg": ("truncated", "JPEG file ends before"),
    "bomb_30000x30000.png": ("bomb", "limit"),
    "Pillow__hopper.heif": ("unsupported", "HEIF"),
}


def iter_rows(shared_data: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    for name in ("images", "crafted"):
        folder = shared_data / "nasty" / name
        with (folder / "MANIFEST.csv").open(newline="", encoding="utf-8") as table:
            for row in csv.DictReader(table):
                yield folder / row["file"], row


def outcome(path: Path) -> Reject | None:
    data = path.read_bytes()
    limits = ImageLimits()
    stage = "scan"
    try:
        info = probe_image(io.BytesIO(data), size_bytes=len(data), limits=limits)
        stage = "decode"
        geometry = Geometry(
            source_width_px=info.width_px,
            source_height_px=info.height_px,
            resized_width_px=32,
            resized_height_px=32,
            crop_left_px=0,
            crop_top_px=0,
        )
        pixels = decode_image(
            data, Bucket(1, 32, 32), geometry, transform=ImageTransform(), limits=limits
        )
    except MediaError as error:
        return classify(error, stage=stage)
    assert pixels.shape == (32, 32, 3)
    return None


@pytest.fixture(scope="module")
def outcomes(shared_data: Path) -> dict[str, tuple[str, Reject | None]]:
    return {path.name: (row["expected"], outcome(path)) for path, row in iter_rows(shared_data)}


def test_every_outcome_is_the_manifests_or_explained(outcomes) -> None:
    assert len(outcomes) > 300
    differing = {}
    for name, (expected, reject) in outcomes.items():
        family = expected.split(":")[0]
        if reject is None:
            agrees = family.startswith(("decodes", "later_frame_fails", "bomb_warning"))
        else:
            agrees = reject.code in FAMILIES.get(family, set())
        if not agrees:
            differing[name] = reject
    assert differing.keys() == EXPLAINED.keys()
    for name, reject in differing.items():
        assert reject is not None
        assert reject.code == EXPLAINED[name].rpartition(": ")[2]


def test_the_well_known_accidents_are_called_by_name(outcomes) -> None:
    for name, (code, words) in NAMED.items():
        reject = outcomes[name][1]
        assert reject is not None, name
        assert (reject.code, words in reject.reason) == (code, True), (name, reject)


def test_reasons_are_sentences_without_paths_or_addresses(outcomes) -> None:
    for _, reject in outcomes.values():
        if reject is not None:
            assert re.fullmatch(r"(the|this|no) [^\n/<>]{10,160}", reject.reason), reject.reason
            assert "0x" not in reject.reason
            assert re.fullmatch(r"[0-9a-f]{16}", reject.trace_digest)


def test_a_second_look_gives_the_same_rows(shared_data, outcomes) -> None:
    for path, _ in iter_rows(shared_data):
        if outcomes[path.name][1] is not None:
            assert outcome(path) == outcomes[path.name][1], path.name


def test_nothing_is_said_on_the_terminal(shared_data, capfd) -> None:
    for path, _ in iter_rows(shared_data):
        if path.suffix in (".tif", ".tiff"):
            outcome(path)
    assert capfd.readouterr() == ("", "")
