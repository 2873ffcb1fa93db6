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
from .objectives.masked_tokens import MaskedTransformer as MaskedTransformer
from .objectives.masked_tokens import draw_masks as draw_masks
from .objectives.masked_tokens import masked_loss as masked_loss
from .objectives.masked_tokens import sample_masked as sample_masked
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
    "MaskedTransformer",
    "RunFolder",
    "Session",
    "SessionResult",
    "StepFacts",
    "TrainOptions",
    "TrainRecipe",
    "Trainer",
    "choose_device",
    "draw_masks",
    "draw_noise",
    "draw_times",
    "flow_loss",
    "load_weights",
    "masked_loss",
    "sample_euler",
    "sample_masked",
    "stopped_by_signals",
    "train_here",
    "trainer_of",
]
