"""A drawn store, made once; tests that change it take a copy."""

from pathlib import Path

import pytest

from latentcache.store import Store
from tests.evaluate.drawn_store import build_drawn_store


@pytest.fixture(scope="session")
def drawn_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_drawn_store(Path(tmp_path_factory.mktemp("drawn")))
