"""Operations done in few passes give what they give one by one, the same bits everywhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.loader.transform.fused import Affine, fuse
from latentcache.loader.transform.normalizer import Normalizer

CHANNELS, FRAMES = 4, 3

scales = st.floats(0.5, 2.0) | st.floats(-2.0, -0.5)
shifts = st.floats(-3.0, 3.0)


@st.composite
def pointwise_ops(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["subtract", "divide", "multiply", "add"]))
    values = scales if kind in ("multiply", "divide") else shifts
    axis, count, table = draw(
        st.sampled_from([("C", 1, 0), ("C", CHANNELS, 0), ("CT", CHANNELS * FRAMES, 0)])
        | st.just(("CT", CHANNELS * 5, 5))
    )
    given = draw(st.lists(values, min_size=count, max_size=count))
    return {"op": kind, "values": given, "axis": axis, **({"size": table} if table else {})}


def one_by_one(latents: torch.Tensor, ops: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """The definition, in float64."""
    found = latents.to(torch.float64)
    for op in ops:
        values = torch.tensor(op["values"], dtype=torch.float64)
        if "size" in op:
            values = values.reshape(CHANNELS, -1)[:, :FRAMES]
        if values.numel() > 1:
            values = values.reshape(CHANNELS, -1, 1, 1)
        match op["op"]:
            case "subtract":
                found = found - values
            case "divide":
                found = found / values
            case "multiply":
                found = found * values
            case "add":
                found = found + values
    return found


@given(ops=st.lists(pointwise_ops(), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_few_passes_give_what_many_do(ops: list[dict[str, Any]], seed: int) -> None:
    torch.manual_seed(seed)
    latents = torch.randn(3, CHANNELS, FRAMES, 2, 2).to(torch.float16)
    normalizer = Normalizer(mode="given", source="given", axes="CTHW", ops=tuple(ops))
    found, expected = normalizer.apply(latents), one_by_one(latents, ops)
    # Rounding of what is a few hundred at most on the way there.
    assert torch.allclose(found.double(), expected, rtol=0, atol=1e-4)
    assert found.dtype == torch.float32
    assert torch.allclose(normalizer.invert(found), latents.float(), rtol=0, atol=1e-3)


def test_a_chain_of_operations_is_one_step() -> None:
    ops = [{"op": "subtract", "values": [1.0]}, {"op": "multiply", "values": [2.0, 3.0, 4.0, 5.0]}]
    fused = fuse([*ops, *ops, {"op": "add", "values": [7.0]}], "CHW", (4, 2, 2))
    assert [type(step) for step in fused.then] == [Affine]
    assert not fused.first
    (scaled,) = fuse([{"op": "multiply", "values": [0.18215]}], "CHW", (4, 2, 2)).then
    assert scaled.subtract is None


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_value_is_the_same_to_the_bit_in_any_block(size: int, num_threads: int) -> None:
    ops = (
        {"op": "subtract", "values": [0.1, -0.7, 0.3, 1.9], "axis": "C"},
        {"op": "divide", "values": [1.3, 0.7, 2.9, 0.31], "axis": "C"},
    )
    normalizer = Normalizer(mode="given", source="given", axes="CHW", ops=ops)
    latents = torch.randn(70, 4, 9, 11).to(torch.bfloat16)
    whole = normalizer.apply(latents)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        pieces = [normalizer.apply(piece) for piece in torch.split(latents, size)]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.cat(pieces), whole)
    fused = normalizer.fused((4, 9, 11))
    inside = slice(1, 3)
    channels = fused.of_channels(inside)
    out = torch.empty(70, 2, 9, 11)
    assert torch.equal(channels.write(latents[:, inside], out), whole[:, inside])


@pytest.mark.parametrize("ends_in", ["patchify", "pack", "permute"])
def test_what_is_given_is_never_written_to(ends_in: str) -> None:
    """Neither where places change, nor where latents are float32 already."""
    last = {"op": ends_in, "size": 2} | ({} if ends_in == "patchify" else {"axes": "TCHW"})
    ops = ({"op": "add", "values": [1.0]}, last, {"op": "multiply", "values": [2.0]})
    normalizer = Normalizer(mode="given", source="given", axes="CTHW", ops=ops)
    latents = torch.randn(2, 4, 3, 4, 6)
    before = latents.clone()
    found = normalizer.apply(latents)
    assert torch.equal(latents, before)
    assert found.is_contiguous()
    back = normalizer.invert(found, shape=latents.shape[1:])
    assert torch.allclose(back, latents, atol=1e-6)


def test_parts_of_clips_take_their_own_frames_of_a_table() -> None:
    table = torch.arange(20.0).reshape(2, 10)
    op = {"op": "subtract", "values": table.flatten().tolist(), "axis": "CT", "size": 10}
    fused = fuse([op], "CTHW", (2, 4, 1, 1))
    starts = torch.tensor([0, 6, 3])
    out = torch.empty(3, 2, 4, 1, 1)
    fused.write(torch.zeros(3, 2, 4, 1, 1), out, starts)
    for found, start in zip(out, starts.tolist(), strict=True):
        assert torch.equal(-found[..., 0, 0], table[:, start : start + 4])
    assert torch.equal(fused.invert(out, starts), torch.zeros(3, 2, 4, 1, 1))
