import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader.transform.normalizer import Normalizer, resolve_normalizer
from latentcache.store import ColumnView, Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation, unit_values

OPS = (
    {"op": "subtract", "values": [1.0, -2.0, 0.5, 3.0], "axis": "C"},
    {"op": "divide", "values": [2.0, 0.5, 4.0, 1.5], "axis": "C"},
    {"op": "patchify", "size": 2},
    {"op": "multiply", "values": [0.25]},
    {"op": "add", "values": [float(value) for value in range(16)], "axis": "C"},
)


def view_of(path: Path, column: SyntheticColumn) -> ColumnView:
    store = Store.create(path)
    add_generation(store, [(Bucket(1, 64, 64), 60, 16)])
    return add_column(store, column).column("latents")


@pytest.mark.parametrize(
    ("axes", "shape"), [("CHW", (3, 4, 6, 8)), ("CTHW", (3, 4, 5, 6, 8))], ids=["image", "clip"]
)
def test_what_is_normalized_can_be_brought_back(axes: str, shape: tuple[int, ...]) -> None:
    end = {"op": "permute", "axes": axes[1:] + "C"}
    normalizer = Normalizer(mode="given", source="given", axes=axes, ops=(*OPS, end))
    latents = torch.randn(shape)
    before = latents.clone()
    result = normalizer.apply(latents)
    assert torch.equal(latents, before)
    assert result.shape == (3, *shape[2:-2], 3, 4, 16)
    assert torch.allclose(normalizer.invert(result), latents, atol=1e-5)


def test_values_go_to_their_channels() -> None:
    normalizer = Normalizer(mode="given", source="given", axes="CHW", ops=OPS[:2])
    result = normalizer.apply(torch.zeros(1, 4, 2, 2, dtype=torch.bfloat16))
    assert result[0, :, 0, 0].tolist() == pytest.approx([-0.5, 4.0, -0.125, -2.0])


def test_values_per_channel_and_frame_are_row_major() -> None:
    op = {"op": "subtract", "values": list(range(6)), "axis": "CT"}
    normalizer = Normalizer(mode="given", source="given", axes="CTHW", ops=(op,))
    result = normalizer.apply(torch.zeros(1, 2, 3, 1, 1))
    assert result.flatten().tolist() == [0, -1, -2, -3, -4, -5]


def test_without_operations_nothing_is_touched() -> None:
    latents = torch.randn(2, 4, 3, 3, dtype=torch.float16)
    none = Normalizer(mode="none", source="none", axes="CHW", ops=())
    assert none.apply(latents) is latents


@pytest.mark.parametrize("has_logvar", [False, True])
def test_measured_figures_are_those_of_the_stored_values(tmp_path: Path, has_logvar: bool) -> None:
    column = SyntheticColumn(has_logvar=has_logvar, dtype="float32")
    view = view_of(tmp_path / "store", column)
    units = [unit_values(column, entry.unit) for entry in view.units()]
    name = "mean" if has_logvar else "z"
    values = np.concatenate([unit[name] for unit in units]).astype(np.float64)
    found = resolve_normalizer([view], "auto", is_sampled=has_logvar)
    variance = values.var(axis=(0, 2, 3))
    if has_logvar:
        logvar = np.concatenate([unit["logvar"] for unit in units]).astype(np.float64)
        variance = variance + np.exp(logvar).mean(axis=(0, 2, 3))
    assert found.source == "measured"
    assert found.ops[0]["values"] == pytest.approx(values.mean(axis=(0, 2, 3)).tolist(), rel=1e-9)
    assert found.ops[1]["values"] == pytest.approx(np.sqrt(variance).tolist(), rel=1e-6)
    one_scale = resolve_normalizer([view], "measured-global", is_sampled=False).ops[1]["values"]
    assert one_scale == pytest.approx([np.sqrt(values.var(axis=(0, 2, 3)).mean())], rel=1e-6)


