"""The head's scripts refuse what would fail later, and end nothing that is not theirs."""

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def _run(script: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [REPOSITORY / "infra" / script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["HEAD_PORT", "DASHBOARD_PORT", "AGENT_PORT", "CLIENT_PORT"])
def test_port_of_rays_workers_is_refused(name: str, tmp_path: Path) -> None:
    done = _run("start_head.sh", str(tmp_path / "head"), **{name: "10002"})
    assert done.returncode == 2
    assert "outside 10002 to 19999" in done.stderr


def test_second_head_of_one_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.pid").write_text(str(os.getpid()))
    done = _run("start_head.sh", str(tmp_path))
    assert done.returncode == 1
    assert "runs already" in done.stderr


def test_stopping_ends_the_processes_of_the_folder_and_forgets_the_token(tmp_path: Path) -> None:
    ours = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"])
    other = subprocess.Popen(["sleep", "600"])
    (tmp_path / "head.pid").write_text(str(ours.pid))
    (tmp_path / "token").write_text("secret")
    try:
        stopping = subprocess.Popen([REPOSITORY / "infra" / "stop_head.sh", str(tmp_path)])
        assert ours.wait(timeout=30) != 0
        assert stopping.wait(timeout=30) == 0
        assert list(tmp_path.iterdir()) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_stopping_what_was_never_started_says_so(tmp_path: Path) -> None:
    done = _run("stop_head.sh", str(tmp_path))
    assert done.returncode == 1
    assert "no head was started" in done.stderr


def test_secrets_of_a_head_are_never_committed() -> None:
    assert ".ray-head/" in (REPOSITORY / ".gitignore").read_text().split()
