"""Hugging Face's Trainer: its batches are the loader's, and so is the place where a run stands."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.latent_batch import Batch
from latentcache.loader.loader import LatentLoader

_STATE_FILE = "latentcache.json"


class FromLatents:
    """Mix into ``transformers.Trainer``, before it: datasets are then loaders.

    ``train_dataset`` is a ``LatentLoader`` with as many micro-batches as
    ``gradient_accumulation_steps``; ``eval_dataset`` is one with ``one_pass=True``. Each
    checkpoint holds the loader's state, and a resumed run goes on from it, so no batches are
    skipped. ``compute_loss`` is the user's, for both.
    """

    args: Any
    train_dataset: Any
    eval_dataset: Any

    def get_train_dataloader(self) -> LatentLoader:
        """Return the loader.

        Raises:
            ConfigError: It is none, or accumulates otherwise than the trainer.
        """
        loader = _loader(self.train_dataset, "train_dataset")
        given, each = self.args.gradient_accumulation_steps, loader.micro_batches
        if given != each:
            raise ConfigError(
                f"gradient_accumulation_steps must be the loader's micro_batches, {each}, got "
                f"{given}; give both the same"
            )
        return loader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> LatentLoader:
        """Return the loader of an evaluation."""
        chosen = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(chosen, str):
            chosen = self.eval_dataset[chosen]
        return _loader(chosen, "eval_dataset")

    def train(self, resume_from_checkpoint: Any = None, **options: Any) -> Any:
        """Train, or go on from a checkpoint: the newest of the output folder for ``True``."""
        self.args.ignore_data_skip = True  # the loader stands where its state says
        if resume_from_checkpoint is True:
            import transformers.trainer_utils as utils  # noqa: PLC0415  optional

            newest: Any = utils.get_last_checkpoint
            resume_from_checkpoint = newest(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise ConfigError(
                    f"output_dir must hold a checkpoint to go on from, got none "
                    f"({self.args.output_dir}); leave resume_from_checkpoint out"
                )
        if resume_from_checkpoint:
            path = Path(resume_from_checkpoint, _STATE_FILE)
            if not path.is_file():
                raise ConfigError(
                    f"checkpoint must hold the loader's state, got none ({path}); go on from one "
                    f"that was saved with FromLatents"
                )
            loader = _loader(self.train_dataset, "train_dataset")
            loader.load_state_dict(json.loads(path.read_text(encoding="utf-8")))
        parent: Any = super()
        return parent.train(resume_from_checkpoint=resume_from_checkpoint, **options)

    def prediction_step(
        self, model: Any, inputs: Mapping[str, Any], *_arguments: Any, **_named: Any
    ) -> tuple[torch.Tensor, None, None]:
        """Return the loss of a batch; latents have no labels that metrics could be made of."""
        this: Any = self
        inputs = this._prepare_inputs(inputs)
        with torch.no_grad():
            return this.compute_loss(model, inputs).detach().mean(), None, None

    def _prepare_input(self, data: Any) -> Any:
        """Move a batch as a whole, so that it keeps its facts and state."""
        if isinstance(data, Batch):
            return data.to(self.args.device)
        parent: Any = super()
        return parent._prepare_input(data)

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        parent: Any = super()
        parent._save_checkpoint(*arguments, **named)
        this: Any = self
        if this.args.should_save:
            folder = Path(this._get_output_dir(trial=None), f"checkpoint-{this.state.global_step}")
            state = json.dumps(self.train_dataset.state)
            (folder / _STATE_FILE).write_text(state, encoding="utf-8")


def _loader(given: Any, name: str) -> LatentLoader:
    if not isinstance(given, LatentLoader):
        raise ConfigError(
            f"{name} must be a LatentLoader, got {type(given).__name__}; pass one, or leave "
            f"FromLatents out"
        )
    return given
