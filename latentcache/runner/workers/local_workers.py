"""Workers of this machine without Ray: for runs so small that its start would be most of them.

Each worker is a process of its own, so a crash costs what it costs under Ray: its call. A
call's answer travels through this process, which is why long runs are Ray's.
"""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from latentcache.core.errors import RunError
from latentcache.runner.messages.actor_setup import ActorSetup
from latentcache.runner.messages.calls import Calls, ClusterFacts, WorkerLostError
from latentcache.runner.workers.local_process import PID, answer_of

_BUDGET_BYTES = 2**30
"""Of decoded pixels of all actors: in memory here, three times while they travel."""

_PROGRAM = (
    "import json, sys; fd, path, modules, encoders = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from latentcache.runner.workers.local_process import run_template; "
    "run_template(fd, modules, encoders)"
)
SCAN_MODULES = (
    "latentcache.runner.scan",
    "latentcache.decode.picture.picture_probe",
    "latentcache.decode.watchdog",
)
ENCODE_MODULES = (
    "latentcache.runner.actor.encode_actor",
    "latentcache.decode.picture.decode_image",
    "latentcache.decode.watchdog",
)
"""Imported once, before processes are forked; what is missing here is imported by each of them."""


class _Child:
    """A forked process and this end of its socket."""

    def __init__(self, connection: Connection, pid: int) -> None:
        self.connection = connection
        self.pid = pid
        self._is_gone = False
        self._lock = threading.Lock()

    def gone(self) -> None:
        """Its end is closed: the number may be another's from now on."""
        with self._lock:
            self._is_gone = True
        self.connection.close()

    def kill(self) -> None:
        """End it, if it has not gone."""
        with self._lock, suppress(ProcessLookupError):
            if not self._is_gone:
                os.kill(self.pid, signal.SIGKILL)


class _Template:
    """Forks children that have everything imported; see ``local_process.run_template``."""

    def __init__(self, modules: Sequence[str], encoders: Sequence[str] = ()) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        arguments = json.dumps([theirs.fileno(), sys.path, list(modules), list(encoders)])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, arguments],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            theirs.close()

    def fork(self, first: Any) -> _Child:
        """Return a new child that was sent ``first``.

        Raises:
            RunError: The template is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
                pid = self._control.recv(PID.size)
        except OSError:
            pid = b""
        if not pid:
            ours.close()
            raise RunError(
                "worker processes must start, got none (the process that starts them is gone); "
                "look at the machine's memory and limits (ulimit -a), then run it again"
            )
        child = _Child(Connection(ours.detach()), PID.unpack(pid)[0])
        with suppress(OSError):
            child.connection.send(first)
        return child

    def close(self) -> None:
        """End the template; its children end when their sockets are closed."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class _Job:
    """One call, queued or under way."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.future: Future[bytes] = Future()
        self.child: _Child | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        child = self.child
        if not self.future.cancel() and child is not None:
            child.kill()


class LocalCalls:
    """Runs calls in ``num_cpus`` processes at a time."""

    def __init__(self, num_cpus: int, template: _Template) -> None:
        self._template = template
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._jobs: dict[Future[bytes], _Job] = {}
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(num_cpus)]
        self._num_started = 0
        self._children: set[_Child] = set()

    def submit(self, function: Callable[[Any], Any], argument: Any) -> "Future[bytes]":
        """Queue a call."""
        return self.submit_packed(pickle.dumps((function, argument)))

    def submit_packed(self, payload: bytes) -> "Future[bytes]":
        """Queue a call that is packed already."""
        job = _Job(payload)
        self._jobs[job.future] = job
        job.future.add_done_callback(lambda future: self._jobs.pop(future, None) and None)
        if self._num_started < len(self._threads):
            self._threads[self._num_started].start()
            self._num_started += 1
        self._queue.put(job)
        return job.future

    def get(self, ref: "Future[bytes]", *, timeout_s: float | None = None) -> Any:
        """Return an answer; see ``Calls.get``."""
        return answer_of(ref, timeout_s)

    def cancel(self, ref: "Future[bytes]") -> None:
        """Drop a queued call, or kill the process that runs it."""
        job = self._jobs.get(ref)
        if job is not None:
            job.cancel()

    def close(self) -> None:
        """End all processes."""
        for job in list(self._jobs.values()):
            job.cancel()
        for _ in range(self._num_started):
            self._queue.put(None)
        for child in list(self._children):
            child.kill()
        self._template.close()

    def _work(self) -> None:
        """Feed one process with calls, and start another when it has died."""
        child: _Child | None = None
        while (job := self._queue.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                if child is None:
                    child = self._template.fork(None)
                    self._children.add(child)
                job.child = child
                if job.is_cancelled:
                    child.kill()
                child.connection.send_bytes(job.payload)
                reply = child.connection.recv_bytes()
            except (EOFError, OSError):
                assert child is not None, "a template says RunError"
                self._children.discard(child)
                child.gone()
                child = None
                lost = WorkerLostError("a worker died", is_strike=not job.is_cancelled)
                job.future.set_exception(lost)
            except RunError as error:
                job.future.set_exception(error)
            else:
                job.child = None
                job.future.set_result(reply)
        if child is not None:
            self._children.discard(child)
            child.gone()


class LocalActor:
    """An encode actor: calls go in, answers, its own calls and its notes come out."""

    def __init__(self, child: _Child, calls: LocalCalls, notes: dict[str, tuple[str, str]]) -> None:
        self._child, self._calls, self._notes = child, calls, notes
        self._lock = threading.Lock()
        self._numbers = count()
        self._open: dict[int, Future[bytes]] = {}
        self._asked: dict[int, Future[bytes]] = {}
        self._is_gone = False
        threading.Thread(target=self._read, daemon=True).start()

    def call(self, method: str, *arguments: Any, group: str = "") -> "Future[bytes]":
        """Start a method in the threads of ``group``."""
        future: Future[bytes] = Future()
        number = next(self._numbers)
        self._open[number] = future
        self._send("call", number, method, arguments, group)
        if self._is_gone:  # and nobody may be left to say so
            self._lose(number)
        return future

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._child.kill()

    def _send(self, *message: Any) -> None:
        with self._lock, suppress(OSError):
            self._child.connection.send(message)

    def _lose(self, number: int) -> None:
        future = self._open.pop(number, None)
        if future is not None:
            future.set_exception(WorkerLostError("an encode actor died", is_strike=True))

    def _read(self) -> None:
        try:
            while True:
                self._take(*pickle.loads(self._child.connection.recv_bytes()))
        except (EOFError, OSError):
            pass
        self._is_gone = True
        for ref in list(self._asked.values()):
            self._calls.cancel(ref)
        for number in list(self._open):
            self._lose(number)
        with self._lock:
            self._child.gone()

    def _take(self, kind: str, number: int, *rest: Any) -> None:
        if kind == "answer":
            future = self._open.pop(number, None)
            if future is not None:
                future.set_result(rest[0])
        elif kind == "note":
            actor, unit, place = rest
            self._notes[actor] = (unit, place)
        elif kind == "cancel":
            ref = self._asked.pop(number, None)
            if ref is not None:
                self._calls.cancel(ref)
        else:
            ref = self._calls.submit_packed(rest[0])
            self._asked[number] = ref
            ref.add_done_callback(lambda done: self._pass_on(number, done))

    def _pass_on(self, number: int, done: "Future[bytes]") -> None:
        """Send a call's answer to the actor that asked, packed as it came."""
        if self._asked.pop(number, None) is None or done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._send("answer", number, done.result())
        elif isinstance(error, WorkerLostError):
            self._send("answer", number, error)
        else:
            self._send("answer", number, WorkerLostError(str(error), is_strike=False))


