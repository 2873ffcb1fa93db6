#!/usr/bin/env bash
# diffusers 0.42.1: one pixel just below 0 in a batch of tensors leaves the whole batch un-normalised.
#
# VaeImageProcessor.preprocess turns [0, 1] into the autoencoder's [-1, 1]. Of tensors and arrays it asks
# `image.min() < 0`, over the batch, to find out whether that has been done: is any value below 0, all
# pictures go on as they are, in half the contrast and half bright, and are encoded so. A bicubic or
# antialiased resize of floats overshoots at hard edges (-0.01 is common), so one picture with text or
# a line in it decides for its neighbours; in a batch of its own each would be right. VideoProcessor asks
# clip by clip. A FutureWarning speaks of a deprecated input, and Python shows it once a process. Beside
# that, `height` and `width` of a list of PIL pictures are the first one's: the order of a batch decides into
# which shape the others are squeezed; and tensors are resized by nearest neighbour, PIL pictures by Lanczos.
# For whom it matters: who resizes on tensors and encodes batches with the pipeline's own processor.
# What helps: `.clamp(0, 1)` before, sizes given, or `2 * x - 1` by hand.
#
# Versions: diffusers 0.42.1, torch 2.13.0, Pillow 13.0.0. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "diffusers==0.42.1" "torch==2.13.0" "numpy==2.4.6" "pillow==13.0.0"
cat > "$work/show.py" <<'PY'
import sys
import warnings

import diffusers
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

warnings.simplefilter("ignore")
processor = VaeImageProcessor()
smooth = torch.linspace(0, 1, 128).expand(1, 3, 128, 128)
lettered = (torch.arange(128) // 8 % 2).float().expand(1, 3, 128, 128)
resize = {"size": (64, 64), "mode": "bicubic", "antialias": True, "align_corners": False}
smooth, lettered = (torch.nn.functional.interpolate(picture, **resize) for picture in (smooth, lettered))
smooth = smooth.clamp(0, 1)

print("diffusers", diffusers.__version__, "torch", torch.__version__)
alone = processor.preprocess(smooth)
beside = processor.preprocess(torch.cat([smooth, lettered]))[:1]
helped = processor.preprocess(torch.cat([smooth, lettered]).clamp(0, 1))[:1]
print("lowest value of the neighbour:", round(lettered.min().item(), 4))
for name, made in (("alone", alone), ("beside it", beside), ("beside it, clamped", helped)):
    print(f"the smooth picture {name}: {made.min().item():.2f} to {made.max().item():.2f}")
wide, tall = Image.new("RGB", (128, 64)), Image.new("RGB", (64, 128))
shapes = [tuple(processor.preprocess(pair).shape) for pair in ([wide, tall], [tall, wide])]
print("a wide and a tall picture, in both orders:", *shapes)
wrong = torch.equal(beside, smooth) and torch.equal(alone, 2 * smooth - 1) and torch.equal(helped, alone)
sys.exit(not wrong or shapes != [(2, 3, 64, 128), (2, 3, 128, 64)])
PY
"$work/venv/bin/python" "$work/show.py"
