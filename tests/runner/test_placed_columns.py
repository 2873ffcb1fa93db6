"""Every column of a store with several rows a sample: roles, masks and texts follow each row."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from latentcache.cli.entry import run
from latentcache.loader import LatentLoader, Source
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    encode_column,
)
from latentcache.store import Store, TensorBytes, verify_snapshot

RESOURCES = Resources(num_actors=1)
OPTIONS: dict[str, Any] = {
    "resolution_px": (64, 128), "crops": 2, "flip": "horizontal", "rows_per_shard": 16,
}  # fmt: skip
NUM = 4
ROWS_EACH = 8
COLUMNS = {
    "control": {"input": "role:control"},
    "mask": {"input": "role:mask", "encoder": "mask:latents"},
    "text": {"input": "text:caption", "encoder": "latentcache.testing.text_fakes:WordTower"},
}


def draw(corpus: Path, number: int, seed: int) -> None:
    """Write a wide picture with its caption, its negative and a mask: white where it is dark."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((330, 170), Image.Resampling.BICUBIC)
    picture.save(corpus / f"{number}.png")
    ImageOps.invert(picture).save(corpus / f"{number}_control.png")
    dark = np.asarray(picture.convert("L")) < 128
    Image.fromarray((255 * dark).astype(np.uint8)).save(corpus / f"{number}_mask.png")
    (corpus / f"{number}.txt").write_text(f"picture {number} of seed {seed}")


def encode(store: Path, column: str) -> EncodeResult:
    asked = EncodeOptions(**{"encoder": "dct", "is_offline": True, **COLUMNS[column]})
    request = EncodeRequest(column=column, encode=asked, resources=RESOURCES)
    return encode_column(str(store), request, reporter=SilentReporter())


def planned(corpus: Path, store: Path, *, update: bool = False) -> EncodeResult:
    plan = PlanRequest(
        corpus_url=str(corpus),
        options=PlanOptions(**OPTIONS, roles=("control", "mask")),
        resources=RESOURCES,
        update=update,
        may_retire=True,
    )
    latents = EncodeRequest(
        column="latents", encode=EncodeOptions(encoder="dct"), resources=RESOURCES
    )
    return build(str(store), plan, latents, reporter=SilentReporter())[1]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and its store, with all columns."""
    home = tmp_path_factory.mktemp("placed_columns") / "now"
    (home / "corpus").mkdir(parents=True)
    for number in range(NUM):
        draw(home / "corpus", number, number)
    planned(home / "corpus", home / "store")
    for column in COLUMNS:
        assert encode(home / "store", column).encoded == NUM * ROWS_EACH
    shutil.copytree(home, home.parent / "then")
    return home


@pytest.fixture
def home(pristine: Path) -> Path:
    shutil.rmtree(pristine)
    shutil.copytree(pristine.parent / "then", pristine)
    return pristine


def values(store: Path, column: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return what a column holds, by key."""
    found = {}
    for key, _, _, fields in Store.open(store).snapshot().column(column).iter_samples():
        found[key] = as_array(next(iter(fields.values())))
    return found


def as_array(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value.to_numpy() if isinstance(value, TensorBytes) else value, np.float32)


def texts_of(store: Path, at: dict[str, tuple[str, int, int, bool]]) -> dict[str, set[bytes]]:
    """Return the different texts that the rows of each path hold, encoded."""
    found: dict[str, set[bytes]] = {}
    for key, _, _, fields in Store.open(store).snapshot().column("text").iter_samples():
        if key in at:
            arrays = [as_array(each).tobytes() for each in fields.values()]
            found.setdefault(at[key][0], set()).add(b"".join(arrays))
    return found


def places(store: Path) -> dict[str, tuple[str, int, int, bool]]:
    """Return path, resolution, crop and flip of each live key."""
    names = ["path", "resolution_px", "crop_index", "is_flipped"]
    loader = LatentLoader(
        Source(store=str(store)), columns=["latents", *names], global_batch_size=1, one_pass=True
    )
    return {
        batch["key"][0]: (batch["path"][0], *(int(batch[name][0]) for name in names[1:]))
        for batch in loader
    }


