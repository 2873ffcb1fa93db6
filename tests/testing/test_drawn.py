"""The drawn corpus is the same everywhere, says what it shows, and breaks as promised."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from latentcache.testing.drawn import (
    COLOURS,
    MARK_RGB,
    draw_picture,
    marked_picture,
    plan_picture,
    write_drawn_corpus,
)
from latentcache.testing.drawn_shapes import SHAPES, TEXTURES


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_seeds_draw_equal_files(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_drawn_corpus(tmp_path / name, 6, seed=seed, size_px=48, num_broken=3)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_every_good_picture_opens_at_its_size_and_has_a_caption(tmp_path: Path) -> None:
    for index, path in enumerate(write_drawn_corpus(tmp_path, 10, size_px=48)):
        picture = plan_picture(index, seed=0, size_px=48)
        with Image.open(path) as image:
            image.load()
            assert image.size == (picture.width_px, picture.height_px)
            assert min(image.size) == 48
        caption = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        assert picture.shape in caption
        assert picture.colour in caption


def test_broken_files_are_cut_short_a_web_page_and_empty(tmp_path: Path) -> None:
    cut, page, empty = write_drawn_corpus(tmp_path, 0, size_px=48, num_broken=3)
    with Image.open(cut) as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with pytest.raises(UnidentifiedImageError):
        Image.open(page)
    assert empty.stat().st_size == 0


def test_class_folders_name_the_shape(tmp_path: Path) -> None:
    written = write_drawn_corpus(tmp_path, 9, size_px=32, layout="classes")
    assert [path.parent.name for path in written] == ["circle"] * 8 + ["square"]
    assert not list(tmp_path.rglob("*.txt"))


def test_shapes_and_colours_take_turns() -> None:
    pictures = [plan_picture(index, seed=1, size_px=32) for index in range(64)]
    assert {(p.shape, p.colour) for p in pictures} == {(s, c) for s in SHAPES for c in COLOURS}
    assert all(picture.background != picture.colour for picture in pictures)
    assert {picture.texture for picture in pictures} == set(TEXTURES)


def test_shape_shows_its_colour_in_the_central_square() -> None:
    picture = plan_picture(5, seed=0, size_px=64)  # a blue circle
    image = draw_picture(picture)
    left = (image.width - 64) // 2
    top = (image.height - 64) // 2
    square = image.crop((left, top, left + 64, top + 64))
    blue = [p for p in square.get_flattened_data() if p[2] > 150 and p[2] > 1.5 * p[0]]
    assert len(blue) > 0.1 * 64 * 64


def test_marked_picture_is_plain() -> None:
    assert marked_picture(8, 4).getcolors() == [(32, MARK_RGB)]
