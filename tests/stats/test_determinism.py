"""Equal batches give equal bytes, whatever the threads, the CPU kernels and the strides."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from latentcache.stats import merge_arrays

PROGRAM = """
import hashlib
import numpy as np
from latentcache.core.fields import Field
from latentcache.stats import UnitStatistics

rng = np.random.default_rng(3)
digest = hashlib.sha256()
for channels in (3, 4, 12, 16, 33, 128):
    field = Field(name="z", kind="point", axes="CHW", channels=None, dtype="float32")
    for size in ((32, 32), (24, 40), (7, 9)):
        unit = UnitStatistics([field], "point")
        for offset in (0.0, 50.0):
            values = rng.standard_normal((8, channels, *size)).astype(np.float32) + offset
            unit.add({"z": values.astype(np.float32)})
        for name, array in sorted(unit.arrays().items()):
            digest.update(name.encode() + array.tobytes())
print(digest.hexdigest())
"""


def digest_with(**environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip()


def test_threads_change_no_bit() -> None:
    digests = {digest_with(OPENBLAS_NUM_THREADS=number) for number in ("1", "4")}
    assert len(digests) == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86 kernels")
def test_cpu_kernels_change_no_bit() -> None:
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    kernels = ["Haswell", "Zen"]
    if any("AVX512" in name or name == "X86_V4" for name in found):
        kernels.append("SkylakeX")
    digests = {digest_with(OPENBLAS_CORETYPE=kernel) for kernel in kernels}
    digests.add(digest_with(NPY_DISABLE_CPU_FEATURES=" ".join(found)))
    assert len(digests) == 1


def test_memory_layout_changes_no_bit(
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    values = np.random.default_rng(0).standard_normal((4, 6, 3, 8, 8)).astype(np.float32)
    strided = np.zeros((8, 6, 3, 8, 16), dtype=np.float32)[::2, ..., ::2]
    strided[:] = values
    layouts = [
        values,
        np.asfortranarray(values),
        np.ascontiguousarray(values.transpose(0, 2, 3, 4, 1)).transpose(0, 4, 1, 2, 3),
        strided,
    ]
    digests = set()
    for layout in layouts:
        logvar = layout.copy() - 4
        arrays = accumulate([layout], "CTHW", name="mean", logvars=[logvar], patch_size=2)
        content = b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
        digests.add(hashlib.sha256(content).hexdigest())
    assert len(digests) == 1


def test_a_used_buffer_leaves_no_trace(
    accumulate: Callable[..., dict[str, NDArray[np.generic]]],
) -> None:
    rng = np.random.default_rng(0)
    # 427 positions leave part of their second block empty.
    sizes = [(7, 61), (16, 16), (7, 61), (7, 61)]
    batches = [rng.standard_normal((2, 5, *size)).astype(np.float32) + 90 for size in sizes]
    alone = merge_arrays([accumulate([batch]) for batch in batches])
    reused = accumulate(batches)
    assert alone.keys() == reused.keys()
    for name, array in alone.items():
        np.testing.assert_array_equal(array, reused[name], err_msg=name)
