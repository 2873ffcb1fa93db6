"""Who is busy is not taken for gone, and who is gone is not waited for."""

import socket
from pathlib import Path

import pytest

from latentcache.runner.workers import ray_health
from latentcache.runner.workers.ray_health import _silence


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_health, "_CONNECT_S", 0.2)


def test_a_raylet_that_takes_no_connection_at_once_is_busy(tmp_path: Path) -> None:
    path = str(tmp_path / "raylet")
    waiting = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        assert _silence(socket.AF_UNIX, path) == ("", False)
        for _ in range(4):  # as many as the queue holds, and more
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(path)
            waiting.append(client)
        why, is_certain = _silence(socket.AF_UNIX, path)
        assert why
        assert not is_certain
    for client in waiting:
        client.close()


def test_what_is_gone_is_known_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "raylet")
    assert _silence(socket.AF_UNIX, path) == ("no such file or directory", True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
    assert _silence(socket.AF_UNIX, path) == ("connection refused", True)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = server.getsockname()
    assert _silence(socket.AF_INET, address) == ("connection refused", True)
