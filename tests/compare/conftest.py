"""A drawn store of two spaces, made once, and what is measured of it."""

from pathlib import Path

import pytest

from latentcache.compare import CompareOptions, Comparison, open_spaces, run_comparison
from latentcache.store import Store
from tests.evaluate.drawn_store import build_drawn_store, encode_unit, pin_encoding, publish

COARSE = "dct:keep_luma=3,keep_chroma=1"


@pytest.fixture(scope="session")
def two_spaces(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = build_drawn_store(Path(tmp_path_factory.mktemp("compared")))
    record = pin_encoding(store, COARSE, "coarse")
    for unit in store.units(record):
        encode_unit(store, record, unit)
    publish(store, record)
    return store


@pytest.fixture(scope="session")
def compared(two_spaces: Store) -> Comparison:
    spaces = open_spaces(two_spaces.folder.url, ["latents", "coarse"])
    return run_comparison(spaces, CompareOptions(probe=None))
