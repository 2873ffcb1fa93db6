"""What the demo's page shows of videos is drawn from."""

from dataclasses import dataclass

from latentcache.demo.page.training_facts import TrainingFacts
from latentcache.report import FieldFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionFacts:
    """A store of clips, and a model trained from it.

    Attributes:
        training: Its samples are clips THWC.
        frame_rate_fps: Of the clips.
        encoder: As asked for.
        num_compared: Clips decoded and compared with their frames.
        first_frame_db: Mean PSNR of their first frames.
        rest_db: Mean PSNR of all other frames.
        first: Statistics of the first latent frames.
        rest: Of all others.
    """

    training: TrainingFacts
    frame_rate_fps: float
    encoder: str
    num_compared: int
    first_frame_db: float
    rest_db: float
    first: FieldFacts
    rest: FieldFacts
