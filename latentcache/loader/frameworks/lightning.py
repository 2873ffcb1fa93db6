"""Lightning: optimizer steps that are the loader's, whatever limits end an epoch."""

from typing import Any

from lightning.pytorch import Callback

from latentcache.core.errors import ConfigError
from latentcache.loader.loader import LatentLoader


class WholeSteps(Callback):
    """Refuses a trainer that would make optimizer steps of other batches than the loader's.

    Lightning makes a step at the end of each epoch, of as many batches as there are: with
    ``limit_train_batches`` that the micro-batches do not divide, of too few.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002  Lightning's
        """Compare what the trainer accumulates with what the loader gives a step.

        Raises:
            ConfigError: They differ.
        """
        loader = trainer.train_dataloader
        if not isinstance(loader, LatentLoader):
            return
        given, each = trainer.accumulate_grad_batches, loader.micro_batches
        if given != each:
            raise ConfigError(
                f"accumulate_grad_batches must be the loader's micro_batches, {each}, got {given}; "
                f"give both the same"
            )
        num_batches = trainer.num_training_batches
        if num_batches != float("inf") and num_batches % each:
            raise ConfigError(
                f"batches of an epoch must be whole steps of {each}, got {num_batches} (trainer: "
                f"limit_train_batches); use {max(1, num_batches // each) * each}"
            )
