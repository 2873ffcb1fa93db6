"""The demo's half about videos: clips become a store, a model learns how shapes move."""

from pathlib import Path

from latentcache.demo.demo_folder import DemoFolder
from latentcache.demo.narrator import Narrator
from latentcache.demo.page.animations import PAIRS_A_LINE, clip_grid
from latentcache.demo.page.motion_facts import MotionFacts
from latentcache.demo.page.training_facts import SampleGrid
from latentcache.demo.photo_store import COLUMN, MOTION_ENCODER, build_motion_store
from latentcache.demo.threads import torch_threads
from latentcache.demo.training import DemoRecipe, train_classes
from latentcache.demo.training_set import TrainingSet
from latentcache.evaluate import load_recorded_encoder, mean_of, measure_fidelity
from latentcache.report import FieldFacts, field_facts, webp_bytes
from latentcache.stats import ColumnStatistics
from latentcache.store import Snapshot, Store
from latentcache.testing.drawn_motion import FRAME_RATE_FPS, MOTION_CLASSES

MOTION_RECIPE = DemoRecipe(
    num_steps=900,
    batch_size=24,
    learning_rate=3e-3,
    # Of 2 x 2 cells a token would hold nearly as many values as the model is wide, and most of
    # its width would carry noise from one end to the other.
    patch=1,
    # Without it shapes move from wherever the noise puts them: 44 % of samples right after 800
    # steps, against 81 % after 400 with it.
    has_position_embedding=True,
    num_scored=72,
    left_out=(),
)
_NUM_COMPARED = 24
_ZOOM = 3


def run_motion(
    folder: DemoFolder, narrator: Narrator, *, num_clips: int, recipe: DemoRecipe | None = None
) -> MotionFacts:
    """Build a store of clips, train on it, and return what came of it.

    Args:
        folder: Of the demo.
        narrator: Told each step.
        num_clips: The model is trained on.
        recipe: None takes ``MOTION_RECIPE``.
    """
    recipe = recipe or MOTION_RECIPE
    build_motion_store(folder, narrator, num_clips)
    snapshot = Store.open(folder.motion_store).snapshot()
    with narrator.step(f"Decode {_NUM_COMPARED} clips from it, the first frame apart"):
        first_db, rest_db, num_compared = _compare(snapshot)
        narrator.say(
            f"PSNR {first_db:.1f} dB of first frames, {rest_db:.1f} dB of the rest: a causal "
            "encoder keeps the first frame apart"
        )
    with torch_threads(1):
        known = TrainingSet.read(folder.motion_store, column=COLUMN, names=MOTION_CLASSES)
    shape = " x ".join(str(size) for size in known.latents.shape[1:])
    with narrator.step(f"Train a small video DiT on {len(known.keys)} latents of {shape}"):
        training = train_classes(
            folder.motion_store,
            known,
            recipe=recipe,
            checkpoint=folder.motion_model,
            tell=narrator.say,
        )
        last = training.grids[-1]
        _write_animation(folder.motion_samples, last)
        narrator.say(f"samples in {folder.motion_samples}, the model in {folder.motion_model}")
        narrator.say(
            f"{last.num_right} of {last.num_scored} clips nearest to the mean of their class, "
            + ", ".join(f"{each.num_right} right in {each.name}" for each in training.right)
        )
    first, rest = _first_and_rest(snapshot)
    return MotionFacts(
        training=training,
        frame_rate_fps=FRAME_RATE_FPS,
        encoder=MOTION_ENCODER.partition(":")[0],
        num_compared=num_compared,
        first_frame_db=first_db,
        rest_db=rest_db,
        first=first,
        rest=rest,
    )


def _compare(snapshot: Snapshot) -> tuple[float, float, int]:
    """Return the mean PSNR of first frames and of the rest, and of how many clips."""
    view = snapshot.column(COLUMN)
    encoder = load_recorded_encoder(view.record, device="cpu")
    found = measure_fidelity(view, encoder, _NUM_COMPARED)
    first_db, rest_db = mean_of(found.first_frame_db), mean_of(found.rest_db)
    return first_db or 0.0, rest_db or 0.0, len(found.rest_db)


def _first_and_rest(snapshot: Snapshot) -> tuple[FieldFacts, FieldFacts]:
    statistics = ColumnStatistics.from_arrays(snapshot.column(COLUMN).statistics())
    parts = {field.frames: field for field in field_facts(statistics)}
    return parts["first"], parts["rest"]


def _write_animation(path: Path, grid: SampleGrid) -> None:
    frames = clip_grid(grid.samples, grid.nearest, num_columns=PAIRS_A_LINE, scale=_ZOOM)
    path.write_bytes(webp_bytes(frames, frame_rate_fps=FRAME_RATE_FPS))
