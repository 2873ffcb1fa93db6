"""Evaluation: how faithful stored latents are. Names load when first used (torch, Pillow)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcache.evaluate.clip_picture import contact_sheet_png, stacked_mp4
    from latentcache.evaluate.fidelity import (
        FidelityReport,
        measure_fidelity,
        psnr_db,
        reconstruct,
    )
    from latentcache.evaluate.picture import side_by_side_png
    from latentcache.evaluate.planned import PlannedSample, choose_samples, find_sample
    from latentcache.evaluate.recorded import load_recorded_encoder

__all__ = [
    "FidelityReport",
    "PlannedSample",
    "choose_samples",
    "contact_sheet_png",
    "find_sample",
    "load_recorded_encoder",
    "measure_fidelity",
    "psnr_db",
    "reconstruct",
    "side_by_side_png",
    "stacked_mp4",
]

_HOMES = {
    "FidelityReport": "fidelity",
    "PlannedSample": "planned",
    "choose_samples": "planned",
    "contact_sheet_png": "clip_picture",
    "find_sample": "planned",
    "load_recorded_encoder": "recorded",
    "measure_fidelity": "fidelity",
    "psnr_db": "fidelity",
    "reconstruct": "fidelity",
    "side_by_side_png": "picture",
    "stacked_mp4": "clip_picture",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
