"""The demo: a corpus drawn on the spot becomes a store, a model is trained, a page shows it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentcache.demo.captions import TEXT_COLUMN, encode_captions, tell_captions
from latentcache.demo.comparing import compare_spaces
from latentcache.demo.demo_folder import DemoFolder
from latentcache.demo.narrator import Narrator
from latentcache.demo.photo_store import (
    COLUMN,
    build_class_store,
    build_store,
    check_store,
    draw_corpus,
    kill_and_resume,
)
from latentcache.terminal import bytes_text

if TYPE_CHECKING:
    from latentcache.demo.page.training_facts import LoaderRace, OrderTest, TrainingFacts
    from latentcache.demo.training import DemoRecipe
    from latentcache.report import Reconstruction

NUM_SHOWN = 8


def run_demo(  # noqa: PLR0913  each a size of one of its parts
    out: Path,
    *,
    num_images: int = 240,
    num_class_images: int = 720,
    num_clips: int = 480,
    recipe: "DemoRecipe | None" = None,
    motion_recipe: "DemoRecipe | None" = None,
    num_autoencoder_steps: int = 400,
) -> None:
    """Run the demo into ``out`` and say where to look.

    Args:
        out: Emptied if an earlier demo made it.
        num_images: Good pictures; three broken ones come on top.
        num_class_images: Small pictures that the first model is trained on.
        num_clips: Videos that the second model is trained on.
        recipe: Of the first training; None takes the demo's.
        motion_recipe: Of the second.
        num_autoencoder_steps: Of the encoder that others are compared with.

    Raises:
        ConfigError: ``out`` holds something else.
        RunError: A build failed.
        ShardCorruptError: The killed build left other bytes, or a store is damaged.
    """
    from latentcache import report
    from latentcache.demo import page as demo_page
    from latentcache.demo.demo_summary import machine_in_words, write_summary
    from latentcache.demo.motion import run_motion
    from latentcache.encoders import list_encoders
    from latentcache.store import Store

    folder, narrator = DemoFolder(out), Narrator()
    folder.prepare()
    click.echo(f"latentcache demo: all it writes goes under {out}")
    draw_corpus(folder, narrator, num_images)
    build_store(folder, narrator)
    test = kill_and_resume(folder, narrator)
    snapshot = Store.open(folder.store).snapshot()
    fidelity = check_store(snapshot, narrator)
    build_class_store(folder, narrator, num_class_images)
    encode_captions(folder, narrator)
    order, race, training = _load_and_train(folder, narrator, recipe)
    motion = run_motion(folder, narrator, num_clips=num_clips, recipe=motion_recipe)
    compared = compare_spaces(folder, narrator, num_steps=num_autoencoder_steps)
    with narrator.step("Draw the page"):
        shown = _reconstructions(folder)
        facts = demo_page.DemoPage(
            store=report.read_store_page(snapshot, COLUMN, reconstructions=shown),
            kill_test=test,
            training=training,
            motion=motion,
            compared=compared,
            race=race,
            order=order,
            projection=report.project(list_encoders()),
            steps=tuple(narrator.steps),
            mean_psnr_db=fidelity.mean_db or 0.0,
            min_psnr_db=fidelity.min_db or 0.0,
            machine=machine_in_words(),
        )
        page = folder.root / "index.html"
        page.write_text(demo_page.demo_page(facts), encoding="utf-8")
        narrator.say(f"{page}, {bytes_text(page.stat().st_size)}")
    write_summary(folder, facts, elapsed_s=narrator.elapsed_s)
    click.secho(f"\ndone in {narrator.elapsed_s:.0f} s", bold=True)
    click.echo(f"open {page}")
    click.echo(f"see  {folder.samples} and {folder.motion_samples}")
    click.echo(f"and  {folder.comparison}: three latent spaces side by side")
    click.echo(f"try  latentcache status {folder.store} --quarantined")
    click.echo(f"try  latentcache show {folder.motion_store} 000000.mp4 -o clip.mp4")


def _load_and_train(
    folder: DemoFolder, narrator: Narrator, recipe: "DemoRecipe | None"
) -> "tuple[OrderTest, LoaderRace, TrainingFacts]":
    """Read the class store in three ways: in order, for speed, and to train on."""
    from latentcache.demo.order_test import compare_orders
    from latentcache.demo.race import race_loaders
    from latentcache.demo.threads import torch_threads
    from latentcache.demo.training import train_classes
    from latentcache.demo.training_set import TrainingSet
    from latentcache.testing.drawn_classes import CLASSES

    with torch_threads(1):
        known = TrainingSet.read(
            folder.class_store, column=COLUMN, names=CLASSES, text_column=TEXT_COLUMN
        )
    with narrator.step("Read the same steps on 1, 2 and 4 ranks, and across a resume"):
        with torch_threads(1):
            order = compare_orders(folder.class_store)
        narrator.say(f"{order.num_equal} of {order.num_steps} steps have equal ids everywhere")
    with narrator.step("Read the latents from the store, and from a folder of safetensors"):
        race = race_loaders(folder.class_store, folder.files, known)
        for one in (*race.others, race.loader):
            narrator.say(f"{one.samples_per_s:>9,.0f} samples/s, {one.name}")
        narrator.say(f"{race.ratio:.1f} times the better of the two DataLoaders")
    with narrator.step("Train a small DiT on latents and captions, on the CPU"):
        training = train_classes(
            folder.class_store, known, recipe=recipe, checkpoint=folder.model, tell=narrator.say
        )
        _write_samples(folder, training)
        narrator.say(f"samples in {folder.samples}, the model in {folder.model}")
        tell_captions(training, narrator)
    return order, race, training


def _reconstructions(folder: DemoFolder) -> "list[Reconstruction]":
    """Return some pictures of the first store, decoded, and write them as a sheet."""
    from latentcache.evaluate import load_recorded_encoder
    from latentcache.report import png_bytes, read_reconstructions, sheet
    from latentcache.store import Store

    snapshot = Store.open(folder.store).snapshot()
    encoder = load_recorded_encoder(snapshot.column(COLUMN).record, device="cpu")
    shown = read_reconstructions(snapshot, COLUMN, encoder, num_samples=NUM_SHOWN)
    (folder.root / "sheet.png").write_bytes(png_bytes(sheet(shown)))
    return shown


def _write_samples(folder: DemoFolder, training: "TrainingFacts") -> None:
    """Write the last grid, and a strip that shows how the samples came to be."""
    from latentcache.demo.page import training_strip
    from latentcache.report import labelled_png, on_paper, png_bytes

    grids = [training.grids[-1], *([training.unseen] if training.unseen else [])]
    folder.samples.write_bytes(
        labelled_png(
            [[sample] for grid in grids for sample in grid.samples],
            [title for grid in grids for title in grid.titles],
            title="drawn by caption; captions of the last line were not in training",
            across=10,
        )
    )
    strip = training_strip(training.grids, scale=2)
    names = [f"{grid.step:,} steps" for grid in training.grids] + ["nearest"]
    paper = on_paper(strip, margin_px=12, names=names)
    (folder.root / "training.png").write_bytes(png_bytes(paper))
