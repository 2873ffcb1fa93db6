"""A CUDA stream of the loader's own, so that copies to the device run beside training.

Not run anywhere yet: written against PyTorch's notes on CUDA semantics.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch


class CudaStream:
    """Where batches are copied, drawn and normalized."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own

    def current(self) -> AbstractContextManager[object]:
        """Make this thread put its work on the stream."""
        return torch.cuda.stream(self._stream)

    def arrival(self, tensors: Sequence[torch.Tensor]) -> Callable[[], None]:
        """Return what makes tensors safe to use on the stream of whoever calls it.

        Args:
            tensors: Made on this stream, by the work that is on it now.
        """
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
        done.record(self._stream)

        def arrive() -> None:
            user = torch.cuda.current_stream(self._device)
            user.wait_event(done)
            for tensor in tensors:
                # Or the allocator gives the memory to the next batch while it is still read.
                tensor.record_stream(user)

        return arrive
