"""Training on clips and pictures of one corpus, by the real pipeline from files to losses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from latentcache.cli.entry import run as cli
from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder
from latentcache.evaluate import find_sample, measure_fidelity
from latentcache.evaluate.planned import read_pixels
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    encode_column,
)
from latentcache.store import Store
from latentcache.testing.drawn import write_drawn_corpus
from tests.decode.clips import encode_clip
from tests.jobs.test_train_dit import REPOSITORY, job, run_ranks

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LENGTHS = (9, 9, 9, 9, 17, 17, 33, 33, 33)
NUM_PICTURES = 8
WAN = {
    "_class_name": "WanTransformer3DModel",
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 6,
    "freq_dim": 32,
    "ffn_dim": 16,
    "num_layers": 1,
}
RECIPE = """
out = {out}
device = "cpu"
normalize = "measured-global"  # drawn grey, some channels are constant
{sources}
[dit]
width = 16
depth = 1
num_heads = 2
[batches]
global_batch_size = 4
seed = 3
[train]
num_steps = 15
learning_rate = 1e-3
[output]
log_samples = true
sample_every = 15
num_samples = 2
sample_steps = 1
"""


@pytest.fixture(scope="module")
def store(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of three lengths and pictures, their latents, and those of first frames."""
    torch.set_num_threads(1)
    corpus = tmp_path_factory.mktemp("corpus")
    write_drawn_corpus(corpus / "pictures", NUM_PICTURES, size_px=64)
    for number, length in enumerate(LENGTHS):
        clip = encode_clip(length, size_px=(64, 64))
        (corpus / f"{number}.mp4").write_bytes(clip)
    store = tmp_path_factory.mktemp("store") / "store"
    resources = Resources(num_actors=1)
    plan = PlanOptions(resolution_px=64, frames=(9, 17, 33), rows_per_shard=4)
    encode = EncodeOptions(encoder="dct-video")
    build(
        str(store),
        PlanRequest(corpus_url=str(corpus), options=plan, resources=resources),
        EncodeRequest(column="latents", encode=encode, resources=resources),
        reporter=SilentReporter(),
    )
    asked = EncodeOptions(encoder="dct-video", input="first_frame+zeros")
    request = EncodeRequest(column="cond", encode=asked, resources=resources)
    result = encode_column(str(store), request, reporter=SilentReporter())
    assert (result.encoded, result.quarantined) == (len(LENGTHS) + NUM_PICTURES, 0)
    return store


def train(folder: Path, store: Path, *settings: str, sources: str = "", ranks: int = 1) -> Result:
    recipe = folder / "recipe.toml"
    text = sources or f"store = {json.dumps(str(store))}"
    recipe.write_text(RECIPE.format(out=json.dumps(str(folder / "out")), sources=text))
    arguments = [str(recipe), *(word for one in settings for word in ("--set", one))]
    if ranks == 1:
        result = CliRunner().invoke(job, arguments)
        assert result.exit_code == 0, result.output
        return result
    return Result(CliRunner(), run_ranks(ranks, *arguments).encode(), b"", b"", None, 0, None)  # type: ignore[arg-type]  # as click's


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / name).read_text().splitlines()]


def buckets_of_keys(store: Path) -> dict[str, str]:
    opened = Store.open(store)
    record = opened.snapshot().column("latents").record
    rows = [row for unit in opened.units(record) for row in opened.read_rows(unit).to_pylist()]
    return {row["key"]: str(row["bucket"]) for row in rows}


def check_one_bucket_a_step(folder: Path, store: Path) -> list[str]:
    """Return the bucket of each step, which all samples of all ranks must be of."""
    buckets, steps = buckets_of_keys(store), lines(folder, "losses.jsonl")
    of_steps: dict[int, set[str]] = {}
    for one in lines(folder, "sample_losses.jsonl"):
        of_steps.setdefault(one["step"], set()).add(buckets[one["key"]])
    assert [of_steps[one["step"]] for one in steps] == [{one["bucket"]} for one in steps]
    return [one["bucket"] for one in steps]


