"""The demo's first half: pictures become a store, a build is killed and goes on."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from latentcache.core.errors import ShardCorruptError
from latentcache.demo.demo_folder import DemoFolder
from latentcache.demo.narrator import Narrator
from latentcache.terminal import bytes_text, print_table, reporting

if TYPE_CHECKING:
    from latentcache.demo.page import KillTest
    from latentcache.evaluate import FidelityReport
    from latentcache.plan import PlanOptions
    from latentcache.store import Snapshot

COLUMN = "latents"
RESOLUTION_PX = 256
NUM_BROKEN = 3
ROWS_PER_SHARD = 8
"""So small that a few hundred pictures make some thirty units: enough to be killed between."""
CLASS_PX = 64
"""8 x 8 latent cells, 16 tokens: what a CPU trains on in a minute."""
CLASS_ROWS_PER_SHARD = 128
MOTION_PX = 32
"""4 x 4 latent cells and 5 latent frames: 80 tokens."""
MOTION_ENCODER = "dct-video:keep_luma=6,keep_chroma=3,motion_luma=3,motion_chroma=1"
"""27 channels instead of 40: faint ones cost a small model much time and a viewer sees little."""
NUM_MEASURED = 64
_KILL_AT_SHARE = 0.3


def draw_corpus(folder: DemoFolder, narrator: Narrator, num_images: int) -> None:
    """Draw the pictures, and three files that are none."""
    from latentcache.testing.drawn import write_drawn_corpus

    with narrator.step("Draw a corpus: shapes, colours and textures, each with its caption"):
        files = write_drawn_corpus(
            folder.corpus, num_images, size_px=RESOLUTION_PX, num_broken=NUM_BROKEN
        )
        size = bytes_text(sum(path.stat().st_size for path in files))
        narrator.say(f"{len(files)} files, {size}; {NUM_BROKEN} of them broken on purpose")


def build_store(folder: DemoFolder, narrator: Narrator) -> None:
    """Build the store that nothing disturbs."""
    from latentcache.plan import PlanOptions

    options = PlanOptions(resolution_px=RESOLUTION_PX, rows_per_shard=ROWS_PER_SHARD)
    with narrator.step("Build a store: scan, plan, encode with dct, publish"):
        _build(folder.corpus, folder.store, options, narrator)


def build_class_store(folder: DemoFolder, narrator: Narrator, num_images: int) -> None:
    """Draw the pictures that a model is trained on, and build their store."""
    from latentcache.plan import PlanOptions
    from latentcache.testing.drawn_classes import CLASSES, write_drawn_classes

    options = PlanOptions(resolution_px=CLASS_PX, square=True, rows_per_shard=CLASS_ROWS_PER_SHARD)
    with narrator.step(f"Draw {len(CLASSES)} classes of small pictures, and build their store"):
        files = write_drawn_classes(folder.class_corpus, num_images, size_px=CLASS_PX)
        narrator.say(f"{len(files)} pictures of {CLASS_PX} px; their labels are an annotation")
        _build(folder.class_corpus, folder.class_store, options, narrator)


def build_motion_store(folder: DemoFolder, narrator: Narrator, num_clips: int) -> None:
    """Draw the videos that a model is trained on, and build their store."""
    from latentcache.plan import PlanOptions
    from latentcache.testing.drawn_motion import MOTION_CLASSES, PERIOD_FRAMES, write_drawn_motion

    num_frames = PERIOD_FRAMES + 1
    options = PlanOptions(
        resolution_px=MOTION_PX,
        square=True,
        rows_per_shard=CLASS_ROWS_PER_SHARD,
        frames=(num_frames,),
    )
    with narrator.step(f"Draw {len(MOTION_CLASSES)} classes of videos, and build their store"):
        files = write_drawn_motion(folder.motion_corpus, num_clips, size_px=MOTION_PX)
        size = bytes_text(sum(path.stat().st_size for path in files))
        narrator.say(
            f"{len(files)} MP4s of {num_frames} frames, {size}: a shape moves right, down, left "
            "or up, and comes back on the other side"
        )
        _build(folder.motion_corpus, folder.motion_store, options, narrator, MOTION_ENCODER)


def _build(
    corpus: Path,
    store: Path,
    options: "PlanOptions",
    narrator: Narrator,
    encoder: str = "dct",
) -> None:
    from latentcache import runner

    resources = runner.Resources(device="cpu", num_actors=num_actors())
    plan = runner.PlanRequest(corpus_url=str(corpus), options=options, resources=resources)
    encode = runner.EncodeRequest(
        column=COLUMN, encode=runner.EncodeOptions(encoder=encoder), resources=resources
    )
    with reporting() as reporter:
        _, result = runner.build(str(store), plan, encode, reporter=reporter)
    narrator.say(
        f"{result.encoded} encoded + {result.quarantined} quarantined = "
        f"{result.planned} planned, {bytes_text(result.num_bytes)} of latents"
    )


def kill_and_resume(folder: DemoFolder, narrator: Narrator) -> "KillTest":
    """Kill the build of a second store, run it again, and compare the two stores.

    Raises:
        RunError: A build failed.
        ShardCorruptError: They differ.
    """
    from latentcache.demo.kill_test import Build, compare, kill_in_the_middle
    from latentcache.store import Store

    arguments = ["build", str(folder.corpus), str(folder.killed_store), "--encoder", "dct"]
    arguments += ["--max-quarantine", "20%"]  # the broken ones are many among few
    arguments += ["--resolution", str(RESOLUTION_PX), "--rows-per-shard", str(ROWS_PER_SHARD)]
    arguments += ["--device", "cpu", "--actors", str(num_actors())]
    build = Build(arguments=arguments, store=folder.killed_store, log=folder.root / "killed.log")
    num_units = len(Store.open(folder.store).snapshot().column(COLUMN).units())
    with narrator.step("Build a second store, and kill -9 the build in the middle"):
        committed = kill_in_the_middle(build, num_commits=max(1, int(_KILL_AT_SHARE * num_units)))
        narrator.say(f"killed with {len(committed)} of {num_units} units committed")
    with narrator.step("Run the same command again"):
        build.finish()
        test = compare(folder.store, build, COLUMN, committed=committed)
        narrator.say(
            f"{test.num_equal} of {len(test.units)} units have the bytes of the undisturbed build"
        )
    if test.num_equal != len(test.units):
        unequal = next(unit.unit for unit in test.units if not unit.is_equal)
        raise ShardCorruptError(
            f"units must have equal bytes after a kill, got others in {unequal} "
            f"({folder.killed_store}); please report this"
        )
    return test


def check_store(snapshot: "Snapshot", narrator: Narrator) -> "FidelityReport":
    """Verify the store, print its statistics and return how faithful its latents are.

    Raises:
        ShardCorruptError: It is damaged.
    """
    from latentcache.evaluate import load_recorded_encoder, measure_fidelity

    view = snapshot.column(COLUMN)
    with narrator.step(f"Verify the store, and decode {NUM_MEASURED} samples from it"):
        _verify(snapshot, narrator)
        encoder = load_recorded_encoder(view.record, device="cpu")
        fidelity = measure_fidelity(view, encoder, NUM_MEASURED)
        narrator.say(
            f"PSNR {fidelity.mean_db or 0.0:.1f} dB on average, {fidelity.min_db or 0.0:.1f} dB "
            "at worst"
        )
    with narrator.step("Statistics of the stored latents, exact"):
        _print_statistics(snapshot, narrator)
    return fidelity


def _verify(snapshot: "Snapshot", narrator: Narrator) -> None:
    from latentcache.store import verify_snapshot

    found = verify_snapshot(snapshot)
    if not found.ok:
        raise ShardCorruptError(
            f"store must be undamaged, got {len(found.damaged)} damaged objects "
            f"({snapshot.folder.label}); please report this"
        )
    narrator.say(f"{found.num_shards} shards with {found.num_samples} samples, nothing damaged")


def _print_statistics(snapshot: "Snapshot", narrator: Narrator) -> None:
    from latentcache.stats import TABLE_HEADER, ColumnStatistics, table_rows

    rows = table_rows(ColumnStatistics.from_arrays(snapshot.column(COLUMN).statistics()))
    names = ("channel", "count", "mean", "std", "min", "max")
    places = [TABLE_HEADER.index(name) for name in names]
    narrator.say(f"{len(rows)} channels, per channel over every stored value")
    print_table(names, [[row[place] for place in places] for row in rows])


def num_actors() -> int:
    """Two are enough for a few hundred pictures, however many cores there are."""
    return min(2, os.cpu_count() or 1)
