from .checkpoint import load_weights as load_weights
from .dit import DiT as DiT
from .dit import DiTConfig as DiTConfig
from .flow import Condition as Condition
from .flow import draw_noise as draw_noise
from .flow import draw_times as draw_times
from .flow import flow_loss as flow_loss
from .flow import sample_euler as sample_euler
from .here import choose_device as choose_device
from .here import stopped_by_signals as stopped_by_signals
from .here import train_here as train_here
from .here import trainer_of as trainer_of
from .session import RunFolder as RunFolder
from .session import Session as Session
from .session import SessionResult as SessionResult
from .train_options import TrainOptions as TrainOptions
from .train_progress import StepFacts as StepFacts
from .train_recipe import TrainRecipe as TrainRecipe
from .trainer import Trainer as Trainer

__all__ = [
    "Condition",
    "DiT",
    "DiTConfig",
    "RunFolder",
    "Session",
    "SessionResult",
    "StepFacts",
    "TrainOptions",
    "TrainRecipe",
    "Trainer",
    "choose_device",
    "draw_noise",
    "draw_times",
    "flow_loss",
    "load_weights",
    "sample_euler",
    "stopped_by_signals",
    "train_here",
    "trainer_of",
]
