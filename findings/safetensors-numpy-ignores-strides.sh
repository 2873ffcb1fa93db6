#!/usr/bin/env bash
# safetensors 0.8.0 saves a NumPy view with its values in another order; 0.5 to 0.7 saved the same view right.
#
# `safetensors.numpy.save` and `save_file` of an array that is not C-contiguous: up to 0.7.0 the values
# came back as they were. 0.8.0 takes as many bytes as the array has from where it begins in memory and
# writes the view's shape beside them. So a picture turned from HWC to CHW by transpose, one field of
# a batch, every second row, or an array in Fortran order (a matrix from SciPy or LAPACK, a .npy
# written by such a program) comes back with right names, shapes and dtypes and wrong values. Nothing
# is raised, where safetensors.torch refuses such a tensor with a clear sentence. The docstring's
# "need to be contiguous and dense" has been there all the time. (Issue 825 of the project, open.)
# For whom it matters: who writes latents, embeddings or statistics with NumPy, worked with an older
# release and has `safetensors>=0.4` in the requirements; a checksum of the file is no help.
# What helps: `np.ascontiguousarray(array)` before saving, always.
#
# Versions: safetensors 0.7.0 and 0.8.0, NumPy 2.4.6. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/show.py" <<'PY'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

picture_hwc = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
batch = np.arange(16, dtype=np.float16).reshape(4, 4)
views = {
    "HWC picture as CHW": picture_hwc.transpose(2, 0, 1),
    "two of four columns": batch[:, 1:3],
    "every second row": batch[::2],
    "Fortran order": np.asfortranarray(batch),
    "some whole rows": batch[1:3],
}
back = load(save(views))
wrong = []
for name, view in views.items():
    same = np.array_equal(back[name], view)
    print(f"safetensors {safetensors.__version__} {name:20} {back[name].shape} equal: {same}")
    if not same:
        wrong.append(name)
contiguous = load(save({name: np.ascontiguousarray(view) for name, view in views.items()}))
helped = all(np.array_equal(contiguous[name], view) for name, view in views.items())
print(f"safetensors {safetensors.__version__} with ascontiguousarray, all equal: {helped}")
sys.exit(len(wrong) != int(sys.argv[1]) or not helped)
PY
for pair in 0.7.0:0 0.8.0:4; do
  version=${pair%:*}
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" -q install "safetensors==$version" "numpy==2.4.6"
  "$work/$version/bin/python" "$work/show.py" "${pair#*:}"
done
