"""Ray is not started where its session has no room: one sentence at once, not half a minute."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from latentcache.core.errors import RunError
from latentcache.runner.workers.session_folder import check_session_folder, session_folder

Usage = namedtuple("Usage", "total used free")


def test_a_folder_that_is_not_there_yet_is_made_by_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "a" / "b"))
    check_session_folder()


def test_a_file_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file" / "ray"))
    with pytest.raises(RunError, match="cannot be written"):
        check_session_folder()


def test_a_full_disk_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert session_folder() == tmp_path
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 4096, 4096))
    with pytest.raises(RunError, match=rf"got {tmp_path}, which has 0.0 MB free.*RAY_TMPDIR"):
        check_session_folder()
