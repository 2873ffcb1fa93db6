"""Parameters on their way: gradients, AdamW, the moving average, and all of it as tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from latentcache.train.train_options import TrainOptions

_SLOTS = ("step", "exp_avg", "exp_avg_sq")


class Weights:
    """A model's trained parameters with everything that is kept beside them.

    Attributes:
        model: Whose parameters they are.
        ema: Averaged parameters by name; what samples are drawn with.
    """

    def __init__(self, model: nn.Module, options: TrainOptions) -> None:
        self.model, self._options = model, options
        trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
        self._names, self._parameters = list(trained), list(trained.values())
        self.ema = {name: one.detach().clone() for name, one in trained.items()}
        # Fused: one pass over all parameters. On a CPU it takes a third of the time of the
        # others, which is most of a small model's step.
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=options.learning_rate,
            betas=(0.9, options.beta2),
            weight_decay=options.weight_decay,
            fused=True,
        )

    def forget_gradients(self) -> None:
        """Begin a step."""
        self._optimizer.zero_grad()

    def gradient_norm(self) -> float:
        """Return the length of all gradients together."""
        return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self._gradients()))))

    @torch.no_grad()
    def update(self, step: int, norm: float) -> None:
        """Take a step, counted from 0, along gradients whose length is ``norm``."""
        limit = self._options.max_grad_norm
        if limit and norm > limit:
            torch._foreach_mul_(self._gradients(), limit / norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.rate_at(step)
        self._optimizer.step()
        keep = self._options.ema_decay_at(step)
        parameters: list[Tensor] = [one.detach() for one in self._parameters]
        torch._foreach_lerp_(list(self.ema.values()), parameters, 1.0 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds: ``model.*``, ``ema.*``, ``optimizer.<slot>.*``."""
        found = {f"model.{name}": one for name, one in self.model.state_dict().items()}
        found |= {f"ema.{name}": one for name, one in self.ema.items()}
        for name, parameter in zip(self._names, self._parameters, strict=True):
            for slot, value in self._optimizer.state[parameter].items():
                found[f"optimizer.{slot}.{name}"] = value
        return found

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``tensors`` returned for a model of the same description."""
        self.model.load_state_dict(part_of(tensors, "model"))
        for name, tensor in part_of(tensors, "ema").items():
            self.ema[name].copy_(tensor)
        slots = {slot: part_of(tensors, f"optimizer.{slot}") for slot in _SLOTS}
        for name, parameter in zip(self._names, self._parameters, strict=True):
            self._optimizer.state[parameter] = {
                slot: values[name].to(parameter.device)
                for slot, values in slots.items()
                if name in values
            }

    def _gradients(self) -> list[Tensor]:
        return [one.grad for one in self._parameters if one.grad is not None]


def part_of(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors named ``<name>.*``, without that prefix."""
    start = f"{name}."
    return {
        key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)
    }
