"""A tensor that came in slabs has the bytes of the one that was whole."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentcache.store import SpilledTensor, TensorBytes
from latentcache.store.format.tar import TarWriter


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.integers(1, 700)),
    cuts=st.sets(st.integers(1, 5), max_size=3),
)
def test_a_tar_of_slabs_is_that_of_the_whole(
    shape: tuple[int, int, int, int], cuts: set[int], tmp_path: Path
) -> None:
    whole = np.random.default_rng(1).standard_normal(shape).astype(np.float16)
    spilled = SpilledTensor(tmp_path, "float16", shape, axis=1)
    bounds = [0, *sorted(cut for cut in cuts if cut < shape[1]), shape[1]]
    for start, stop in pairwise(bounds):
        assert not spilled.is_whole
        spilled.append(TensorBytes.from_numpy(whole[:, start:stop]))
    assert spilled.is_whole
    sinks = io.BytesIO(), io.BytesIO()
    for sink, tensor in zip(sinks, (spilled, TensorBytes.from_numpy(whole)), strict=True):
        writer = TarWriter(sink, column="latents")
        writer.add("0" * 20, {"z": tensor})
        writer.finish()
    spilled.close()
    assert sinks[0].getvalue() == sinks[1].getvalue()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(2, 1, 5), (2, 4, 4), (3, 1, 4)])
def test_a_slab_of_another_shape_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    spilled = SpilledTensor(tmp_path, "float32", (2, 3, 4), axis=1)
    with pytest.raises(ValueError, match="slab must be float32"):
        spilled.append(TensorBytes.from_numpy(np.zeros(shape, np.float32)))
    spilled.close()
