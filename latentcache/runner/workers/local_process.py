"""The other side of ``local_workers``: a template process, and what its children do.

The template imports once what all workers need and then forks one child per request, so that
a worker costs milliseconds and no second import of torch. It holds no threads of Python and
runs none of a child's work. Every process here ends by itself when the driver is gone: the
kernel closes the driver's ends of all sockets, however it died.
"""

import importlib
import logging
import os
import pickle
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from latentcache.core.log_lines import log_to_stderr, logs_are_json
from latentcache.runner.messages.actor_setup import MAX_UNIT_THREADS, ActorSetup
from latentcache.runner.messages.calls import NotDoneError, WorkerLostError
from latentcache.runner.messages.run_errors import sendable

PID = struct.Struct("!q")


def run_template(control_fd: int, modules: Sequence[str], encoders: Sequence[str]) -> None:
    """Import ``modules`` and what ``encoders`` need, then fork a child per request for ever.

    Args:
        control_fd: Socket on which each request brings the child's own socket.
        modules: By name.
        encoders: As on the command line.
    """
    # Ctrl-C reaches the whole foreground group; the driver decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the children
    control = socket.socket(fileno=control_fd)
    # What cannot be imported is told by the child that needs it.
    with suppress(Exception):
        for module in modules:
            importlib.import_module(module)
        if encoders:
            from latentcache.encoders import warm_up  # noqa: PLC0415  loads torch

            for encoder in encoders:
                warm_up(encoder)
            # The first conversion imports pandas, where there is one.
            pa.array([], pa.int8())
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            _run_child(descriptors[0])
        os.close(descriptors[0])
        control.sendall(PID.pack(pid))


def _run_child(descriptor: int) -> None:
    """Serve until the other end is closed; never returns into the template."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection = Connection(descriptor)
    code = 1
    try:
        _serve(connection)
        code = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        code = 0
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _serve(connection: Connection) -> None:
    if logs_are_json():
        log_to_stderr(logging.WARNING)
    first = connection.recv()
    _be_called("lc-call" if first is None else "lc-encode")
    if first is None:
        while True:
            function, argument = pickle.loads(connection.recv_bytes())
            connection.send_bytes(reply_of(function, argument))
    setup, name = first
    _ActorProcess(connection, setup, name).serve()


def _be_called(name: str) -> None:
    """Show in ``ps`` and ``top`` what this process is for, where the system lets it."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")


def reply_of(function: Callable[..., Any], *arguments: Any) -> bytes:
    """Return what a call gave, or the error it raised, packed."""
    try:
        answer = (True, function(*arguments))
    except Exception as error:  # noqa: BLE001  whoever asked decides what it means
        answer = (False, sendable(error))
    return pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)


def answer_in(reply: bytes) -> Any:
    """Return what is packed in ``reply``.

    Raises:
        Exception: What the call raised.
    """
    is_answer, value = pickle.loads(reply)
    if is_answer:
        return value
    raise value


class _ActorProcess:
    """An encode actor: the main thread reads what the driver sends, others do the work."""

    def __init__(self, connection: Connection, setup: ActorSetup, name: str) -> None:
        from latentcache.runner.actor.encode_actor import EncodeWorker  # noqa: PLC0415  torch

        self._link = _Link(connection)
        self._calls = BrokeredCalls(self._link)
        self._worker = EncodeWorker(setup, self._calls, name)
        self._threads = {
            "": ThreadPoolExecutor(1),
            "units": ThreadPoolExecutor(MAX_UNIT_THREADS),
            "control": ThreadPoolExecutor(2),
        }

    def serve(self) -> None:
        """Answer until the driver is gone."""
        while True:
            kind, number, *rest = self._link.receive()
            if kind == "call":
                method, arguments, group = rest
                self._threads[group].submit(self._answer, number, method, arguments)
            else:
                self._calls.answered(number, rest[0])

    def _answer(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        reply = reply_of(getattr(self._worker, method), *arguments)
        with suppress(OSError):
            self._link.send("answer", number, reply)


class _Link:
    """A connection that several threads write to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, *message: Any) -> None:
        """Send one message whole."""
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._connection.send_bytes(data)

    def receive(self) -> Any:
        """Return the next message; for one thread."""
        return pickle.loads(self._connection.recv_bytes())


class BrokeredCalls:
    """An actor's calls: its driver has them run, by workers that all actors share."""

    def __init__(self, link: "_Link") -> None:
        self._link = link
        self._numbers = count()
        self._open: dict[int, Future[bytes]] = {}

    def submit(self, function: Callable[[Any], Any], argument: Any) -> "Future[bytes]":
        """Ask the driver to have a call run."""
        number = next(self._numbers)
        future: Future[bytes] = Future()
        future.number = number  # type: ignore[attr-defined]  # what a cancel names
        self._open[number] = future
        self._link.send("task", number, pickle.dumps((function, argument)))
        return future

    def answered(self, number: int, reply: bytes | WorkerLostError) -> None:
        """Take the driver's word."""
        future = self._open.pop(number, None)
        if future is None:
            return
        if isinstance(reply, bytes):
            future.set_result(reply)
        else:
            future.set_exception(reply)

    def get(self, ref: "Future[bytes]", *, timeout_s: float | None = None) -> Any:
        """Return an answer; see ``Calls.get``."""
        return answer_of(ref, timeout_s)

    def cancel(self, ref: "Future[bytes]") -> None:
        """Ask the driver to end the call."""
        number = ref.number  # type: ignore[attr-defined]
        if self._open.pop(number, None) is not None:
            self._link.send("cancel", number)

    def note(self, actor: str, unit: str, place: str) -> None:
        """Leave a note with the driver: what is in the socket outlives this process."""
        self._link.send("note", 0, actor, unit, place)


def answer_of(ref: "Future[bytes]", timeout_s: float | None) -> Any:
    """Return the answer in ``ref``.

    Raises:
        NotDoneError: It was not there within ``timeout_s``.
        Exception: What the call raised, or ``WorkerLostError``.
    """
    try:
        reply = ref.result(timeout_s)
    except TimeoutError:
        if not ref.done():
            raise NotDoneError from None
        # What the call raised, or the answer, if it came between the wait's end and this look.
        reply = ref.result()
    return answer_in(reply)
