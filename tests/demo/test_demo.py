"""The demo: it empties its own folder only, compares files, and trains a model that learned."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latentcache.core.errors import ConfigError, RunError
from latentcache.demo.demo_folder import DemoFolder
from latentcache.demo.kill_test import Build, kill_in_the_middle
from latentcache.demo.motion import MOTION_RECIPE
from latentcache.demo.page.demo_page import MIN_ACCURACY
from latentcache.demo.page.training_facts import SampleGrid
from latentcache.demo.race import FileFolder
from latentcache.demo.run import run_demo
from latentcache.demo.threads import torch_threads
from latentcache.demo.training import DemoRecipe
from latentcache.demo.training_set import TrainingSet
from latentcache.testing.drawn_classes import CLASSES
from latentcache.testing.drawn_motion import MOTION_CLASSES

NUM_IMAGES, NUM_CLASS_IMAGES, NUM_CLIPS = 64, 720, 48
NONE = torch.empty(0)


@dataclass(frozen=True)
class DemoRun:
    folder: DemoFolder
    told: str

    @property
    def summary(self) -> Any:
        return json.loads((self.folder.root / "summary.json").read_text())


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    out = tmp_path_factory.mktemp("demo") / "out"
    out.mkdir()
    (out / ".latentcache-demo").write_text("")
    (out / "index.html").write_text("of the run before")
    told = io.StringIO()
    with redirect_stdout(told):
        run_demo(
            out,
            num_images=NUM_IMAGES,
            num_class_images=NUM_CLASS_IMAGES,
            num_clips=NUM_CLIPS,
            # To see that it learns, not what: that takes minutes.
            motion_recipe=replace(MOTION_RECIPE, num_steps=24, num_scored=24, num_euler_steps=2),
            num_autoencoder_steps=40,
        )
    return DemoRun(DemoFolder(out), told.getvalue())


def test_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / "out")
    folder.prepare()
    (folder.root / "corpus").mkdir()
    (folder.root / "corpus" / "old.jpg").write_bytes(b"old")
    folder.prepare()
    assert [path.name for path in folder.root.iterdir()] == [".latentcache-demo"]


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    photo = tmp_path / "holiday.jpg"
    photo.write_bytes(b"photo")
    with pytest.raises(ConfigError, match="name another folder"):
        run_demo(tmp_path)
    assert photo.read_bytes() == b"photo"
    with pytest.raises(ConfigError, match="must be a folder"):
        run_demo(photo)


def test_links_in_the_folder_are_removed_and_not_followed(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"photo")
    folder = DemoFolder(tmp_path / "out")
    folder.prepare()
    (folder.root / "corpus").symlink_to(photos)
    folder.prepare()
    assert (photos / "holiday.jpg").exists()
    assert not (folder.root / "corpus").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_demo_leaves_a_page_and_the_sum_adds_up(demo_run: DemoRun) -> None:
    root, summary = demo_run.folder.root, demo_run.summary
    assert summary["planned"] == NUM_IMAGES + 3
    counts = (summary["encoded"], summary["quarantined"], summary["missing"])
    assert counts == (NUM_IMAGES, 3, 0)
    assert 0 < summary["units_committed_at_kill"] < summary["units"]
    assert summary["units_equal_after_kill"] == summary["units"]
    assert summary["psnr_db"]["mean"] > 30
    page = (root / "index.html").read_text(encoding="utf-8")
    assert f"{NUM_IMAGES}</b> <small>encoded" in page
    assert (root / "sheet.png").stat().st_size > 10_000
    assert str(root / "index.html") in demo_run.told


@pytest.mark.ray
@pytest.mark.slow
def test_demo_measures_what_it_shows(demo_run: DemoRun) -> None:
    summary, known = demo_run.summary, _known(demo_run)
    assert summary["order"] == {"steps": 20, "steps_equal": 20}
    assert min(summary["loader"]["folder_samples_per_s"].values()) > 0
    assert "loader wait" in demo_run.told
    with Image.open(demo_run.folder.samples) as grid:
        assert min(grid.size) > 400
    # What is raced against is the same latents.
    files = FileFolder(demo_run.folder.files)
    assert len(files) == NUM_CLASS_IMAGES
    label = known.labels[sorted(range(len(files)), key=known.keys.__getitem__)[7]]
    assert files[7]["label"] == label


@pytest.mark.ray
@pytest.mark.slow
def test_demo_trains_on_videos_and_shows_them_moving(demo_run: DemoRun) -> None:
    motion = demo_run.summary["motion"]
    assert (motion["samples"], motion["classes"], motion["steps"]) == (NUM_CLIPS, 24, 24)
    assert motion["psnr_db"]["first_frame"] > motion["psnr_db"]["rest"] > 20
    # From the loss of a model that knows nothing: the noise's variance and the latents'.
    assert motion["loss"] < 1.9
    assert set(motion["accuracy_in"]) == {"colour", "shape", "direction"}
    with Image.open(demo_run.folder.motion_samples) as moving:
        assert (moving.format, moving.n_frames) == ("WEBP", 16)
        moving.load()  # only then is its time known
        assert moving.info["duration"] == round(1000 / 12)
    page = (demo_run.folder.root / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == 1
    assert "first latent frame" in page


@pytest.mark.ray
@pytest.mark.slow
def test_demo_ends_with_three_spaces_compared(demo_run: DemoRun) -> None:
    compared = demo_run.summary["compared"]
    psnr_db = {name: float(cell.split()[0]) for name, cell in compared["PSNR"].items()}
    assert list(psnr_db) == ["latents", "coarse", "tiny"]
    assert psnr_db["latents"] > psnr_db["coarse"] > 20
    assert psnr_db["tiny"] > 8  # 40 steps; a grey picture has about 12
    assert float(compared["kNN"]["latents"].split()[0]) > 0.5  # of 24 classes
    page = (demo_run.folder.root / "index.html").read_text(encoding="utf-8")
    assert 'href="compare.html"' in page
    whole = demo_run.folder.comparison.read_text(encoding="utf-8")
    for title in compared:
        assert title in whole


def test_a_clip_is_right_in_what_its_nearest_class_shares() -> None:
    asked = ("red star moving up",) * 4
    found = (
        "red star moving up",
        "blue star moving up",
        "red star moving down",
        "blue heart moving left",
    )
    labels = [tuple(MOTION_CLASSES.index(name) for name in names) for names in (asked, found)]
    grid = SampleGrid(
        step=1, share=1.0, titles=(), samples=(), nearest=(), asked=labels[0], found=labels[1]
    )
    known = TrainingSet(
        encoder=None, names=MOTION_CLASSES, keys=(), latents=NONE, labels=NONE, pixels=NONE
    )
    right = {each.name: (each.num_right, each.num_choices) for each in known.right_in(grid)}
    assert right == {"colour": (2, 2), "shape": (3, 3), "direction": (2, 4)}
    assert (grid.num_right, grid.num_scored) == (1, 4)


@pytest.mark.ray
@pytest.mark.slow
def test_left_out_accuracy_is_that_of_means_without_the_picture(demo_run: DemoRun) -> None:
    known = _known(demo_run)
    flat, whole = known.pixels.flatten(1).double(), known.class_means().double()
    right = []
    for index in range(0, NUM_CLASS_IMAGES, 30):
        means = whole.clone()
        others = known.labels == known.labels[index]
        others[index] = False
        means[known.labels[index]] = flat[others].mean(dim=0)
        nearest = (means - flat[index]).square().sum(dim=1).argmin()
        right.append(bool(nearest == known.labels[index]))
    assert np.mean(right) == pytest.approx(known.own_accuracy(), abs=0.1)
    assert known.own_accuracy() > 0.95


@pytest.mark.ray
@pytest.mark.slow
def test_samples_show_the_colour_and_shape_of_their_caption(demo_run: DemoRun) -> None:
    training = demo_run.summary["training"]
    assert training["accuracy"] >= MIN_ACCURACY
    assert min(training["accuracy_in"].values()) >= training["accuracy"]


@pytest.mark.ray
@pytest.mark.slow
def test_words_of_captions_that_training_never_showed_are_understood(demo_run: DemoRun) -> None:
    training = demo_run.summary["training"]
    left_out = len(DemoRecipe().left_out)
    assert training["classes"] == len(CLASSES) - left_out
    assert training["samples"] == NUM_CLASS_IMAGES * training["classes"] // len(CLASSES)
    unseen = training["accuracy_in_unseen"]
    assert unseen["colour"] >= MIN_ACCURACY  # by chance 1/4
    assert unseen["shape"] > 2 / 6


@pytest.mark.ray
@pytest.mark.slow
def test_a_caption_brings_the_loss_below_that_of_any_model_that_has_none(
    demo_run: DemoRun,
) -> None:
    loss = demo_run.summary["training"]["loss_of_noise_alone"]
    assert loss["told"] < 0.7 * loss["floor"] < loss["untold"]


def _known(demo_run: DemoRun) -> TrainingSet:
    with torch_threads(1):
        return TrainingSet.read(demo_run.folder.class_store, column="latents", names=CLASSES)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), torch_threads(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_build_that_ends_before_it_is_killed_is_an_error(tmp_path: Path) -> None:
    build = Build(arguments=["--version"], store=tmp_path / "store", log=tmp_path / "log")
    with pytest.raises(RunError, match="must run until it is killed"):
        kill_in_the_middle(build, num_commits=1)
    assert "latentcache" in build.log.read_text()


def test_build_that_fails_points_to_its_log(tmp_path: Path) -> None:
    build = Build(arguments=["no-such-command"], store=tmp_path / "store", log=tmp_path / "log")
    with pytest.raises(RunError, match="exit code 2"):
        build.finish()
    assert "no-such-command" in build.log.read_text()
