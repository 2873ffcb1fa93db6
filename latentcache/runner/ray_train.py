"""Training on a cluster: Ray Train starts the ranks, replaces lost ones, and they resume.

The run's folder is what driver and workers share: workers write progress there, and the
driver asks them to stop through it.
"""

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from latentcache.core.errors import ConfigError, LatentCacheError, RunError
from latentcache.runner.workers.cluster import connected
from latentcache.storage import process_text, take_over
from latentcache.train import (
    RunFolder,
    Session,
    SessionResult,
    Trainer,
    TrainRecipe,
    choose_device,
    stopped_by_signals,
    trainer_of,
)

Draw = Callable[[Trainer, Path], None]

_FOLLOW_EVERY_S = 0.5


def train_on_cluster(
    recipe: TrainRecipe, *, resume: bool, tell: Callable[[str], None], draw: Draw
) -> SessionResult:
    """Return what a run on Ray came to.

    Args:
        recipe: Of the run; its ``out`` is a folder that every node sees.
        resume: Go on from the newest checkpoint, if there is one.
        tell: Shows a line to a person, here.
        draw: Writes a picture of samples; called by rank 0's worker.

    Raises:
        ConfigError: Ray Train is not installed, or the run was refused.
        RunError: No cluster answers, or the run failed.
    """
    train = _ray_train()
    # Workers have another folder.
    recipe = _absolute(recipe)
    root = Path(recipe.out)
    folder = RunFolder(root)
    folder.check_free(folder.newest(), resume=resume)
    root.mkdir(parents=True, exist_ok=True)
    for name in ("stop", "failed.txt", "progress.log", "result.json"):
        (root / name).unlink(missing_ok=True)
    options = recipe.ray
    trainer = train.torch.TorchTrainer(
        _work,
        train_loop_config={"recipe": recipe, "draw": draw, "storage": _Storage(process_text())},
        scaling_config=train.ScalingConfig(
            num_workers=options.num_workers,
            use_gpu=options.use_gpu,
            resources_per_worker={"CPU": options.cpus_per_worker, "GPU": int(options.use_gpu)},
        ),
        run_config=train.RunConfig(
            name="ray",
            storage_path=str(root),
            failure_config=train.FailureConfig(max_failures=options.max_failures),
        ),
    )
    with (
        connected(options.address, num_cpus=options.num_workers * options.cpus_per_worker + 1),
        ThreadPoolExecutor(1) as waiting,
        stopped_by_signals((root / "stop").touch),
    ):
        fitted = waiting.submit(trainer.fit)
        _follow(root / "progress.log", fitted, tell)
        _check_done(fitted)
    return SessionResult(**json.loads((root / "result.json").read_text(encoding="utf-8")))


def submitted_recipe(recipe: TrainRecipe) -> TrainRecipe:
    """Return the recipe as a submitted job runs it: on the cluster it was submitted to.

    Raises:
        ConfigError: A path is relative; a job's working folder is a copy that goes away.
    """
    stores = [recipe.store, *(str(one.store) for one in recipe.sources)]
    for name, url in [("out", recipe.out), *(("store", url) for url in stores)]:
        if url and "://" not in url and not Path(url).is_absolute():
            raise ConfigError(
                f"{name} must be an absolute path or a URL in a submitted job, got {url!r} "
                "(recipe); name a folder that every node sees"
            )
    address = recipe.ray.address
    return replace(
        recipe, ray=replace(recipe.ray, address="auto" if address == "local" else address)
    )


@dataclass(frozen=True, slots=True)
class _Storage:
    """Storage options of the driver, which nothing that shows a run's configuration shows."""

    options: str = field(repr=False)


def _work(config: dict[str, Any]) -> None:
    """Train one rank's part, in a worker."""
    take_over(config["storage"].options)
    import ray.train  # noqa: PLC0415  torch and Ray Train take seconds: workers alone need both
    import torch  # noqa: PLC0415

    recipe: TrainRecipe = config["recipe"]
    failed, progress = (Path(recipe.out) / name for name in ("failed.txt", "progress.log"))
    if failed.exists():
        # Ray Train starts a failed run again: right for a lost node, in vain for this.
        raise RunError(failed.read_text(encoding="utf-8"))
    device = choose_device(recipe.device, local_rank=ray.train.get_context().get_local_rank())
    if device.type == "cpu":
        torch.set_num_threads(recipe.ray.cpus_per_worker)

    def tell(line: str) -> None:
        with progress.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    try:
        trainer = trainer_of(recipe, device, resume=True)
        session = Session(recipe, trainer, tell=tell, draw=config["draw"])
        result = session.run(resume=True)
    except LatentCacheError as error:
        failed.write_text(str(error), encoding="utf-8")
        raise
    if ray.train.get_context().get_world_rank() == 0:
        # Ray Train hands metrics back only with a checkpoint of its own.
        (Path(recipe.out) / "result.json").write_text(json.dumps(asdict(result)), encoding="utf-8")


def _follow(log: Path, fitted: "Future[Any]", tell: Callable[[str], None]) -> None:
    """Show the lines of the workers until they are done."""
    told = 0
    while True:
        is_done = fitted.done()
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        for line in lines[told:]:
            tell(line)
        told = len(lines)
        if is_done:
            return
        threading.Event().wait(_FOLLOW_EVERY_S)


def _check_done(fitted: "Future[Any]") -> None:
    """Raise what a worker raised.

    Raises:
        LatentCacheError: As the worker did.
        RunError: Anything else that ended the run.
    """
    from ray.train import TrainingFailedError  # noqa: PLC0415  see _work

    try:
        fitted.result()
    except TrainingFailedError as error:
        for failure in getattr(error, "worker_failures", {}).values():
            cause = getattr(failure, "_base_exc", failure)
            if isinstance(cause, LatentCacheError):
                raise type(cause)(str(cause)) from None
        raise RunError(f"run must finish on the cluster, got: {_last_line(error)}") from None


def _absolute(recipe: TrainRecipe) -> TrainRecipe:
    def full(url: str) -> str:
        return url if not url or "://" in url else str(Path(url).resolve())

    return replace(
        recipe,
        store=full(recipe.store),
        sources=tuple(replace(one, store=full(str(one.store))) for one in recipe.sources),
        out=full(recipe.out),
        wan=full(recipe.wan),
    )


def _ray_train() -> Any:
    try:
        import ray.train.torch  # noqa: PLC0415  optional
    except ImportError:
        raise ConfigError(
            "ray train must be installed to train on a cluster, got none; "
            "run pip install 'ray[train]'"
        ) from None
    return ray.train


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
