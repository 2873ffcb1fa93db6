"""Evaluation: how faithful stored latents are. Names load when first used (torch, Pillow)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcache.evaluate.fidelity import (
        FidelityReport,
        measure_fidelity,
        psnr_db,
        reconstruct,
    )
    from latentcache.evaluate.picture import above_each_other, film_strip, side_by_side_png
    from latentcache.evaluate.planned import PlannedSample, choose_samples, find_sample
    from latentcache.evaluate.recorded import load_recorded_encoder

__all__ = [
    "FidelityReport",
    "PlannedSample",
    "above_each_other",
    "choose_samples",
    "film_strip",
    "find_sample",
    "load_recorded_encoder",
    "measure_fidelity",
    "psnr_db",
    "reconstruct",
    "side_by_side_png",
]

_HOMES = {
    "FidelityReport": "fidelity",
    "PlannedSample": "planned",
    "above_each_other": "picture",
    "choose_samples": "planned",
    "film_strip": "picture",
    "find_sample": "planned",
    "load_recorded_encoder": "recorded",
    "measure_fidelity": "fidelity",
    "psnr_db": "fidelity",
    "reconstruct": "fidelity",
    "side_by_side_png": "picture",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