def test_published_figures_come_first(tmp_path: Path) -> None:
    ops = ({"op": "multiply", "values": (0.18215,), "axis": "C", "size": 0, "axes": ""},)
    published = {"ops": ops, "source": "config"}
    view = view_of(tmp_path / "store", SyntheticColumn(normalizer=published))
    found = resolve_normalizer([view], "auto", is_sampled=False)
    assert found.source == "published (config)"
    assert found.ops == ({"op": "multiply", "values": [0.18215], "axis": "C"},)
    assert Normalizer.from_json(found.to_json()) == found
    assert resolve_normalizer([view], "measured", is_sampled=False).source == "measured"
    bare = replace(view, record=replace(view.record, normalizer=None))
    with pytest.raises(ConfigError, match="publishes nothing; use measured"):
        resolve_normalizer([bare], "published", is_sampled=False)


def test_figures_that_do_not_fit_are_told_when_a_run_opens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ops = ({"op": "multiply", "values": (0.001,), "axis": "C", "size": 0, "axes": ""},)
    published = {"ops": ops, "source": "config"}
    view = view_of(tmp_path / "store", SyntheticColumn(normalizer=published))
    resolve_normalizer([view], "measured", is_sampled=False)
    assert not caplog.messages
    resolve_normalizer([view], "auto", is_sampled=False)
    (told,) = caplog.messages
    assert "where about 1 is expected" in told


def test_figures_of_another_encoder_are_refused() -> None:
    normalizer = Normalizer(mode="given", source="given", axes="CHW", ops=OPS[:1])
    with pytest.raises(ConfigError, match="values of subtract must be 16 for axis C, got 4"):
        normalizer.apply(torch.zeros(1, 16, 2, 2))


@given(
    edge=st.sampled_from([1, 2, 4]),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    num_frames=st.sampled_from([0, 1, 3]),
    is_patched=st.booleans(),
)
def test_packed_tokens_can_be_brought_back(
    edge: int, grid: tuple[int, int], num_frames: int, is_patched: bool
) -> None:
    """FLUX.2 patchifies, takes figures per patch channel, and packs; FLUX.1 packs patches."""
    ops = [{"op": "pack", "size": edge}, {"op": "multiply", "values": [4.0]}]
    if is_patched:
        figures = [1.0 + value for value in range(2 * edge * edge)]
        ops = [
            {"op": "patchify", "size": edge},
            {"op": "divide", "values": figures, "axis": "C"},
            {"op": "pack"},
        ]
    frames = (num_frames,) if num_frames else ()
    shape = (2, *frames, grid[0] * edge, grid[1] * edge)
    axes = "CTHW" if frames else "CHW"
    normalizer = Normalizer(mode="given", source="given", axes=axes, ops=tuple(ops))
    latents = torch.randn(3, *shape)
    tokens = normalizer.apply(latents)
    assert tokens.shape == (3, math.prod((*frames, *grid)), 2 * edge * edge)
    back = normalizer.invert(tokens, shape=shape)
    assert torch.allclose(back, latents, atol=1e-5)
    with pytest.raises(ConfigError, match=r"shape must be that of one stored latent .* got None"):
        normalizer.invert(tokens)
    with pytest.raises(ConfigError, match="each to be brought back, got"):
        normalizer.invert(tokens, shape=(*shape[:-1], 2 * shape[-1]))


def test_tokens_are_packed_as_flux_packs_them() -> None:
    """Source: diffusers, ``FluxPipeline._pack_latents``."""
    latents = torch.randn(2, 16, 6, 8)
    normalizer = Normalizer(
        mode="given", source="given", axes="CHW", ops=({"op": "pack", "size": 2},)
    )
    expected = latents.view(2, 16, 3, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(2, 12, 64)
    assert torch.equal(normalizer.apply(latents), expected)


def test_a_clip_takes_the_first_frames_of_a_table() -> None:
    op = {"op": "subtract", "values": [float(value) for value in range(10)], "axis": "CT"}
    normalizer = Normalizer(mode="given", source="given", axes="CTHW", ops=({**op, "size": 5},))
    result = normalizer.apply(torch.zeros(1, 2, 3, 1, 1))
    assert result.flatten().tolist() == [0, -1, -2, -5, -6, -7]
    with pytest.raises(ConfigError, match="values of subtract must be 12 for axis CT, got 10"):
        normalizer.apply(torch.zeros(1, 2, 6, 1, 1))
