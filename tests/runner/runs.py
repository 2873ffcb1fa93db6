"""Builds started as a user starts them, in a process of their own, to be disturbed."""

import signal
import subprocess
import sys
from pathlib import Path

FAKES = "latentcache.testing.fakes"


def start_build(corpus: Path, store: Path, encoder: str, *options: str) -> "subprocess.Popen[str]":
    """Return a running build of small pictures; what it says goes to pipes.

    Args:
        corpus: Of the pictures.
        store: Where it goes.
        encoder: As typed; "" where ``options`` say it.
        options: Further flags.
    """
    command = [sys.executable, "-m", "latentcache", "build", str(corpus), str(store)]
    command += ["--encoder", encoder] if encoder else []
    command += ["--resolution", "64", "--rows-per-shard", "16"]
    return subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job may have inherited "ignore Ctrl-C"; the run must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def wait_for_line(run: "subprocess.Popen[str]", start: str) -> None:
    """Return once the run has said a line that begins with ``start``, or has ended."""
    assert run.stderr is not None
    for line in run.stderr:
        if line.startswith(start):
            return
