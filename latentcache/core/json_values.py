"""Values as JSON can write them."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """Return ``value`` with null for NaN and infinity, however deep, and keys as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
