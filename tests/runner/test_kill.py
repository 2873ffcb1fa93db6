"""Promise 2: a kill -9 of anything costs the units in flight, and changes no byte."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.testing.drawn import write_drawn_corpus

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_FAKES = "latentcache.testing.fakes"
_SLOW = f"{_FAKES}:SlowEncoder:seconds=0.5"
_SLOWER = f"{_FAKES}:SlowEncoder:seconds=2"
"""So slow that a busy machine cannot finish the run before it is stopped."""

_NUM_PICTURES, _ROWS_PER_SHARD = 48, 4
"""So few rows in a task: those of one that died are decoded each in a process of its own."""

_DEADLINE_S = 240.0
_STOPS_WITHIN_S = 60.0
"""Two or three on an idle machine."""


_WITH_RAY = ("--set", "resources.without_ray=0")


@pytest.fixture(scope="module")
def drawn_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fewer pictures than elsewhere."""
    folder = tmp_path_factory.mktemp("few")
    write_drawn_corpus(folder, _NUM_PICTURES, seed=1, size_px=64)
    return folder


@pytest.fixture(scope="module")
def reference_store(
    drawn_corpus: Path,
    build_store: Callable[..., object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A store that nothing disturbed, of the fakes' arithmetic."""
    store = tmp_path_factory.mktemp("reference") / "store"
    build_store(drawn_corpus, store, f"{_FAKES}:FakeEncoder", rows_per_shard=_ROWS_PER_SHARD)
    return store


def _start(
    corpus: Path, store: Path, encoder: str, *options: str, num_actors: int = 1
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "latentcache", "build", str(corpus), str(store)]
    command += [
        "--encoder",
        encoder,
        "--resolution",
        "64",
        "--rows-per-shard",
        str(_ROWS_PER_SHARD),
    ]
    return subprocess.Popen(
        [*command, "--actors", str(num_actors), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A background job may have inherited "ignore Ctrl-C"; the run must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def _num_commits(store: Path) -> int:
    return len(list(store.glob("encodings/latents/*/commits/*.json")))


def _wait_for_commits(run: subprocess.Popen[bytes], store: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while _num_commits(store) == 0:
        assert run.poll() is None, run.stderr.read().decode() if run.stderr else ""
        assert time.monotonic() < deadline, "no unit was committed"
        time.sleep(0.05)


def workers_below(root: int) -> list[int]:
    """Return the pids of all workers below ``root``, Ray's or our own."""
    return [pid for pid in _below(root) if title_of(pid).startswith(("ray::", "lc-"))]


def _below(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
            except (OSError, IndexError, ValueError):
                continue
    found = []
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != root:
            ancestor = parents[ancestor]
        if ancestor == root and pid != root:
            found.append(pid)
    return found


def title_of(pid: int) -> str:
    """Return what a process says it does: Ray in its command line, our workers in their name."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if name.startswith("lc-"):
            return name
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _kill_worker(run: subprocess.Popen[bytes], title: str) -> None:
    """Kill the first worker that bears ``title``, which it does while it runs a task."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline and run.poll() is None:
        workers = workers_below(run.pid)
        # A task takes milliseconds, and a look at all processes of a machine longer.
        look_again = time.monotonic() + 0.5
        while time.monotonic() < look_again:
            for pid in workers:
                if title in title_of(pid):
                    os.kill(pid, signal.SIGKILL)
                    return
    pytest.fail(f"no process called {title}")


@pytest.mark.parametrize(
    ("title", "num_actors"),
    [
        pytest.param("ray::EncodeWorker", 2, id="encode-actor-of-ray"),
        pytest.param("ray::decode_rows", 1, id="decode-worker-of-ray"),
        pytest.param("lc-encode", 2, id="encode-actor"),
        pytest.param("lc-call", 1, id="decode-worker"),
    ],
)
def test_a_killed_worker_changes_no_byte(
    title: str,
    num_actors: int,
    drawn_corpus: Path,
    reference_store: Path,
    chosen_digests: Callable[[Path], dict[str, tuple[str, str]]],
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    options = _WITH_RAY if title.startswith("ray::") else ()
    run = _start(drawn_corpus, store, _SLOW, *options, num_actors=num_actors)
    _wait_for_commits(run, store)
    _kill_worker(run, title)
    _, stderr = run.communicate(timeout=_DEADLINE_S)
    assert run.returncode == 0, stderr.decode()
    assert b"Traceback" not in stderr
    assert chosen_digests(store) == chosen_digests(reference_store)


def _kill_part_of_ray(run: subprocess.Popen[bytes], program: str) -> None:
    found = [pid for pid in _below(run.pid) if f"/{program}" in title_of(pid).partition(" ")[0]]
    assert found, f"no {program}"
    os.kill(found[0], signal.SIGKILL)


@pytest.mark.parametrize("program", ["raylet", "gcs_server"])
def test_a_lost_ray_is_one_sentence_and_the_next_run_goes_on(
    program: str,
    drawn_corpus: Path,
    build_store: Callable[..., object],
    reference_store: Path,
    chosen_digests: Callable[[Path], dict[str, tuple[str, str]]],
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    run = _start(drawn_corpus, store, _SLOWER, *_WITH_RAY)
    _wait_for_commits(run, store)
    _kill_part_of_ray(run, program)
    _, stderr = run.communicate(timeout=_DEADLINE_S)
    assert run.returncode == 1, stderr.decode()
    *_, last = stderr.decode().splitlines()
    assert last.startswith("error: Ray must live as long as the run, got no answer from the ")
    assert b"Traceback" not in stderr
    build_store(drawn_corpus, store, f"{_FAKES}:FakeEncoder", rows_per_shard=_ROWS_PER_SHARD)
    assert chosen_digests(store) == chosen_digests(reference_store)


def test_a_lost_node_costs_no_sample(
    drawn_corpus: Path,
    reference_store: Path,
    chosen_digests: Callable[[Path], dict[str, tuple[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab" * 16)
    store = tmp_path / "store"
    nodes = subprocess.Popen(
        [sys.executable, "-m", "tests.runner.two_nodes"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert nodes.stdin is not None
    assert nodes.stdout is not None
    try:
        said = (line.split() for line in nodes.stdout)
        address = next(words[1] for words in said if words[:1] == ["address"])
        run = _start(drawn_corpus, store, _SLOW, "--address", address, num_actors=2)
        _wait_for_commits(run, store)
        nodes.stdin.write("kill\n")
        nodes.stdin.flush()
        _, stderr = run.communicate(timeout=_DEADLINE_S)
    finally:
        nodes.communicate(timeout=_DEADLINE_S)
    assert run.returncode == 0, stderr.decode()
    assert b"Traceback" not in stderr
    assert chosen_digests(store) == chosen_digests(reference_store)


def test_a_killed_driver_is_taken_up_where_it_was(
    drawn_corpus: Path,
    reference_store: Path,
    chosen_digests: Callable[[Path], dict[str, tuple[str, str]]],
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    run = _start(drawn_corpus, store, _SLOWER)
    _wait_for_commits(run, store)
    run.kill()
    run.communicate(timeout=_DEADLINE_S)
    done = _num_commits(store)
    assert done < len(chosen_digests(reference_store)), "the run was over before it was killed"
    # Workers of the killed run may still be at work; no commit of theirs can do harm.
    again = _start(drawn_corpus, store, f"{_FAKES}:FakeEncoder")
    _, stderr = again.communicate(timeout=_DEADLINE_S)
    assert again.returncode == 0, stderr.decode()
    assert b"the others are there" in stderr
    assert chosen_digests(store) == chosen_digests(reference_store)


def test_ctrl_c_stops_within_seconds_and_says_how_to_go_on(
    drawn_corpus: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run = _start(drawn_corpus, store, _SLOWER)
    _wait_for_commits(run, store)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=_STOPS_WITHIN_S)
    assert run.returncode == 130
    assert b"run the same command again" in stderr
    assert b"Traceback" not in stderr
