"""How many examples a law is tried on: a few in every run of the tests, many more on request.

``LAW_EXAMPLES=10 python -m pytest tests/loader/test_laws.py`` tries ten times as many.
"""

import os
from typing import Any

from hypothesis import settings

_FACTOR = int(os.environ.get("LAW_EXAMPLES", "1"))


def examples(count: int, **more: Any) -> settings:
    """Return settings for ``count`` examples, or the multiple that was asked for."""
    return settings(max_examples=count * _FACTOR, deadline=None, **more)
