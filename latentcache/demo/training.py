"""The demo trains: small DiTs on the CPU, told captions or labels, from stores the demo built."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latentcache.demo.captions import TEXT_COLUMN
from latentcache.demo.first_guess import first_guess
from latentcache.demo.page.training_facts import FirstGuess, SampleGrid, TrainingFacts
from latentcache.demo.threads import faster_threads, torch_threads
from latentcache.demo.training_set import TrainingSet, decode
from latentcache.loader import LatentLoader, Source
from latentcache.train import Condition, DiT, DiTConfig, StepFacts, Trainer, TrainOptions

SHARES = (0.25, 0.5, 0.75, 1.0)
_SAMPLES_OF_UNSEEN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRecipe:
    """What made all classes right in the least time; found by trying, on 2 CPU cores.

    Attributes:
        num_steps: Optimizer steps.
        batch_size: With 64, equal accuracy took a third more CPU time.
        learning_rate: Of AdamW, falling linearly to 0 over the last 40 % of the steps.
        patch: Edge of a token in latent cells.
        has_position_embedding: Whether tokens are told where they are.
        guidance: Of classifier-free guidance.
        num_scored: Samples that the accuracy is taken over at the end, every class equally
            often. Earlier stages show and count the first of each class.
        left_out: Classes that training never sees, to be asked for in the end: only a caption
            can tell a model of what it has not seen, by words that it has.
    """

    num_steps: int = 640
    batch_size: int = 32
    learning_rate: float = 5e-3
    width: int = 128
    depth: int = 3
    num_heads: int = 4
    patch: int = 2
    has_position_embedding: bool = False
    guidance: float = 2.0
    num_euler_steps: int = 30
    num_scored: int = 100
    left_out: tuple[str, ...] = ("red triangle", "yellow star", "green heart", "blue cross")

    def options(self, seed: int) -> TrainOptions:
        """Return the trainer's options."""
        return TrainOptions(
            num_steps=self.num_steps,
            learning_rate=self.learning_rate,
            weight_decay=0.0,
            warmup_steps=20,
            decay_from=0.6,
            ema_decay=0.99,
            condition_drop=0.1,
            seed=seed,
        )

    def model(self, known: TrainingSet, *, seed: int) -> DiT:
        """Return the model before its first step; torch's own random state is left alone."""
        captions = known.captions
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return DiT(
                DiTConfig(
                    channels=known.latents.shape[1],
                    patch=(1, self.patch, self.patch),
                    width=self.width,
                    depth=self.depth,
                    num_heads=self.num_heads,
                    num_classes=known.num_classes if captions is None else None,
                    text_dim=None if captions is None else captions.shape[2],
                    has_position_embedding=self.has_position_embedding,
                )
            )


