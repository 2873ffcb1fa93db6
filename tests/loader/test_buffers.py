"""Memory is taken again, and never from under whoever still looks at it."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentcache.loader.gather.buffers import Buffers

SHAPE = (4, 2, 8)


def taken(buffers: Buffers, value: float, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return buffers.take("latents", shape, torch.float32).fill_(value)


def test_memory_is_taken_again_once_it_is_let_go() -> None:
    buffers = Buffers(3)
    addresses = set()
    for value in range(20):
        latents = taken(buffers, value)
        addresses.add(latents.data_ptr())
        assert latents.is_contiguous()
        assert latents.shape == SHAPE
    # One is held while the next is made.
    assert len(addresses) == 2


@pytest.mark.parametrize(
    "hold",
    [
        pytest.param(lambda latents: latents, id="tensor"),
        pytest.param(lambda latents: latents[1:, 0], id="view"),
        pytest.param(lambda latents: latents.detach().view(torch.int32), id="other-dtype"),
        pytest.param(lambda latents: latents.numpy()[2:], id="numpy"),
        pytest.param(lambda latents: latents.untyped_storage(), id="storage"),
        pytest.param(torch.utils.dlpack.to_dlpack, id="dlpack"),
        pytest.param(lambda latents: latents * torch.ones(8, requires_grad=True), id="autograd"),
    ],
)
def test_what_is_held_in_any_way_is_never_written_over(
    hold: Callable[[torch.Tensor], Any],
) -> None:
    buffers = Buffers(2)
    latents = taken(buffers, 1.0)
    address, held = latents.data_ptr(), hold(latents)
    del latents
    for _ in range(8):
        assert taken(buffers, 2.0).data_ptr() != address
    del held
    gc.collect()
    assert address in {taken(buffers, 3.0).data_ptr() for _ in range(4)}


def test_whoever_holds_many_batches_gets_fresh_memory() -> None:
    buffers = Buffers(2)
    held = [taken(buffers, value) for value in range(9)]
    assert [latents.unique().item() for latents in held] == list(range(9))


def test_memory_too_small_is_dropped_and_columns_share_none() -> None:
    buffers = Buffers(1)
    taken(buffers, 1.0)
    large = taken(buffers, 2.0, (8, *SHAPE))
    assert large.shape == (8, *SHAPE)
    address = large.data_ptr()
    del large
    assert taken(buffers, 3.0).data_ptr() == address
    assert buffers.take("mask", SHAPE, torch.float32).data_ptr() != address
    # A tensor has the storage it needs, however large the memory is: that is what is saved.
    assert taken(buffers, 4.0).untyped_storage().nbytes() == 4 * 64
