"""Commands as users run them: arguments in, exit code and both streams out."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from latentcache.cli.entry import run
from latentcache.store import Store
from tests.evaluate.drawn_store import build_drawn_store


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code in (0, 3), self.err
        return json.loads(self.out)


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        streams = capsys.readouterr()
        return Outcome(code, streams.out, streams.err)

    return call


@pytest.fixture(scope="session")
def drawn_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_drawn_store(Path(tmp_path_factory.mktemp("drawn")))


@pytest.fixture
def own_store(drawn_store: Store, tmp_path: Path) -> Store:
    """A copy that a test may damage."""
    shutil.copytree(drawn_store.folder.url, tmp_path / "store")
    return Store.open(tmp_path / "store")