def test_media_of_roles_are_cut_and_mirrored_as_each_row_is(home: Path) -> None:
    latents, controls = values(home / "store", "latents"), values(home / "store", "control")
    assert latents.keys() == controls.keys()
    for key, control in controls.items():
        # In [-1, 1] a negative is the picture with another sign, and the transform is linear.
        assert np.abs(control + latents[key]).mean() < 0.05 * np.abs(latents[key]).mean()


def test_a_mask_of_a_mirrored_row_is_mirrored(home: Path) -> None:
    masks, at = values(home / "store", "mask"), places(home / "store")
    by_place = {place: masks[key] for key, place in at.items()}
    assert len(by_place) == NUM * ROWS_EACH
    for (*where, is_flipped), mask in by_place.items():
        plain = by_place[(*where, False)]
        assert np.array_equal(mask, plain[..., ::-1] if is_flipped else plain)
        assert not np.array_equal(mask, mask[..., ::-1])


def test_all_rows_of_a_sample_have_its_text(home: Path) -> None:
    by_path = texts_of(home / "store", places(home / "store"))
    assert len(by_path) == NUM
    assert all(len(each) == 1 for each in by_path.values())
    assert len(set.union(*by_path.values())) == NUM


def test_an_update_encodes_what_changed_and_nothing_else(home: Path) -> None:
    corpus, store = home / "corpus", home / "store"
    assert planned(corpus, store, update=True).newly_encoded == 0
    assert {encode(store, column).newly_encoded for column in COLUMNS} == {0}
    before, said = values(store, "latents"), texts_of(store, places(store))
    draw(corpus, 1, 100)
    (corpus / "2.txt").write_text("another text")
    for path in corpus.glob("3*"):
        path.unlink()
    done = planned(corpus, store, update=True)
    assert (done.newly_encoded, done.planned) == (ROWS_EACH, (NUM - 1) * ROWS_EACH)
    # The picture that changed has a generation of its own; of the other only the text differs.
    assert encode(store, "control").newly_encoded == ROWS_EACH
    assert encode(store, "text").encoded == (NUM - 1) * ROWS_EACH
    after, at = values(store, "latents"), places(store)
    assert {path for path, *_ in at.values()} == {"0.png", "1.png", "2.png"}
    assert len(at) == (NUM - 1) * ROWS_EACH
    for key, (path, *_) in at.items():
        assert np.array_equal(after[key], before[key]) == (path != "1.png")
    now = texts_of(store, at)
    assert {path: len(each) for path, each in now.items()} == dict.fromkeys(now, 1)
    assert {path for path in now if now[path] != said[path]} == {"1.png", "2.png"}
    assert verify_snapshot(Store.open(store).snapshot()).ok
    assert planned(corpus, store, update=True).newly_encoded == 0


def test_status_counts_samples_and_rows_and_retire_says_both(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(home / "store")
    assert run(["retire", store, "1.png"]) == 0
    assert "retired 8 rows of 1 file" in capsys.readouterr().out
    assert run(["status", store]) == 0
    assert "24 rows of 3 samples" in capsys.readouterr().out
    assert run(["status", store, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["planned"], told["samples"]) == (24, 3)
    assert {each["encoded"] for each in told["columns"].values()} == {24}


def test_one_placement_of_a_sample_brings_its_own_columns(home: Path) -> None:
    """What is drawn is one row, whichever columns are asked for."""
    names = ["resolution_px", "crop_index", "is_flipped"]
    at = places(home / "store")
    stored = {name: values(home / "store", name) for name in ("latents", "control", "mask")}
    loader = LatentLoader(
        Source(store=str(home / "store"), placements="one"),
        columns=["latents", "control", "mask", "caption", "path", *names],
        global_batch_size=1,
        normalize=False,
        seed=7,
    )
    seen = set()
    for batch, _ in zip(loader, range(6 * NUM), strict=False):
        key, path = batch["key"][0], batch["path"][0]
        place = tuple(int(batch[name][0]) for name in names)
        assert at[key] == (path, *place)
        seen.add((path, place))
        assert batch["caption"][0].startswith(f"picture {path[0]} ")
        for name, of in stored.items():
            assert np.array_equal(batch[name][0].float().numpy(), of[key])
    assert len({path for path, _ in seen}) == NUM
    assert len(seen) > 2 * NUM
