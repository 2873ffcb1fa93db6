"""Builds into a bucket whose server fails, on a Ray of two nodes or without, and disturbed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from latentcache.storage import Folder
from latentcache.testing.drawn import write_drawn_corpus
from tests.failure.recovery import check_no_orphans, check_whole, served
from tests.s3_servers import REPOSITORY, failing, moto, num_faults, set_faults, without_aws

ENCODER = "latentcache.testing.fakes:SlowEncoder:seconds=0.2"
FAULTS = ("503", "500", "reset", "lostack", "truncate")
RATE = 0.05
LOCAL = {"driver": "", "lc-encode": "lc-encode", "lc-call": "lc-call"}
ON_RAY = {
    "driver": "",
    "encode actor": "ray::EncodeWorker",
    "decode task": "ray::decode_rows",
    "raylet of a node": "/raylet",
    "head": "/gcs_server",
}
"""What is disturbed, and how its process is known."""

_ENDS_WITHIN_S = 300.0
_STOPPED_S = 3.0
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Disturbance:
    """One signal.

    Attributes:
        on_ray: Whether the run is Ray's.
        whom: A key of ``ON_RAY`` or ``LOCAL``.
        how: SIGKILL, or SIGSTOP, which is followed by SIGCONT.
        after_s: So long after the process is there.
    """

    on_ray: bool
    whom: str
    how: int
    after_s: float


def disturbances(draw: random.Random) -> Iterator[Disturbance]:
    """Yield them for ever: every kind once in a drawn order, then again in another."""
    kinds = [(True, whom) for whom in ON_RAY] + [(False, whom) for whom in LOCAL]
    while True:
        every = [(*kind, how) for kind in kinds for how in (signal.SIGKILL, signal.SIGSTOP)]
        draw.shuffle(every)
        for on_ray, whom, how in every:
            yield Disturbance(on_ray, whom, how, draw.uniform(0, 2.0))


@dataclass
class Cluster:
    """Two nodes of Ray on this machine, in a process group of their own."""

    environment: dict[str, str]
    process: "subprocess.Popen[str] | None" = None
    address: str = ""

    def start(self) -> None:
        """Start it unless it is there."""
        if self.process is not None:
            return
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.runner.two_nodes"],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        said = (line.split() for line in self.process.stdout)
        self.address = next(words[1] for words in said if words[:1] == ["address"])

    def end(self) -> None:
        """End it, whatever is left of it."""
        if self.process is None:
            return
        ours = [self.process.pid, *below(self.process.pid)]
        for pid in ours:
            _send(pid, signal.SIGKILL)
        self.process.communicate()
        self.process = None


@dataclass
class RemoteStages:
    """A corpus, a bucket behind a proxy, and what an undisturbed run makes of it."""

    folder: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _num_stores: int = 0

    def __post_init__(self) -> None:
        self.corpus = self.folder / "corpus"
        write_drawn_corpus(self.corpus, 24, seed=1, size_px=64, num_broken=1)
        self.environment = without_aws()
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "ab" * 16}
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        self.environment |= {**token, "PYTHONPATH": path}
        server = self._stack.enter_context(moto())
        self.endpoint = server.endpoint
        self.proxy = self._stack.enter_context(failing(self.endpoint))
        self.cluster = Cluster(self.environment)
        # Workers on other nodes know of server and keys by these alone.
        self.options = {"endpoint_url": self.proxy, "key": server.key, "secret": server.secret}
        self._make_bucket()
        code, said = self.wait(self.start(str(self.folder / "undisturbed"), on_ray=False))
        assert code == 0, said
        self.served = served(self.folder / "undisturbed")
        set_faults(self.proxy, list(FAULTS), RATE)

    def _make_bucket(self) -> None:
        import s3fs  # noqa: PLC0415  takes a second

        s3fs.S3FileSystem(**self.options, skip_instance_cache=True).mkdir("kills")

    def close(self) -> None:
        """End servers and cluster."""
        self.cluster.end()
        self._stack.close()

    def num_faults(self) -> int:
        """Return how many requests failed on purpose."""
        return sum(num_faults(self.proxy).values())

    def start(self, store: str, *, on_ray: bool) -> "subprocess.Popen[bytes]":
        """Start a build."""
        command = [sys.executable, "-m", "latentcache", "build", str(self.corpus), store]
        command += ["--encoder", ENCODER, "--resolution", "64", "--rows-per-shard", "4"]
        command += ["--max-quarantine", "50%", "--actors", "2"]
        if "://" in store:
            command += [f"--storage-options={key}={value}" for key, value in self.options.items()]
        if on_ray:
            command += ["--address", self.cluster.address, "--set", "resources.without_ray=0"]
        return subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def wait(self, run: "subprocess.Popen[bytes]") -> tuple[int, str]:
        """Return a run's exit code, and what it said."""
        said = run.communicate(timeout=_ENDS_WITHIN_S)[1]
        return run.returncode, said.decode(errors="replace")

    def disturb_and_recover(self, one: Disturbance) -> bool:
        """Disturb a build, run it again; return whether there was anybody to disturb.

        Raises:
            AssertionError: Something differs from the undisturbed run.
        """
        self._num_stores += 1
        store = f"s3://kills/store-{self._num_stores}"
        if one.on_ray:
            self.cluster.start()
        run = self.start(store, on_ray=one.on_ray)
        was_hit = self._signal(one, run)
        code, said = self.wait(run)
        assert code in (0, 1, -signal.SIGKILL), said
        assert "Traceback" not in said, said
        assert code != 1 or said.splitlines()[-1].startswith("error: "), said
        if one.whom in ("head", "raylet of a node") and one.how == signal.SIGKILL:
            self.cluster.end()
        if one.on_ray:
            self.cluster.start()
        code, said = self.wait(self.start(store, on_ray=one.on_ray))
        assert code == 0, said
        assert "Traceback" not in said, said
        self._check(store)
        return was_hit

    def _signal(self, one: Disturbance, run: "subprocess.Popen[bytes]") -> bool:
        named = (ON_RAY if one.on_ray else LOCAL)[one.whom]
        root = self.cluster.process.pid if one.on_ray and self.cluster.process else run.pid
        found: list[int] = []
        while not found and run.poll() is None:
            found = [run.pid] if not named else [pid for pid in below(root) if _is(pid, named)]
            time.sleep(_LOOK_EVERY_S)
        time.sleep(one.after_s)
        if named.startswith(("ray::", "lc-")):  # workers come and go
            found = [pid for pid in below(root) if _is(pid, named)]
        hit = run.poll() is None and bool(found) and _send(found[0], one.how)
        if hit and one.how == signal.SIGSTOP:
            time.sleep(_STOPPED_S)
            _send(found[0], signal.SIGCONT)
        return hit

    def _check(self, url: str) -> None:
        """Hold a finished store against the undisturbed run's, on a disk of this machine."""
        copy = self.folder / url.rpartition("/")[2]
        options = {**self.options, "endpoint_url": self.endpoint}
        folder = Folder.open(url, options)
        for info in folder.list():
            path = copy / info.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(folder.read(info.name))
        check_whole(copy)
        assert served(copy) == self.served
        check_no_orphans(copy)
        shutil.rmtree(copy)


def below(root: int) -> list[int]:
    """Return the pids of all processes below ``root``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [root]
    while left:
        inside = children.get(left.pop(), [])
        found += inside
        left += inside
    return found


def _is(pid: int, named: str) -> bool:
    """Whether a process is one of Ray's or of our workers by that name; no raylet is the head's."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if named.startswith("lc-"):
            return Path(f"/proc/{pid}/comm").read_text().strip() == named
    except OSError:
        return False
    if named.startswith("/"):
        return words[0].endswith(named) and "--head" not in words
    return words[0].startswith(named)


def _send(pid: int, how: int) -> bool:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return False
    return True
