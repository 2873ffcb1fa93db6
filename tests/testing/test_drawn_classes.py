"""The class corpus numbers its classes, and the mean of a class tells it from the others."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from latentcache.testing.drawn_classes import CLASSES, write_drawn_classes


def test_folders_name_the_class_and_the_table_numbers_it(tmp_path: Path) -> None:
    written = write_drawn_classes(tmp_path, 30, size_px=16)
    table = (tmp_path / "metadata.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in table.splitlines()]
    assert len(CLASSES) == 24
    assert [tmp_path / line["file_name"] for line in lines] == written
    for line in lines:
        assert CLASSES[line["label"]].replace(" ", "_") == line["file_name"].partition("/")[0]
        assert line["caption"] == f"a {CLASSES[line['label']]}"


def test_equal_seeds_draw_equal_pictures(tmp_path: Path) -> None:
    first, second, other = (
        [path.read_bytes() for path in write_drawn_classes(tmp_path / name, 3, seed=seed)]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second
    assert not set(first) & set(other)


def test_nearest_class_mean_is_nearly_always_the_own_one(tmp_path: Path) -> None:
    written = write_drawn_classes(tmp_path, 240, size_px=32)
    pixels = np.stack([np.asarray(Image.open(path), dtype=np.float32) for path in written])
    labels = np.arange(240) % 24
    # Means of one half judge the other: a picture is not compared with itself.
    known, asked = pixels[:120].reshape(120, -1), pixels[120:].reshape(120, -1)
    means = np.stack([known[labels[:120] == label].mean(axis=0) for label in range(24)])
    nearest = np.square(asked[:, None] - means[None]).sum(axis=2).argmin(axis=1)
    assert (nearest == labels[120:]).mean() > 0.9
