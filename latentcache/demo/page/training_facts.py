"""What the training part of the demo's page is drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass

from latentcache.report import Rgb


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleGrid:
    """Samples of a model at one point of its training, each beside what it is closest to.

    Attributes:
        step: Optimizer steps done.
        share: Of the training, in (0, 1].
        titles: What each sample was asked to show.
        samples: Decoded; clips are THWC.
        nearest: The training picture that each sample is nearest to, decoded as well.
        asked: Class of each sample that is counted; those shown are the first of them.
        found: Class whose mean it is nearest to.
    """

    step: int
    share: float
    titles: tuple[str, ...]
    samples: tuple[Rgb, ...]
    nearest: tuple[Rgb, ...]
    asked: tuple[int, ...]
    found: tuple[int, ...]

    @property
    def titled(self) -> tuple[tuple[str, Rgb], ...]:
        """Samples that are shown, each after its title."""
        return tuple(zip(self.titles, self.samples, strict=True))

    @property
    def num_scored(self) -> int:
        """Samples counted."""
        return len(self.asked)

    @property
    def num_right(self) -> int:
        """Samples nearest to the mean of their own class."""
        return sum(one == other for one, other in zip(self.asked, self.found, strict=True))

    @property
    def accuracy(self) -> float:
        """Share of samples nearest to the mean of their own class."""
        return self.num_right / self.num_scored


@dataclass(frozen=True, slots=True, kw_only=True)
class RightIn:
    """How many samples are right in one respect, e.g. ``colour``.

    Attributes:
        num_choices: Of which one is right: guessing is right in one of so many.
    """

    name: str
    num_right: int
    num_choices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstGuess:
    """What a model makes of pure noise, where all that it can know is what it was told.

    Mean squared errors of the velocity over the latents that were trained on.

    Attributes:
        told: Each told what it is of.
        untold: Each told nothing.
        floor: The least that any model can reach that is told nothing: it names the mean latent,
            and what remains is their variance.
    """

    told: float
    untold: float
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """A training run and what came out of it.

    Attributes:
        model: In words.
        recipe: In words.
        num_images: The model was trained on.
        num_classes: Labels it was told.
        batch_size: Samples of a step.
        losses: Of every step.
        grids: In the order of the run.
        right: Of the last grid, in each respect.
        unseen: Samples asked for by what training left out, and of those how many are right;
            None where it left out nothing.
        unseen_right: Of those, in each respect.
        first_guess: After the last step.
        own_accuracy: Of the training pictures, by the measure of ``SampleGrid``, each left
            out of its own mean: what the measure itself can reach.
        num_threads: torch was given, because it was the faster choice.
        elapsed_s: Of the steps alone, without drawing samples.
        samples_per_s: Over these seconds.
        loader_wait_share: Share of these seconds spent waiting for batches.
    """

    model: str
    recipe: str
    num_images: int
    num_classes: int
    batch_size: int
    losses: tuple[float, ...]
    grids: tuple[SampleGrid, ...]
    right: tuple[RightIn, ...]
    unseen: SampleGrid | None
    unseen_right: tuple[RightIn, ...]
    first_guess: FirstGuess
    own_accuracy: float
    num_threads: int
    elapsed_s: float
    samples_per_s: float
    loader_wait_share: float

    @property
    def accuracy(self) -> float:
        """Of the last samples."""
        return self.grids[-1].accuracy

    @property
    def final_loss(self) -> float:
        """Mean of the last twentieth of the steps: one batch alone is mostly luck."""
        last = self.losses[-max(1, len(self.losses) // 20) :]
        return sum(last) / len(last)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSpeed:
    """How fast one way of reading gave batches."""

    name: str
    samples_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderRace:
    """The loader against a folder of files, on the same latents.

    Attributes:
        loader: Ours.
        others: A folder of safetensors under a ``DataLoader``, per number of workers.
        what: The latent in words.
    """

    loader: LoaderSpeed
    others: tuple[LoaderSpeed, ...]
    num_samples: int
    batch_size: int
    what: str

    @property
    def ratio(self) -> float:
        """Ours over the best of the others."""
        return self.loader.samples_per_s / max(one.samples_per_s for one in self.others)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRun:
    """The ids that one run saw.

    Attributes:
        name: E.g. ``2 ranks``.
        steps: Per step and rank the ids, in the order they were handed out.
        resumed_at: Step from which it is another process with other ranks, or None.
    """

    name: str
    steps: tuple[tuple[tuple[int, ...], ...], ...]
    resumed_at: int | None = None

    def ids(self, step: int) -> Sequence[int]:
        """Return the global batch of a step, ranks joined."""
        return [one for rank in self.steps[step] for one in rank]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTest:
    """The same steps under several numbers of ranks; the first run is what others must equal."""

    runs: tuple[OrderRun, ...]
    batch_size: int

    @property
    def num_steps(self) -> int:
        """Steps compared."""
        return len(self.runs[0].steps)

    def is_equal(self, step: int) -> bool:
        """Whether all runs saw the same ids in the same order at a step."""
        return all(run.ids(step) == self.runs[0].ids(step) for run in self.runs)

    @property
    def num_equal(self) -> int:
        """Steps at which all runs saw the same ids."""
        return sum(self.is_equal(step) for step in range(self.num_steps))
