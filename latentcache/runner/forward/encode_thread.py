"""The one thread on which the encoders of an actor work, so that no two do at the same time."""

from concurrent.futures import ThreadPoolExecutor

import torch


def encode_thread(threads: int) -> ThreadPoolExecutor:
    """Return the one thread on which encoders work.

    Args:
        threads: Torch threads on a CPU.
    """
    # Torch keeps its thread count per calling thread, so it is set on the encode thread.
    return ThreadPoolExecutor(
        1, thread_name_prefix="encode", initializer=torch.set_num_threads, initargs=(threads,)
    )
