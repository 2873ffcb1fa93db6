#!/usr/bin/env bash
# Ray 2.60.0: an in-place torch operation on a batch changes the data set itself, for every later reader.
#
# Ray's objects are said to be immutable, and NumPy keeps to it: an array from `ray.get` or from
# `iter_batches` is read-only, and writing to it raises. A torch tensor over the same memory knows
# nothing of it. `torch.from_numpy(ray.get(ref))` shares the object store's pages, and so do the
# batches of `Dataset.iter_torch_batches` of a materialized data set, which Ray itself makes: after
# `batch["z"].sub_(mean)` the stored rows are changed. The second epoch is normalised twice, the third
# three times; other processes on the node see it too, and nothing is raised. (A data set that is not
# materialized is computed anew, and a copy to a GPU comes before; neither was run here.)
# For whom it matters: who normalises latents (`sub_`, `div_`, `clamp_`, `+=`), mixes in noise or masks
# in place, in a loop or a collate function. What helps: an out-of-place operation first, or `.clone()`.
#
# Versions: ray 2.60.0, torch 2.13.0, NumPy 2.4.6, pyarrow 26.0.1, pandas 3.1.1. Exits non-zero if the
# behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "ray[data,train]==2.60.0" "torch==2.13.0" "numpy==2.4.6" "pyarrow==26.0.1" "pandas==3.1.1"
cat > "$work/show.py" <<'PY'
import sys
import warnings

warnings.simplefilter("ignore")

import numpy as np
import ray
import torch

ray.init(
    address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
    object_store_memory=200 * 2**20,
)


@ray.remote
def mean_elsewhere(array):
    """What another process sees."""
    return float(array.mean())


print("ray", ray.__version__, "torch", torch.__version__)
reference = ray.put(np.zeros((512, 512), np.float32))
array = ray.get(reference)
torch.from_numpy(array).add_(1)
stored = ray.get(mean_elsewhere.remote(reference))
print("NumPy may write:", array.flags.writeable, "- mean of the zeros in another process:", stored)

ray.data.DataContext.get_current().enable_progress_bars = False
latents = ray.data.from_numpy(np.full((64, 4, 32, 32), 5, np.float32)).materialize()
epochs = []
for _ in range(3):
    means = []
    for batch in latents.iter_torch_batches(batch_size=16):
        batch["data"].sub_(5)  # the mean
        means.append(batch["data"].mean().item())
    epochs.append(means)
print("means of normalised batches, epoch by epoch:", *epochs)
same_twice = [
    [(batch["data"] - 5).mean().item() for batch in latents.iter_torch_batches(batch_size=64)]
    for _ in range(2)
]
print("out of place, twice:", *same_twice)
expected = [[0.0] * 4, [-5.0] * 4, [-10.0] * 4]
sys.exit(array.flags.writeable or stored != 1.0 or epochs != expected or same_twice[0] != same_twice[1])
PY
"$work/venv/bin/python" "$work/show.py" 2>&1 | grep -v "INFO\|WARNING"
