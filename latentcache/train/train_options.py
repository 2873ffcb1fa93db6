"""What a training run is told, checked before any work starts."""

from dataclasses import dataclass
from typing import Literal

from latentcache.core.errors import ConfigError

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How a model is trained; a checkpoint keeps them.

    Attributes:
        num_steps: Optimizer steps.
        learning_rate: The highest.
        weight_decay: Of AdamW, on all parameters.
        beta2: Of AdamW; beta1 is 0.9.
        warmup_steps: Over which the rate rises linearly from 0.
        decay_from: Share of the steps from which it falls linearly to 0; 1 keeps it.
        ema_decay: Of the averaged weights, which samples are drawn from. The first steps
            use ``(1 + step) / (10 + step)`` where that is less.
        condition_drop: Share of samples that are trained without their condition.
        max_grad_norm: Longer gradients are shortened to it; 0 never.
        time_shift: See ``draw_times``.
        precision: Of matrix products; parameters and loss are float32.
        seed: Another one gives other times, noise and drops for the same batches.
    """

    num_steps: int = 100_000
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    beta2: float = 0.999
    warmup_steps: int = 0
    decay_from: float = 1.0
    ema_decay: float = 0.9999
    condition_drop: float = 0.1
    max_grad_norm: float = 1.0
    time_shift: float = 1.0
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigError(f"num_steps must be at least 1, got {self.num_steps}")
        for name in ("learning_rate", "time_shift"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("weight_decay", "max_grad_norm", "warmup_steps"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")
        for name in ("decay_from", "ema_decay", "condition_drop", "beta2"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision must be float32 or bfloat16, got {self.precision!r}")

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        falling = self.num_steps * (1.0 - self.decay_from)
        fall = min(1.0, max(0.0, (self.num_steps - step) / falling)) if falling else 1.0
        return self.learning_rate * rise * fall

    def ema_decay_at(self, step: int) -> float:
        """Return how much of the average stays at a step, counted from 0."""
        return min(self.ema_decay, (1 + step) / (10 + step))
