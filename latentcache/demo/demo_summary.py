"""What the demo found, as JSON beside its page."""

import json
import os
import platform
from importlib.metadata import version
from typing import Any

from latentcache.demo.demo_folder import DemoFolder
from latentcache.demo.page.demo_facts import DemoPage
from latentcache.demo.page.motion_facts import MotionFacts
from latentcache.demo.page.training_facts import LoaderRace, TrainingFacts


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
        "loader": _loader_summary(facts.race),
        "order": {"steps": facts.order.num_steps, "steps_equal": facts.order.num_equal},
        "elapsed_s": round(elapsed_s, 1),
        "machine": facts.machine,
    }
    text = json.dumps(summary, indent=2) + "\n"
    (folder.root / "summary.json").write_text(text, encoding="utf-8")


def _motion_summary(motion: MotionFacts) -> dict[str, Any]:
    num_scored = motion.training.grids[-1].num_scored
    return {
        **_training_summary(motion.training),
        "accuracy_in": {name: round(count / num_scored, 4) for name, count in motion.right},
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
        "accuracy_of_training_images": round(training.own_accuracy, 4),
        "accuracy_by_step": {str(one.step): round(one.accuracy, 4) for one in training.grids},
    }


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