def train_classes(
    store: Path,
    known: TrainingSet,
    *,
    seed: int = 0,
    recipe: DemoRecipe | None = None,
    checkpoint: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> TrainingFacts:
    """Train on a store's latents and return what came of it.

    Args:
        store: With labels, and with the captions that ``known`` has.
        known: What it holds.
        seed: Of the order, the model's first weights, times, noise and samples.
        recipe: None takes the demo's.
        checkpoint: Where the trained model goes, or None.
        tell: Called with a line at each stage.
    """
    recipe = recipe or DemoRecipe()
    condition = "label" if known.captions is None else TEXT_COLUMN
    left_out = [list(known.names).index(name) for name in recipe.left_out]
    shown = " and ".join(f"label != {label}" for label in left_out)
    loader = LatentLoader(
        [Source(store=str(store), filter=shown)],
        columns=["latents", condition],
        global_batch_size=recipe.batch_size,
        seed=seed,
        # A scale per channel would make the noise of faint frequencies as loud as the picture.
        normalize="measured-global",
    )
    model = recipe.model(known, seed=seed)
    few = known.latents[: recipe.batch_size].to(torch.float32)
    num_threads = faster_threads(model, few, known.told(known.labels[: recipe.batch_size]))
    threads = "1 thread" if num_threads == 1 else f"{num_threads} threads"
    tell(f"{_num_parameters(model):,} parameters, on {threads}: the faster choice, timed just now")
    trainer = Trainer(model, loader, recipe.options(seed), condition=condition)
    run = _Run(trainer, loader, known, recipe, seed)
    with torch_threads(num_threads):
        for share in SHARES:
            tell(run.advance(share))
    if checkpoint is not None:
        trainer.save(checkpoint)
    return run.facts(num_threads)


class _Run:
    """One training, stage by stage."""

    def __init__(
        self,
        trainer: Trainer,
        loader: LatentLoader,
        known: TrainingSet,
        recipe: DemoRecipe,
        seed: int,
    ) -> None:
        self._trainer, self._loader, self._known = trainer, loader, known
        self._recipe, self._seed = recipe, seed
        unseen = torch.tensor([name in recipe.left_out for name in known.names])
        self._seen, self._unseen = (~unseen).nonzero()[:, 0], unseen.nonzero()[:, 0]
        self._is_seen = ~unseen[known.labels]
        self._losses: list[float] = []
        self._grids: list[SampleGrid] = []
        self._elapsed_s = self._waited_s = 0.0

    def advance(self, share: float) -> str:
        """Train up to a share of the steps, draw samples, and return a line about both."""
        before = self._loader.wait_s
        started_s = time.perf_counter()
        self._trainer.run(until_step=round(share * self._recipe.num_steps), on_step=self._note)
        self._elapsed_s += time.perf_counter() - started_s
        self._waited_s += self._loader.wait_s - before
        num_scored = self._recipe.num_scored if share == 1.0 else len(self._seen)
        grid = self._draw(share, self._seen, num_scored)
        self._grids.append(grid)
        recent = self._losses[-50:]
        return (
            f"{share:4.0%}, step {grid.step}: loss {sum(recent) / len(recent):.3f}, "
            f"{self._samples_per_s:,.0f} samples/s, loader wait {self._wait_share:.1%}, "
            f"{grid.num_right} of {grid.num_scored} samples of their own class"
        )

    def facts(self, num_threads: int) -> TrainingFacts:
        """Return the whole run."""
        recipe, known = self._recipe, self._known
        unseen = None
        if len(self._unseen):
            unseen = self._draw(1.0, self._unseen, _SAMPLES_OF_UNSEEN * len(self._unseen))
        shape = " x ".join(str(size) for size in known.latents.shape[1:])
        edge = recipe.patch
        token = "each cell a token" if edge == 1 else f"in patches of {edge} x {edge}"
        return TrainingFacts(
            model=(
                f"A DiT of {_num_parameters(self._trainer.model):,} parameters, {recipe.depth} "
                f"blocks of width {recipe.width}, on latents of {shape}, {token}"
            ),
            recipe=(
                f"Flow matching; AdamW at {recipe.learning_rate:g}, falling from 60 % of "
                f"the steps; averaged weights; samples by {recipe.num_euler_steps} Euler steps "
                f"with guidance {recipe.guidance:g}; seed {self._seed}"
            ),
            num_images=int(self._is_seen.sum()),
            num_classes=len(self._seen),
            batch_size=recipe.batch_size,
            losses=tuple(self._losses),
            grids=tuple(self._grids),
            right=known.right_in(self._grids[-1]),
            unseen=unseen,
            unseen_right=() if unseen is None else known.right_in(unseen),
            first_guess=self._first_guess(),
            own_accuracy=known.own_accuracy(),
            num_threads=num_threads,
            elapsed_s=self._elapsed_s,
            samples_per_s=self._samples_per_s,
            loader_wait_share=self._wait_share,
        )

    @property
    def _samples_per_s(self) -> float:
        return len(self._losses) * self._recipe.batch_size / self._elapsed_s

    @property
    def _wait_share(self) -> float:
        return self._waited_s / self._elapsed_s

    def _note(self, step: StepFacts) -> None:
        self._losses.append(step.loss)

    def _first_guess(self) -> FirstGuess:
        known, loader = self._known, self._loader
        latents = loader.normalizer.apply(known.latents[self._is_seen].to(torch.float32))
        told = known.told(known.labels[self._is_seen])
        empty = loader.empty_text(TEXT_COLUMN)
        untold: Condition = torch.full((len(latents),), known.num_classes)
        if empty is not None:
            states = empty.states[: empty.num_valid].to(torch.float32).expand(len(latents), -1, -1)
            untold = states, torch.ones(states.shape[:2], dtype=torch.bool)
        return first_guess(self._trainer, latents, told, untold)

    def _draw(self, share: float, classes: torch.Tensor, num_scored: int) -> SampleGrid:
        """Return samples of some classes; those of all stages come from the same noise."""
        known, recipe = self._known, self._recipe
        num_shown = len(classes)
        asked = classes[torch.arange(num_scored) % num_shown]
        latents = self._trainer.sample(
            known.told(asked),
            guidance=recipe.guidance,
            num_steps=recipe.num_euler_steps,
            seed=self._seed,
        )
        pixels = decode(known.encoder, latents)
        nearest = known.nearest_picture(pixels[:num_shown])
        return SampleGrid(
            step=len(self._losses),
            share=share,
            titles=tuple(known.asked(label) for label in asked[:num_shown].tolist()),
            samples=tuple(np.asarray(one) for one in pixels[:num_shown]),
            nearest=tuple(known.picture(index) for index in nearest.tolist()),
            asked=tuple(asked.tolist()),
            found=tuple(known.nearest_class(pixels).tolist()),
        )


def _num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
