#!/usr/bin/env bash
# torch 2.13.0: F.interpolate(x, scale_factor=1.01, recompute_scale_factor=False) says that the given
# factor, not the ratio of the sizes, is what positions are computed with. It is, until the output
# comes out as large as the input (64 * 1.01 = 64.64, so 64): then most modes return the input
# unchanged, a factor of exactly 1, and one mode does not. Which one depends on the mode, on
# antialias and on the dtype: bicubic of floats without antialias zooms by 1.01, the same call with
# antialias=True, or on uint8, or bilinear, does not zoom. On an input one pixel larger or a factor
# one per cent larger all of them zoom. So a crop that is resampled by a fixed scale (to keep pictures
# aligned with their latents) jumps by up to a third of a pixel at some sizes, in some modes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import torch
import torch.nn.functional as F

print("torch", torch.__version__)
ramp = torch.arange(64.0).repeat(1, 1, 64, 1) * 2  # a smooth picture: two levels a pixel
seen = {}
for dtype in (torch.float32, torch.uint8):
    for mode in ("bilinear", "bicubic"):
        for antialias in (False, True):
            ways = {}
            for factor in (1.01, 1.02):
                out = F.interpolate(
                    ramp.to(dtype), scale_factor=(factor, factor), mode=mode, antialias=antialias,
                    align_corners=False, recompute_scale_factor=False,
                ).float()
                # Where the zoom is done, the last columns lie left of where they lay.
                ways[factor] = (out.shape[-1], round(out[0, 0, 32, 60].item() - 120, 2))
            seen[str(dtype)[6:], mode, antialias] = ways
            print(f"{str(dtype)[6:]:8} {mode:9} antialias={antialias!s:5}", ways)
# 64 pixels stay 64 at 1.01: the shift of a true zoom at column 60 is 60 - 60.5 / 1.01 = 0.6 px.
zooming = {key for key, ways in seen.items() if ways[1.01][0] == 64 and abs(ways[1.01][1]) > 0.3}
print("same size, and zooms all the same:", sorted(zooming))
assert zooming == {("float32", "bicubic", False)}, "the behaviour has changed"
larger = {key for key, ways in seen.items() if ways[1.02][0] == 65 and abs(ways[1.02][1]) > 0.3}
print("one pixel larger, and zooms:", len(larger), "of", len(seen))
assert len(larger) == len(seen), "the behaviour has changed"
PYTHON
