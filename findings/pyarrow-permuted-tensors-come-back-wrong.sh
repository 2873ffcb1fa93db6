#!/usr/bin/env bash
# pyarrow 26.0.1: a batch in channels-last memory does not come back from a fixed-shape tensor column.
#
# `FixedShapeTensorArray.from_numpy_ndarray` takes arrays that are not C-contiguous: it stores the memory
# as it lies, and writes into the type which axis is which ("permutation"). `to_numpy_ndarray` should
# undo that. With two axes changed over it does. With axes turned round, as HWC is seen as CHW after
# `transpose(0, 3, 1, 2)` and a torch tensor is in channels_last, the permutation is written for the other
# direction, and the reader's strides fit neither. All such batches are written without a word. Clips
# (THWC seen as CTHW) and CHW seen as HWC come back with turned axes, some values twice and others
# never; if all sides are equal even the shape is right. Most pictures (HWC seen as CHW) cannot be read
# at all: "strides must not involve buffer over run". A single row, `column[0].to_numpy()`, is wrong
# where two axes are changed over, too. A Parquet file keeps the mistaken type, so the mistake shows
# when the job is over. In the storage the values are whole, in the order in which they lay in memory.
# For whom it matters: who keeps pictures, latents or embeddings in tensor columns of Arrow or Parquet.
# What helps: `np.ascontiguousarray(batch)` before, always.
#
# Versions: pyarrow 26.0.1, NumPy 2.4.6. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "pyarrow==26.0.1" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import sys

import numpy as np
import pyarrow as pa

from_numpy = pa.FixedShapeTensorArray.from_numpy_ndarray


def numbered(*shape):
    """An array whose values are all different."""
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


BATCHES = {
    "contiguous": numbered(2, 3, 4, 5),
    "two axes changed over": numbered(2, 3, 4, 5).swapaxes(2, 3),
    "CHW seen as HWC": numbered(2, 4, 32, 24).transpose(0, 2, 3, 1),
    "the same, all sides equal": numbered(2, 4, 4, 4).transpose(0, 2, 3, 1),
    "clips, THWC seen as CTHW": numbered(2, 5, 32, 24, 16).transpose(0, 4, 1, 2, 3),
    "pictures, HWC seen as CHW": numbered(2, 64, 48, 3).transpose(0, 3, 1, 2),
}


def outcome(batch):
    """What comes back of a batch: "equal", "wrong" or "raises", and a line that tells more."""
    column = from_numpy(batch)
    try:
        back = column.to_numpy_ndarray()
    except pa.ArrowInvalid as error:
        return "raises", str(error)
    lost = len(np.setdiff1d(batch, back))
    return "equal" if np.array_equal(back, batch) else "wrong", f"{back.shape}, values lost: {lost}"


print("pyarrow", pa.__version__, "NumPy", np.__version__)
found = []
for name, batch in BATCHES.items():
    word, more = outcome(batch)
    print(f"{name:26}{batch.shape} comes back {word}: {more}")
    found.append(word)
    assert outcome(np.ascontiguousarray(batch))[0] == "equal", "ascontiguousarray helps no longer"
matrices = numbered(2, 3, 4).swapaxes(1, 2)
column = from_numpy(matrices)
whole = np.array_equal(column.to_numpy_ndarray(), matrices)
row = column[0].to_numpy()
print("matrices changed over: the column equal:", whole, "- its first row:", row.tolist(), "of", matrices[0].tolist())
sys.exit(found != ["equal"] * 2 + ["wrong"] * 3 + ["raises"] or not whole or np.array_equal(row, matrices[0]))
PY
"$work/venv/bin/python" "$work/show.py"
