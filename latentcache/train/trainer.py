"""The training loop: what happens between two batches, and what a run keeps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from latentcache.core.errors import RunError
from latentcache.core.media import Bucket
from latentcache.core.seeds import keyed_uint64
from latentcache.loader import Batch, LatentLoader
from latentcache.store import ColumnView
from latentcache.train.beside import Beside, find_beside
from latentcache.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from latentcache.train.conditioning import Conditioning, draw_drops, empty_text_of
from latentcache.train.fitting import (
    check_equal,
    check_length,
    described,
    find_device,
    latents_column,
    parts_of,
)
from latentcache.train.flow import DROP_STREAM, Condition
from latentcache.train.objectives.objective import objective_of
from latentcache.train.rank_group import collected, in_parallel, on_first_rank, summed
from latentcache.train.train_options import TrainOptions
from latentcache.train.train_progress import Meter, SampleLoss, StepFacts
from latentcache.train.trained_weights import Weights

_NUM_STREAMS = 8


@dataclass(frozen=True, slots=True)
class _Step:
    """What one optimizer step was fed and what came of it."""

    loss: float
    gradient_norm: float
    is_last: bool
    num_samples: int
    bucket: Bucket
    samples: tuple[SampleLoss, ...]


class Trainer:
    """Trains a model on a loader's batches.

    Attributes:
        model: As given, on the device.
        weights: Its parameters with their averages, ``weights.ema``.
        step: Optimizer steps done.
        last_told: Condition of the last micro-batch, nothing dropped.
    """

    def __init__(  # noqa: PLR0913  a training script names what it wants, in one place
        self,
        model: nn.Module,
        loader: LatentLoader,
        options: TrainOptions,
        *,
        device: str | torch.device = "cpu",
        condition: str | None = None,
        condition_latents: str | None = None,
        references: Sequence[str] = (),
        loss_mask: str | None = None,
    ) -> None:
        """Check that model, loader and device fit each other; nothing is read yet.

        Args:
            model: Called with latents, times and a condition, like ``DiT``. What it needs
                is taken from its attributes ``channels``, ``num_classes`` and ``text_dim``,
                where it has them.
            loader: With all columns that are needed, for this rank.
            options: Kept in checkpoints.
            device: Where the model is trained.
            condition: Column that the model is told: labels, or embeddings of text.
            condition_latents: Column of latents that the model is given beside the noisy ones.
            references: Columns of latents that come as tokens before the noisy ones.
            loss_mask: Column of masks: where the loss counts.

        Raises:
            ConfigError: They do not fit, or the device is not there.
        """
        self.options, self._loader = options, loader
        self._device = find_device(device)
        self.model = model.to(self._device)
        self._conditioning = Conditioning(
            column=condition,
            num_classes=getattr(model, "num_classes", None),
            text_dim=getattr(model, "text_dim", None),
            empty_text=empty_text_of(loader, condition),
        )
        self._latents = latents_column(model, loader)
        self._objective = objective_of(
            model, options, beside=(condition_latents, references, loss_mask)
        )
        self._beside = find_beside(
            model,
            loader,
            latents=self._latents,
            condition_latents=condition_latents,
            references=references,
            loss_mask=loss_mask,
        )
        self._last_beside: dict[torch.Size, Beside] = {}
        self._parts = parts_of(loader)
        self.weights = Weights(self.model, options)
        self._parallel = in_parallel(self.model, self._device)
        self.step = 0
        self.last_told: Condition | None = None
        self._last_batch: Batch | None = None
        self._state = loader.state
        self._batches: Iterator[Batch] | None = None
        self._meter = Meter()
        self._is_stopping = False

    def run(
        self,
        *,
        until_step: int | None = None,
        on_step: Callable[[StepFacts], None] | None = None,
        with_samples: bool = False,
    ) -> None:
        """Train until the last step, ``until_step`` or ``stop``.

        Args:
            until_step: Steps done when to return; the rates are those of the whole run.
            on_step: Called on every rank after each step; may save and sample.
            with_samples: Tell the loss of each sample; ranks exchange them at each step.

        Raises:
            RunError: A loss or gradient is not finite; weights are those of the step before.
            ConfigError: The condition does not fit the model.
        """
        last = self.options.num_steps if until_step is None else until_step
        self.model.train()
        self._meter.start()
        while self.step < min(last, self.options.num_steps):
            waited_s = self._loader.wait_s
            done = self._one_step(with_samples=with_samples)
            self._meter.step(num_samples=done.num_samples, waited_s=self._loader.wait_s - waited_s)
            if on_step is not None:
                on_step(self._facts(done))
            if done.is_last:
                self._is_stopping = False
                break

    def stop(self) -> None:
        """Let ``run`` return on all ranks after the next step; safe in a signal handler.

        Ranks learn of it with the step's loss, so that none of them waits for another.
        """
        self._is_stopping = True

    def sample(
        self,
        condition: Condition | None,
        *,
        guidance: float = 1.0,
        num_steps: int = 30,
        seed: int = 0,
        bucket: str | None = None,
        num_samples: int = 1,
    ) -> Tensor:
        """Return latents in the encoder's own space, or indices, drawn with the averaged weights.

        Args:
            condition: Labels int64 [B], or text and its mask; None for none.
            guidance: See ``sample_euler``.
            num_steps: See ``sample_euler``.
            seed: Sample ``i`` of a seed is the same in any batch.
            bucket: Of ``loader.shapes()``; None takes the first.
            num_samples: B where there is no condition.
        """
        shapes = self._loader.shapes()
        shape = shapes[bucket or next(iter(shapes))][self._latents][1:]
        if condition is not None:
            num_samples = len(condition[0] if isinstance(condition, tuple) else condition)
            condition = _moved(condition, self._device)
        seeds = [keyed_uint64(seed, "sample", index) for index in range(num_samples)]
        signed = torch.tensor([one - 2**63 for one in seeds], device=self._device)
        self.model.eval()
        try:
            latents = self._objective.sample(
                self._beside_for(shape, num_samples).around(self._averaged),
                shape,
                signed,
                (condition, self._conditioning.without(condition)),
                guidance=guidance,
                num_steps=num_steps,
            )
        finally:
            self.model.train()
        return self._loader.normalizer.invert(latents)

    @property
    def last_captions(self) -> list[str | None]:
        """Captions of the last micro-batch; none where the loader reads no column ``caption``."""
        batch = self._last_batch
        return list(batch["caption"]) if batch is not None and "caption" in batch else []

    @property
    def encoding(self) -> ColumnView:
        """The column that is trained on, of the snapshot that this run reads."""
        return self._loader.view_of(self._latents)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, by number, where the loader knows them."""
        return self._loader.classes

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return what can be sampled: the loader's shapes, by bucket."""
        return self._loader.shapes()

    def save(self, path: str | Path) -> None:
        """Write everything that is needed to go on; rank 0 does, and the others wait for it.

        Raises:
            RunError: It cannot be written; what was there is kept.
        """
        on_first_rank(lambda: write_checkpoint(path, self._checkpoint()))

    def load(self, path: str | Path, *, new_options: bool = False) -> None:
        """Go on where a checkpoint was saved, with any number of ranks.

        Args:
            path: Of a checkpoint.
            new_options: Go on with this trainer's options instead of refusing others.

        Raises:
            ConfigError: It is missing, damaged, or another model's, run's or store's.
        """
        checkpoint = read_checkpoint(path)
        facts = checkpoint.facts
        check_equal("model", facts["model"], described(self.model), path)
        if not new_options:
            ours = asdict(self.options)
            # A run may be made longer, or shorter, but not than it is.
            check_equal(
                "options", {**facts["options"], "num_steps": 0}, {**ours, "num_steps": 0}, path
            )
            check_length(facts["step"], self.options.num_steps, path)
        # The loader refuses another store before any weight is touched.
        self._loader.load_state_dict(facts["loader"])
        self._state, self._batches = facts["loader"], None
        self.weights.restore(checkpoint.tensors)
        self.step = facts["step"]

    def _one_step(self, *, with_samples: bool) -> _Step:
        batches = [self._next() for _ in range(self._parts[1])]
        self.weights.forget_gradients()
        scores = [
            self._backward(batch, is_last=micro == len(batches) - 1)
            for micro, batch in enumerate(batches)
        ]
        # One exchange for both: the mean loss, and whether anybody was asked to stop.
        mean = torch.cat([one[0] for one in scores]).mean()
        both = summed(torch.stack([mean, mean.new_tensor(float(self._is_stopping))]))
        loss, num_stopping = (both / mean.new_tensor([self._parts[0], 1])).tolist()
        norm = self.weights.gradient_norm()
        if not (abs(loss) < float("inf") and norm < float("inf")):
            self._refuse(batches, [one[0] for one in scores], loss, norm)
        self.weights.update(self.step, norm)
        self.step += 1
        self._state = batches[-1].state
        samples = collected(_sample_losses(batches, scores)) if with_samples else []
        return _Step(
            loss,
            norm,
            num_stopping > 0,
            sum(len(one[0]) for one in scores) * self._parts[0],
            batches[0].facts.bucket,
            tuple(samples),
        )

    def _next(self) -> Batch:
        if self._batches is None:
            self._batches = iter(self._loader)
        return next(self._batches)

    def _backward(self, batch: Batch, *, is_last: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Add a micro-batch's gradients; return loss, time and drop of each sample."""
        latents = batch[self._latents].to(self._device, non_blocking=True)
        seeds = batch["noise_seed"].to(self._device, non_blocking=True)
        first = _NUM_STREAMS * self.options.seed
        dropped = draw_drops(seeds, self.options.condition_drop, stream=first + DROP_STREAM)
        self.last_told = self._conditioning.read(batch, self._device)
        # Whose captions a picture of samples shows: labels need none.
        self._last_batch = batch if isinstance(self.last_told, tuple) else None
        told = self._conditioning.drop(self.last_told, dropped)
        beside = self._last_beside[latents.shape[2:]] = self._beside.read(batch, latents)
        draws = self._objective.draws(seeds, tuple(latents.shape[1:]), first)
        # Gradients travel once a step: with its last micro-batch.
        parallel = self._parallel
        silent = isinstance(parallel, nn.parallel.DistributedDataParallel) and not is_last
        waiting: Any = parallel.no_sync if silent else nullcontext
        with waiting():
            with self._cast():
                losses = self._objective.losses(parallel, latents, told, beside, draws)
            torch.autograd.backward(losses.mean() / self._parts[1])
        return losses.detach(), draws.times, dropped

    def _refuse(self, batches: list[Batch], losses: list[Tensor], loss: float, norm: float) -> None:
        """Stop on a number that is not finite, before any weight has seen it."""
        found = [
            key
            for batch, scores in zip(batches, losses, strict=True)
            for key, score in zip(batch["key"], scores.tolist(), strict=True)
            if not abs(score) < float("inf")
        ]
        keys = collected(found)
        whose = f"samples {', '.join(keys[:8])}" if keys else "no sample alone"
        raise RunError(
            f"loss and gradient must be finite, got {loss} and {norm} (step {self.step}, {whose}); "
            f"weights are those of the step before: look at the samples or lower the learning rate"
        )

    def _facts(self, done: _Step) -> StepFacts:
        meter = self._meter
        return StepFacts(
            step=self.step,
            num_steps=self.options.num_steps,
            loss=done.loss,
            gradient_norm=done.gradient_norm,
            learning_rate=self.options.rate_at(self.step - 1),
            bucket=done.bucket,
            samples_per_s=meter.samples_per_s,
            loader_wait_share=meter.wait_share,
            eta_s=meter.step_s * (self.options.num_steps - self.step),
            samples=done.samples,
        )

    def _beside_for(self, shape: tuple[int, ...], num_samples: int) -> Beside:
        """Return what samples are given: what the last batch of their size was, or nothing."""
        sizes = torch.Size(shape[1:])
        last = self._last_beside.get(sizes, Beside())
        given = self._beside.conditioning_latents
        if given is not None and last.conditioning_latents is None:
            zeros = torch.zeros((1, given.channels, *sizes), device=self._device)
            last = Beside(conditioning_latents=zeros)
        return last.of_samples(num_samples)

    def _averaged(self, *arguments: Any) -> Any:
        with self._cast():
            return functional_call(self.model, self.weights.ema, arguments)

    def _cast(self) -> Any:
        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    def _checkpoint(self) -> Checkpoint:
        facts = {
            "step": self.step,
            "model": described(self.model),
            "options": asdict(self.options),
            "normalizer": self._loader.normalizer.to_json(),
            "loader": self._state,
        }
        return Checkpoint(self.weights.tensors(), facts)


def _sample_losses(
    batches: list[Batch], scores: list[tuple[Tensor, Tensor, Tensor]]
) -> list[SampleLoss]:
    return [
        SampleLoss(key=key, loss=loss, time=time, is_dropped=dropped)
        for batch, (losses, times, drops) in zip(batches, scores, strict=True)
        for key, loss, time, dropped in zip(
            batch["key"], losses.tolist(), times.tolist(), drops.tolist(), strict=True
        )
    ]


def _moved(condition: Condition, device: torch.device) -> Condition:
    if isinstance(condition, tuple):
        return condition[0].to(device), condition[1].to(device)
    return condition.to(device)
