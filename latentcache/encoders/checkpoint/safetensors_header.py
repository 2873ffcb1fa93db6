"""The header of a safetensors file: its tensors and their shapes, without reading one."""

import json
from collections.abc import Mapping
from pathlib import Path

from latentcache.core.errors import EncoderError


def read_shapes(path: Path, *, label: str) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of each tensor; its first bytes say how long a file must be.

    Raises:
        EncoderError: The file is cut off, or no safetensors.
    """
    size = path.stat().st_size
    shapes: dict[str, tuple[int, ...]] = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, size)))
            header.pop("__metadata__", None)
            shapes = {name: tuple(each["shape"]) for name, each in header.items()}
            end = max((each["data_offsets"][1] for each in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            end = -1
    if end < 0 or 8 + length + end != size:
        raise EncoderError(
            f"weights must be whole safetensors files, got {path.name} of {size:,} bytes that "
            f"is not ({label}); download it again"
        )
    return shapes
