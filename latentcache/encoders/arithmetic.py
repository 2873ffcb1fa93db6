"""Arithmetic: the settings of torch that change values, pinned around every forward pass."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def pinned_arithmetic(device: torch.device, *, allow_tf32: bool) -> Iterator[None]:
    """Run without gradients, autocast or algorithm search, whatever the caller has set.

    An outer autocast can force half-precision convolutions inside a float32 VAE, and
    cuDNN's search may pick another algorithm in the next process.

    Args:
        device: Where the encoder computes.
        allow_tf32: Whether CUDA convolutions may round float32 inputs to 10 bits; part
            of the encoder's knobs, without effect elsewhere.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if device.type == "cuda":
            flags = {"benchmark": False, "deterministic": True, "allow_tf32": allow_tf32}
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, **flags))
        yield
