"""The reference trainer: a small DiT for any grid, flow matching, checkpoints, a loop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcache.train.checkpoint import load_weights as load_weights
    from latentcache.train.dit import DiT as DiT
    from latentcache.train.dit import DiTConfig as DiTConfig
    from latentcache.train.flow import draw_noise as draw_noise
    from latentcache.train.flow import draw_times as draw_times
    from latentcache.train.flow import flow_loss as flow_loss
    from latentcache.train.flow import sample_euler as sample_euler
    from latentcache.train.options import TrainOptions as TrainOptions
    from latentcache.train.progress import StepFacts as StepFacts
    from latentcache.train.trainer import Trainer as Trainer

_MODULES = {
    "DiT": "dit",
    "DiTConfig": "dit",
    "StepFacts": "progress",
    "TrainOptions": "options",
    "Trainer": "trainer",
    "draw_noise": "flow",
    "draw_times": "flow",
    "flow_loss": "flow",
    "load_weights": "checkpoint",
    "sample_euler": "flow",
}

__all__ = sorted(_MODULES)  # noqa: PLE0605  one table, so that no name is listed twice


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
