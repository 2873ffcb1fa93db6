"""A run in a folder: goes on from its last checkpoint, logs, saves, draws, stops when asked.

The folder holds ``checkpoints/step_<n>.safetensors``, ``losses.jsonl`` (one line a step),
``sample_losses.jsonl`` (one line a sample, on request) and ``samples/step_<n>.png``. A file
``stop`` put there ends the run after the next step, as a signal does.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from latentcache.core.errors import ConfigError, LatentCacheError, first_line
from latentcache.train.rank_group import shared, world
from latentcache.train.train_progress import StepFacts
from latentcache.train.train_recipe import TrainRecipe
from latentcache.train.trainer import Trainer

_TELL_EVERY_S, _LOOK_EVERY_S = 5.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResult:
    """What a run came to.

    Attributes:
        step: Steps done.
        num_steps: Of the whole run.
        loss: Of the last step; None where there was nothing left to do.
        samples_per_s: At the end.
        loader_wait_share: At the end.
        checkpoint: The newest.
        is_stopped: Asked to stop before the last step.
    """

    step: int
    num_steps: int
    loss: float | None
    samples_per_s: float
    loader_wait_share: float
    checkpoint: str
    is_stopped: bool


class Session:
    """One rank's part of a run in a folder."""

    def __init__(
        self,
        recipe: TrainRecipe,
        trainer: Trainer,
        *,
        tell: Callable[[str], None],
        draw: Callable[[Trainer, Path], None],
    ) -> None:
        """Prepare.

        Args:
            recipe: Of the run.
            trainer: Of this rank.
            tell: Shows a line to a person; called on rank 0.
            draw: Writes a picture of samples; called on rank 0.
        """
        self._recipe, self._trainer = recipe, trainer
        self._tell, self._draw = tell, draw
        self._folder = RunFolder(Path(recipe.out))
        self._is_first = world()[0] == 0
        self._last: StepFacts | None = None
        self._saved_step: int | None = None
        self._next_s, self._next_look_s = 0.0, 0.0

    def run(self, *, resume: bool) -> SessionResult:
        """Train to the end, or until somebody asks the trainer to stop.

        Args:
            resume: Go on from the folder's newest checkpoint, if it has one.

        Raises:
            ConfigError: The folder holds another run, or one that is not to be resumed.
        """
        trainer, output = self._trainer, self._recipe.output
        # Rank 0 looks for all: a network file system may show ranks different folders.
        newest = shared(self._folder.newest())
        self._folder.check_free(newest, resume=resume)
        if newest is not None:
            trainer.load(newest)
            self._saved_step = trainer.step
            self._say(f"resumed from {newest}")
            if trainer.step == trainer.options.num_steps:
                self._say(f"all {trainer.step:,} steps are done; raise train.num_steps for more")
        logs = self._folder.open_logs(trainer.step) if self._is_first else None
        try:
            trainer.run(
                on_step=lambda facts: self._after(facts, logs), with_samples=output.log_samples
            )
        finally:
            for log in (logs or {}).values():
                log.close()
        if trainer.step != self._saved_step:
            self._save()
        return self._result()

    def _after(self, facts: StepFacts, logs: dict[str, TextIO] | None) -> None:
        output, trainer = self._recipe.output, self._trainer
        self._last = facts
        is_last = facts.step == facts.num_steps
        if logs is not None:
            _write_step(logs["losses"], facts)
            for one in facts.samples:
                _write_line(logs["sample_losses"], {"step": facts.step, **asdict(one)})
            now_s = time.monotonic()
            self._look_for_stop(now_s)
            if now_s >= self._next_s or is_last:
                self._next_s = now_s + _TELL_EVERY_S
                self._say(facts.line())
                for log in logs.values():
                    log.flush()
        if facts.step % output.save_every == 0 or is_last:
            self._save()
        if output.sample_every and (facts.step % output.sample_every == 0 or is_last):
            self._sample(trainer)

    def _look_for_stop(self, now_s: float) -> None:
        # Not at each step: a network file system takes milliseconds to say no.
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + _LOOK_EVERY_S
        if self._folder.stop.exists():
            self._folder.stop.unlink(missing_ok=True)
            self._trainer.stop()

    def _save(self) -> None:
        path = self._folder.checkpoint(self._trainer.step)
        self._trainer.save(path)
        self._saved_step = self._trainer.step
        if self._is_first:
            self._folder.forget(keep=self._recipe.output.keep)

    def _sample(self, trainer: Trainer) -> None:
        if self._is_first:
            path = self._folder.picture(trainer.step)
            try:
                self._draw(trainer, path)
            except Exception as error:  # noqa: BLE001  a decoder may raise anything; it costs one sheet
                self._say(_not_drawn(trainer.step, error))
            else:
                self._say(f"drew {path}")

    def _say(self, line: str) -> None:
        if self._is_first:
            self._tell(line)

    def _result(self) -> SessionResult:
        last, trainer = self._last, self._trainer
        return SessionResult(
            step=trainer.step,
            num_steps=trainer.options.num_steps,
            loss=last.loss if last else None,
            samples_per_s=round(last.samples_per_s, 3) if last else 0.0,
            loader_wait_share=round(last.loader_wait_share, 5) if last else 0.0,
            checkpoint=str(self._folder.checkpoint(trainer.step)),
            is_stopped=trainer.step < trainer.options.num_steps,
        )


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps what it makes."""

    root: Path

    @property
    def stop(self) -> Path:
        """Return the file that asks a run to stop."""
        return self.root / "stop"

    def checkpoint(self, step: int) -> Path:
        """Return where the checkpoint of a step lies."""
        return self.root / "checkpoints" / f"step_{step:08d}.safetensors"

    def picture(self, step: int) -> Path:
        """Return where the picture of a step lies."""
        return self.root / "samples" / f"step_{step:08d}.png"

    def checkpoints(self) -> list[Path]:
        """Return what has been saved, oldest first."""
        return sorted((self.root / "checkpoints").glob("step_*.safetensors"))

    def newest(self) -> Path | None:
        """Return the newest checkpoint."""
        return next(iter(reversed(self.checkpoints())), None)

    def check_free(self, newest: Path | None, *, resume: bool) -> None:
        """Refuse a folder with a checkpoint that is not to be resumed.

        Raises:
            ConfigError: There is one.
        """
        if newest is not None and not resume:
            raise ConfigError(
                f"out must hold no checkpoint, got {newest}; pass --resume to go on from it, or "
                f"name another folder"
            )

    def forget(self, *, keep: int) -> None:
        """Delete all checkpoints but the newest."""
        for path in self.checkpoints()[:-keep]:
            path.unlink(missing_ok=True)

    def open_logs(self, step: int) -> dict[str, TextIO]:
        """Return logs to append to, without the lines of steps that will be done again."""
        self.root.mkdir(parents=True, exist_ok=True)
        logs: dict[str, TextIO] = {}
        for name in ("losses", "sample_losses"):
            path = self.root / f"{name}.jsonl"
            if path.exists():
                _cut(path, step)
            logs[name] = path.open("a", encoding="utf-8")
        return logs


def _cut(path: Path, step: int) -> None:
    """Drop the lines after ``step``, and one that a kill cut short."""
    shorter = path.with_suffix(".tmp")
    with path.open(encoding="utf-8") as lines, shorter.open("w", encoding="utf-8") as kept:
        for line in lines:
            if not line.endswith("\n") or json.loads(line)["step"] > step:
                break
            kept.write(line)
    shorter.replace(path)


def _write_step(log: TextIO, facts: StepFacts) -> None:
    names = ("step", "loss", "gradient_norm", "learning_rate", "samples_per_s")
    plain = {name: getattr(facts, name) for name in (*names, "loader_wait_share")}
    _write_line(log, {**plain, "bucket": str(facts.bucket)})


def _not_drawn(step: int, error: Exception) -> str:
    kind = "" if isinstance(error, LatentCacheError) else f"{type(error).__name__}: "
    return (
        f"no samples are drawn at step {step:,}: {kind}{first_line(error)}; the run goes on "
        f"(output.sample_every = 0 draws none)"
    )


def _write_line(log: TextIO, values: dict[str, Any]) -> None:
    log.write(json.dumps(values) + "\n")
