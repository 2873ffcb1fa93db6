"""Workers of this machine: what they import before they are forked is there."""

import importlib

import pytest

from latentcache.runner.workers.local_workers import ENCODE_MODULES, SCAN_MODULES


@pytest.mark.parametrize("name", sorted({*SCAN_MODULES, *ENCODE_MODULES}))
def test_what_is_imported_before_the_fork_exists(name: str) -> None:
    """A name that is gone ends the warm-up without a word, and each process imports alone."""
    importlib.import_module(name)
