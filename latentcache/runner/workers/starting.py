"""Which workers a run gets, and how it ends: at once, in one sentence, at whatever moment."""

import os
import resource
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from latentcache.core.errors import RunError
from latentcache.runner.messages.calls import Workers
from latentcache.runner.run_options import Resources
from latentcache.runner.run_progress import Reporter
from latentcache.runner.workers.answering import check_answers
from latentcache.runner.workers.local_workers import LocalWorkers, num_local_cpus
from latentcache.runner.workers.session_folder import check_session_folder
from latentcache.runner.workers.signals import lost_interrupts_repeated, sigterm_as_interrupt

_MIN_FILES = 1024
"""Raylet, workers and their sockets; below some hundreds Ray hangs or fails without a word."""


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

    @classmethod
    def largest(cls, sizes: "Sequence[RunSize]") -> "RunSize":
        """Return the size of a run that is as large as the largest of ``sizes``."""
        return cls(
            num_samples=max(each.num_samples for each in sizes),
            has_long_clips=any(each.has_long_clips for each in sizes),
        )


@contextmanager
def run_workers(
    resources: Resources, size: RunSize, *, encoders: Sequence[str], reporter: Reporter
) -> Iterator[Workers]:
    """Yield workers: processes of this machine for a small local run, else Ray's.

    Which ones changes no byte. Ctrl-C and SIGTERM end the run at once with a sentence.

    Args:
        resources: Where the run happens.
        size: How much there is to do.
        encoders: As on the command line; what they need is imported meanwhile.
        reporter: Told what is waited for.
    """
    with stopping():
        if is_small(resources, size):
            local = LocalWorkers(num_local_cpus(), encoders=encoders)
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
        prepare_for_ray(resources.address)
        from latentcache.runner.workers.cluster import connected  # noqa: PLC0415  takes a second
        from latentcache.runner.workers.ray_workers import ray_workers  # noqa: PLC0415

        with connected(resources.address) as facts, ray_workers(facts) as workers:
            yield workers


def prepare_for_ray(address: str) -> None:
    """Set what Ray reads when it is imported or started, and refuse what it would wait for.

    Raises:
        RunError: This process may open too few files, Ray's session has no room here, or nothing
            listens at ``address``.
    """
    _allow_files()
    if address != "local":
        check_answers(address)
        return
    check_session_folder()
    # Under `uv run`, Ray packs the current folder for its workers, at times without end.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    home = Path(os.environ.get("HOME") or "/nonexistent")
    if "RAY_AUTH_TOKEN" not in os.environ and not os.access(home, os.W_OK):
        # Ray would write one into the home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _MIN_FILES:
        return
    if hard == resource.RLIM_INFINITY or hard >= _MIN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_MIN_FILES, hard))
        return
    raise RunError(
        f"a process must be allowed {_MIN_FILES} open files for Ray, got {hard} (ulimit -n); "
        "raise the limit, or stay below --set resources.without_ray=N samples"
    )


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
        with sigterm_as_interrupt(), lost_interrupts_repeated():
            yield
    except (KeyboardInterrupt, SystemExit) as error:
        # While it starts and stops, Ray answers SIGTERM itself, by leaving with its number.
        if isinstance(error, SystemExit) and error.code != signal.SIGTERM:
            raise
        raise RunStoppedError(
            "stopped; what was shown as done is kept, run the same command again to go on"
        ) from None


def has_gpus() -> bool:
    """Whether the machine may have GPUs; Ray knows how many, and torch takes seconds to ask."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def _is_ray_here() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