def test_pictures_and_clips_train_together(store: Path, tmp_path: Path) -> None:
    train(tmp_path, store)
    seen = check_one_bucket_a_step(tmp_path, store)
    assert set(seen) == {"1x64x64", "9x64x64", "17x64x64", "33x64x64"}


@pytest.mark.parametrize("ranks", [1, 2])
def test_two_sources_are_seen_in_the_ratio_asked_for(
    store: Path, tmp_path: Path, ranks: int
) -> None:
    one = '[[sources]]\nstore = {}\nname = "{}"\nfilter = \'bucket {} "1x64x64"\'\nweight = {}\n'
    path = json.dumps(str(store))
    sources = one.format(path, "pictures", "==", 1.0) + one.format(path, "clips", "!=", 4.0)
    train(tmp_path, store, "train.num_steps=30", sources=sources, ranks=ranks)
    seen = check_one_bucket_a_step(tmp_path, store)
    assert len(seen) == 30
    assert 5 <= seen.count("1x64x64") <= 7


def test_clips_train_beside_their_first_frames(store: Path, tmp_path: Path) -> None:
    train(tmp_path, store, "condition_latents=cond")
    assert len(lines(tmp_path, "losses.jsonl")) == 15
    assert (tmp_path / "out" / "samples" / "step_00000015.png").is_file()


def test_windows_of_long_clips_train_together(store: Path, tmp_path: Path) -> None:
    train(tmp_path, store, "loader.window_frames=4", "condition_latents=cond")
    seen = [one["bucket"] for one in lines(tmp_path, "losses.jsonl")]
    # Clips of 17 and 33 frames have 5 and 9 latent frames: 4 of them are those of 13 frames.
    assert set(seen) == {"1x64x64", "9x64x64", "13x64x64"}


def test_wan_trains_from_its_example_recipe(store: Path, tmp_path: Path) -> None:
    channels = Store.open(store).snapshot().column("latents").record.fields[0].channels
    assert channels is not None
    for name, given in (("t2v", 0), ("i2v", channels + 4)):
        config = {**WAN, "in_channels": channels + given, "out_channels": channels}
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
        settings = {
            "store": store,
            "out": tmp_path / name,
            "wan": tmp_path / f"{name}.json",
            "condition": "",
            "condition_latents": "cond" if given else "",
            "device": "cpu",
            "normalize": "measured-global",
            "batches.tokens_per_rank": 256,
            "train.num_steps": 3,
            "train.precision": "float32",
        }
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        recipe = REPOSITORY / "jobs" / "configs" / "train_wan.toml"
        result = CliRunner().invoke(job, [str(recipe), *words])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["step"] == 3


def test_a_conditioning_column_holds_what_the_encoder_makes_of_the_first_frame(
    store: Path, tmp_path: Path
) -> None:
    encoder = load_encoder("dct-video", EncoderOptions(device="cpu"))
    snapshot = Store.open(store).snapshot()
    whole = read_pixels(find_sample(snapshot.column("latents"), "6.mp4"),
                        snapshot.column("latents").record)  # fmt: skip
    low, high = encoder.spec.input_range
    first = torch.from_numpy(whole[:1]).permute(3, 0, 1, 2)[None] * ((high - low) / 255.0) + low
    view = snapshot.column("cond")
    sample = find_sample(view, "6.mp4")
    pixels = torch.cat([first, first.new_zeros(1, 3, 32, 64, 64)], dim=2)
    (expected,) = encoder.encode(pixels, [SampleMeta(key=sample.key)])
    stored = view.read_row(sample.unit.unit.unit.shard, sample.row).fields
    for name, values in expected.items():
        assert np.array_equal(np.asarray(stored[name]), values.to(torch.float16).numpy())
    report = measure_fidelity(view, encoder, 4)
    assert report.min_db is not None
    assert report.min_db > 20
    assert not report.skipped
    shown = tmp_path / "cond.png"
    assert cli(["show", str(store), "6.mp4", "--column", "cond", "-o", str(shown)]) == 0
    assert cli(["verify", str(store), "--decode", "2"]) == 0
