"""Loader tests run on one thread: the machine is shared, and order must not depend on it."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("loader", deadline=None, max_examples=25)
settings.load_profile("loader")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
