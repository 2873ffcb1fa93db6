#!/usr/bin/env bash
# datasets 5.2.0 stores the file that a picture was opened from, not the picture that it is given.
#
# A PIL picture handed to an Image column (from_dict, from_generator, the result of map) is not
# encoded if it still has a `filename`: datasets notes the path, and reads the file when the table is used or
# written. What has been done to the picture in place meanwhile is lost: `thumbnail`, `draft` and
# `load`, `paste` and ImageDraw (faces blanked out, watermarks covered), `putalpha`, `seek` to another frame. Two
# pictures with equal pixels, modes and sizes are stored differently, as `resize`, `crop` and `convert`
# make a picture without a name, and so does opening from an open file. So the same line works in a test
# on drawn pictures and with every method that returns a new one; no error or warning tells them apart.
# The size of the stored rows is that of the originals, and so is what `push_to_hub` publishes.
# (By their sources the JPEG columns of LitData 0.2.76 and MDS 0.13.0 do the same.)
# For whom it matters: who shrinks or redacts photos on the way into a data set. What helps:
# `picture = picture.copy()` after the change, or opening from an open file.
#
# Versions: datasets 5.2.0, Pillow 13.0.0, NumPy 2.4.6. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "datasets==5.2.0" "pillow==13.0.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import sys
import tempfile
from pathlib import Path

import datasets
import numpy as np
import PIL
from PIL import Image, ImageDraw

datasets.disable_progress_bars()
FEATURES = datasets.Features({"image": datasets.Image()})


def shrunk(source):
    """A picture made smaller in place."""
    picture = Image.open(source)
    picture.thumbnail((80, 60))
    return picture


def redacted(source):
    """A picture with a black box over its left half."""
    picture = Image.open(source)
    ImageDraw.Draw(picture).rectangle((0, 0, 159, 239), fill=0)
    return picture


def stored(picture, folder):
    """The picture as it comes back from a data set on disk."""
    written = datasets.Dataset.from_dict({"image": [picture]}, features=FEATURES)
    written.to_parquet(folder / "rows.parquet")
    read = datasets.Dataset.from_parquet(str(folder / "rows.parquet"), cache_dir=str(folder / "cache"))
    return read[0]["image"].convert("RGB")


def is_same(one, other):
    """Whether two pictures have one size and one set of pixels."""
    return one.size == other.size and np.array_equal(np.asarray(one), np.asarray(other.convert("RGB")))


print("datasets", datasets.__version__, "Pillow", PIL.__version__)
results = []
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    original = Image.fromarray(np.random.default_rng(0).integers(1, 255, (240, 320, 3), dtype=np.uint8))
    for kind in ("png", "jpg"):
        original.save(folder / f"photo.{kind}")
    for number, (change, kind) in enumerate((c, k) for c in (shrunk, redacted) for k in ("png", "jpg")):
        path = folder / f"photo.{kind}"
        for way, picture in (("path", change(path)), ("file", change(path.open("rb"))), ("copy", change(path).copy())):
            place = folder / f"{number}{way}"
            place.mkdir()
            back = stored(picture, place)
            whole = is_same(back, Image.open(path))
            print(f"{change.__name__:9}{kind} opened by {way}: given {picture.size}, stored {back.size}, the original: {whole}")
            results.append((way, whole))
sys.exit(any(whole != (way == "path") for way, whole in results))
PY
HF_HUB_OFFLINE=1 HF_HOME=$work/home "$work/venv/bin/python" "$work/show.py"
