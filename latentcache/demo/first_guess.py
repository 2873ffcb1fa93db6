"""What a trained model makes of pure noise: there it knows what it was told, and nothing else.

Dimension letters: N latents.
"""

import torch
from torch import Tensor
from torch.func import functional_call

from latentcache.demo.page.training_facts import FirstGuess
from latentcache.train import Condition, Trainer, flow_loss

_SEED = 1


@torch.no_grad()
def first_guess(
    trainer: Trainer, latents: Tensor, told: Condition, untold: Condition
) -> FirstGuess:
    """Return the model's errors at time 1, and the least that one told nothing can have.

    Of noise alone the best guess at the velocity ``noise - x`` is the noise less the mean of x:
    its error is the variance of x about that mean.

    Args:
        trainer: After its last step; the averaged weights are asked.
        latents: That were trained on, normalized [N, ...].
        told: What each of them is.
        untold: What the model takes for nothing, as often.
    """
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(latents.shape, generator=generator)
    times = torch.ones(len(latents))

    def model(*given: object) -> Tensor:
        found: Tensor = functional_call(trainer.model, trainer.weights.ema, given)
        return found

    errors = [
        float(flow_loss(model, latents, each, times=times, noise=noise).mean())
        for each in (told, untold)
    ]
    floor = float((latents - latents.mean(dim=0)).square().mean())
    return FirstGuess(told=errors[0], untold=errors[1], floor=floor)
