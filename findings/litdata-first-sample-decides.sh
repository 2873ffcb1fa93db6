#!/usr/bin/env bash
# LitData 0.2.76 notes which tensors a sample has, and what they are, from the first sample alone.
#
# `optimize` stores what a function returns, and one expects each sample to come back as it went in. A
# worker notes the names and the kind of every value of its first sample and takes later samples for
# the same. As soon as there is a tensor among the values:
# - vectors (tokens, pooled embeddings, features, a flattened latent) carry no dtype and no shape of
#   their own: float16 after a first float32 comes back as half as many meaningless numbers, int64 after
#   it as twice as many, and a matrix after a vector comes back flat;
# - a name that the first sample lacks (a condition, a second field) is dropped from all that have it.
# All of it is silent, in writing and in reading. The same with NumPy arrays. Matrices after a first
# matrix keep their own dtype and shape, and so do dicts of numbers and text keep later names, so
# tests with those pass.
# For whom it matters: caches of text embeddings, tokens and features, of which some were computed
# under autocast or read from another file, and fields that only some samples have.
# What helps: all keys in every sample, and `.to(dtype)` for each vector (or `vector[None]`).
#
# Versions: litdata 0.2.76, torch 2.13.0, NumPy 2.4.6. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "litdata==0.2.76" "torch==2.13.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import sys
import tempfile
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")

import torch
from litdata import StreamingDataset, optimize

SAMPLES = [
    {"z": torch.arange(4.0)},
    {"z": torch.arange(4.0).half()},
    {"z": torch.arange(4)},
    {"z": torch.ones(2, 2)},
    {"z": torch.arange(4.0), "condition": torch.ones(2, 2)},
]


def sample(number):
    """Give one of the samples above."""
    return SAMPLES[number]


def main():
    print("litdata", version("litdata"), "torch", torch.__version__)
    with tempfile.TemporaryDirectory() as folder:
        numbers = list(range(len(SAMPLES)))
        optimize(sample, numbers, folder, num_workers=1, chunk_size=10, verbose=False)
        back = [StreamingDataset(folder)[number] for number in numbers]
    for given, got in zip(SAMPLES, back, strict=True):
        print("in: ", given)
        print("out:", got)
    shapes = [tuple(got["z"].shape) for got in back]
    kept = any("condition" in got for got in back)
    all_float32 = all(got["z"].dtype == torch.float32 for got in back)
    print("shapes:", *shapes, "- all float32:", all_float32, "- condition kept:", kept)
    sys.exit(shapes != [(4,), (2,), (8,), (4,), (4,)] or not all_float32 or kept)


if __name__ == "__main__":
    main()
PY
TMPDIR=$work "$work/venv/bin/python" "$work/show.py"
