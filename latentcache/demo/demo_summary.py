"""What the demo found, as JSON beside its page."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from latentcache.demo.demo_folder import DemoFolder
from latentcache.demo.page.demo_facts import DemoPage
from latentcache.demo.page.motion_facts import MotionFacts
from latentcache.demo.page.training_facts import LoaderRace, RightIn, SampleGrid, TrainingFacts


def write_summary(folder: DemoFolder, facts: DemoPage, *, elapsed_s: float) -> None:
    """Write ``summary.json``: the page's numbers, for programs."""
    column, test = facts.store.column, facts.kill_test
    summary = {
        "planned": column.num_planned,
        "encoded": column.num_encoded,
        "quarantined": column.num_quarantined,
        "missing": column.num_missing,
        "bytes": column.num_bytes,
        "encoding": column.fingerprint,
        "units": len(test.units),
        "units_committed_at_kill": test.num_committed_at_kill,
        "units_equal_after_kill": test.num_equal,
        "psnr_db": {"mean": round(facts.mean_psnr_db, 3), "min": round(facts.min_psnr_db, 3)},
        "training": _training_summary(facts.training),
        "motion": _motion_summary(facts.motion),
        "compared": {
            each.title: dict(zip(facts.compared.names, each.cells, strict=True))
            for each in facts.compared.figures
        },
        "loader": _loader_summary(facts.race),
        "order": {"steps": facts.order.num_steps, "steps_equal": facts.order.num_equal},
        "elapsed_s": round(elapsed_s, 1),
        "machine": facts.machine,
    }
    text = json.dumps(summary, indent=2) + "\n"
    (folder.root / "summary.json").write_text(text, encoding="utf-8")


def _motion_summary(motion: MotionFacts) -> dict[str, Any]:
    return {
        **_training_summary(motion.training),
        "psnr_db": {
            "first_frame": round(motion.first_frame_db, 3),
            "rest": round(motion.rest_db, 3),
        },
    }


def _training_summary(training: TrainingFacts) -> dict[str, Any]:
    return {
        "samples": training.num_images,
        "classes": training.num_classes,
        "steps": len(training.losses),
        "loss": round(training.final_loss, 4),
        "samples_per_s": round(training.samples_per_s, 1),
        "loader_wait_share": round(training.loader_wait_share, 5),
        "threads": training.num_threads,
        "elapsed_s": round(training.elapsed_s, 1),
        "accuracy": round(training.accuracy, 4),
        "accuracy_in": _shares(training.right, training.grids[-1].num_scored),
        "accuracy_in_unseen": _shares(training.unseen_right, _num_scored(training.unseen)),
        "loss_of_noise_alone": {
            name: round(value, 4) for name, value in asdict(training.first_guess).items()
        },
        "accuracy_of_training_images": round(training.own_accuracy, 4),
        "accuracy_by_step": {str(one.step): round(one.accuracy, 4) for one in training.grids},
    }


def _shares(right: Sequence[RightIn], num_scored: int) -> dict[str, float]:
    return {each.name: round(each.num_right / num_scored, 4) for each in right}


def _num_scored(grid: SampleGrid | None) -> int:
    return 0 if grid is None else grid.num_scored


def _loader_summary(race: LoaderRace) -> dict[str, Any]:
    return {
        "samples_per_s": round(race.loader.samples_per_s),
        "folder_samples_per_s": {one.name: round(one.samples_per_s) for one in race.others},
        "ratio": round(race.ratio, 2),
    }


def machine_in_words() -> str:
    """Return the kind of machine and the versions that matter, and nothing that names it."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("latentcache", "ray", "torch"))
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {versions}"
    )