class LocalWorkers(LocalCalls):
    """All that a small local run works with."""

    waits_for_encoder = False

    def __init__(self, num_cpus: int, *, encoders: Sequence[str] = ()) -> None:
        """Start importing, in another process.

        Args:
            num_cpus: Calls at a time.
            encoders: As on the command line: what they need is imported too.
        """
        self._template = _Template(ENCODE_MODULES, encoders)
        super().__init__(num_cpus, self._template)
        self._notes: dict[str, tuple[str, str]] = {}
        self._num_cpus = num_cpus
        self.facts = local_facts(num_cpus)

    def look_again(self) -> ClusterFacts:
        """Return the facts, which do not change."""
        return self.facts

    def wait(
        self, refs: Sequence["Future[bytes]"], *, timeout_s: float | None = None
    ) -> list["Future[bytes]"]:
        """Return those of ``refs`` that are done, once one is or after ``timeout_s``."""
        done, _ = wait_for(refs, timeout_s, return_when=FIRST_COMPLETED)
        return [ref for ref in refs if ref in done]

    def start_encoder(self, setup: ActorSetup, name: str, *, needs_gpu: bool) -> LocalActor:
        """Start an encode actor."""
        assert not needs_gpu, "runs on GPUs are Ray's"
        child = self._template.fork((setup, name))
        self._children.add(child)
        return LocalActor(child, self, self._notes)

    def taken_note(self, actor: str) -> tuple[str, str]:
        """Return and forget what ``actor`` noted last."""
        return self._notes.pop(actor, ("", ""))

    @contextmanager
    def scanning(self) -> Iterator[Calls]:
        """Yield workers that need no torch, so that headers are read while it is imported."""
        with scan_calls(self._num_cpus) as calls:
            yield calls


def local_facts(num_cpus: int) -> ClusterFacts:
    """Return what a run without Ray has to work with."""
    return ClusterFacts(
        num_cpus=num_cpus,
        num_gpus=0,
        num_nodes=1,
        object_store_bytes=_BUDGET_BYTES,
        is_local=True,
    )


def num_local_cpus() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def scan_calls(num_cpus: int) -> Iterator[Calls]:
    """Yield calls for a scan, in processes of this machine."""
    calls = LocalCalls(num_cpus, _Template(SCAN_MODULES))
    try:
        yield calls
    finally:
        calls.close()
