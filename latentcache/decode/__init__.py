"""Bytes to pixels: the one home of Pillow. Importing this package loads no codec."""

from typing import TYPE_CHECKING, Any

from latentcache.decode.options import ImageLimits, ImageTransform

if TYPE_CHECKING:
    from latentcache.decode.image import decode_image
    from latentcache.decode.isolated import decode_isolated
    from latentcache.decode.probe import probe_image
    from latentcache.decode.reasons import classify
    from latentcache.decode.watchdog import time_limit

__all__ = [
    "ImageLimits",
    "ImageTransform",
    "classify",
    "decode_image",
    "decode_isolated",
    "probe_image",
    "time_limit",
]

_HOMES = {
    "classify": "reasons",
    "decode_image": "image",
    "decode_isolated": "isolated",
    "probe_image": "probe",
    "time_limit": "watchdog",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  only the first use pays

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
