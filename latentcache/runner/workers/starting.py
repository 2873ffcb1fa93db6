"""Which workers a run gets, and how it ends: at once, in one sentence, at whatever moment."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from latentcache.core.errors import RunError
from latentcache.runner.run_options import Resources
from latentcache.runner.run_progress import Reporter
from latentcache.runner.workers.calls import Workers
from latentcache.runner.workers.local_workers import LocalWorkers, num_local_cpus


class RunStoppedError(RunError):
    """The user stopped the run; what it committed is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSize:
    """What is known of a run before it starts.

    Attributes:
        num_samples: At most this many.
        has_long_clips: Some clips may be longer than one call can hold.
    """

    num_samples: int
    has_long_clips: bool = False


@contextmanager
def run_workers(
    resources: Resources, size: RunSize, *, encoder: str, reporter: Reporter
) -> Iterator[Workers]:
    """Yield workers: processes of this machine for a small local run, else Ray's.

    Which ones changes no byte. Ctrl-C and SIGTERM end the run at once with a sentence.

    Args:
        resources: Where the run happens.
        size: How much there is to do.
        encoder: As on the command line; what it needs is imported meanwhile.
        reporter: Told what is waited for.
    """
    with stopping():
        if is_small(resources, size):
            local = LocalWorkers(num_local_cpus(), encoder=encoder)
            try:
                yield local
            finally:
                local.close()
            return
        reporter.message(
            "starting Ray on this machine"
            if resources.address == "local"
            else f"joining the Ray cluster at {resources.address}"
        )
        from latentcache.runner.workers.cluster import connected  # noqa: PLC0415  takes a second
        from latentcache.runner.workers.ray_workers import RayWorkers  # noqa: PLC0415

        # Again inside: ray.init installs a handler of its own, which aborts the process.
        with connected(resources.address) as facts, sigterm_as_interrupt():
            workers = RayWorkers(facts)
            try:
                yield workers
            finally:
                workers.close()


def is_small(resources: Resources, size: RunSize) -> bool:
    """Whether a run does without Ray: local, small, on CPUs, and no Ray runs here already."""
    return (
        resources.address == "local"
        and size.num_samples <= resources.without_ray
        and not size.has_long_clips
        and (resources.device == "cpu" or (resources.device == "auto" and not has_gpus()))
        and not _is_ray_here()
    )


@contextmanager
def stopping() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into ``RunStoppedError``."""
    try:
        with sigterm_as_interrupt():
            yield
    except KeyboardInterrupt:
        raise RunStoppedError(
            "stopped; what was shown as done is kept, run the same command again to go on"
        ) from None


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM, as schedulers and ``ray job stop`` send it, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def has_gpus() -> bool:
    """Whether the machine may have GPUs; Ray knows how many, and torch takes seconds to ask."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def _is_ray_here() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
