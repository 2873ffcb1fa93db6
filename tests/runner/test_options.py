"""What workers are given works in their folder too."""

import os
from pathlib import Path

import pytest

from latentcache.runner.run_options import EncodeOptions


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("hunyuan:weights", "hunyuan:{here}/weights"),
        ("hunyuan:weights?tile_frames=16", "hunyuan:{here}/weights?tile_frames=16"),
        ("sdxl:odd?name", "sdxl:{here}/odd?name"),
        ("sdxl:owner/name", "sdxl:owner/name"),
        ("dct:keep=4", "dct:keep=4"),
        ("dct", "dct"),
    ],
)
def test_local_weights_become_absolute(
    given: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "odd?name").mkdir()
    monkeypatch.chdir(tmp_path)
    # As the operating system names it: a temporary folder may lie behind a link.
    here = os.path.realpath(tmp_path)
    options = EncodeOptions(encoder=given).for_workers()
    assert options.encoder == expected.format(here=here)
