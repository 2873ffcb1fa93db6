"""Two spaces of one drawn corpus side by side, and what is said of what cannot be compared."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.compare import (
    CompareOptions,
    Comparison,
    ProbeOptions,
    Row,
    Space,
    Step,
    comparison_page,
    open_spaces,
    run_comparison,
)
from latentcache.core.errors import ConfigError, StoreError
from latentcache.evaluate import load_recorded_encoder, measure_fidelity
from latentcache.store import Store
from tests.evaluate.drawn_store import NUM_GOOD

QUICK = CompareOptions(probe=None, num_deep=2)


def _row(found: Comparison, name: str) -> Row:
    return next(row for row in found.rows if row.figure.name == name)


def test_psnr_is_that_of_verify_over_stored_values(compared: Comparison, two_spaces: Store) -> None:
    for name in ("latents", "coarse"):
        view = two_spaces.snapshot().column(name)
        report = measure_fidelity(view, load_recorded_encoder(view.record, device="cpu"), 1000)
        found = _row(compared, "psnr_db").estimates[name]
        assert found.value == pytest.approx(report.mean_db, abs=1e-6)
        assert found.num_samples == NUM_GOOD
        assert found.low < found.value < found.high


def test_the_coarser_space_is_told_lower_and_smaller(compared: Comparison) -> None:
    pair = ("latents", "coarse")
    assert _row(compared, "psnr_db").differences[pair].verdict == "lower"
    sizes = _row(compared, "bytes_per_sample").estimates
    assert sizes["coarse"].value / sizes["latents"].value == pytest.approx(5 / 16)
    assert _row(compared, "tokens").differences[pair].verdict == "equal"


def test_storage_and_a_turn_cost_dct_what_they_must(compared: Comparison) -> None:
    # Orthonormal: rounding latents to float16 costs pixels no more than it costs latents.
    assert _row(compared, "storage_limit_db").estimates["latents"].value > 60
    assert abs(_row(compared, "storage_loss_db").estimates["latents"].value) < 0.05
    assert _row(compared, "rotation_error").estimates["latents"].value > 0.1


def test_what_is_asked_again_is_read_and_not_measured(two_spaces: Store, tmp_path: Path) -> None:
    asked: list[str] = []

    def on_step(step: Step) -> None:
        if step.done == 1:
            asked.append(step.space)

    def run(*names: str) -> Comparison:
        spaces = open_spaces(two_spaces.folder.url, names)
        return run_comparison(spaces, QUICK, keep=tmp_path, on_step=on_step)

    first = run("latents")
    both = run("latents", "coarse")
    assert asked == ["latents", "coarse"]
    again = run("latents", "coarse")
    assert asked == ["latents", "coarse"]
    assert json.dumps(again.to_json()) == json.dumps(both.to_json())
    assert first.to_json()["spaces"][0] == both.to_json()["spaces"][0]


def test_a_file_cut_short_is_measured_again(two_spaces: Store, tmp_path: Path) -> None:
    spaces = open_spaces(two_spaces.folder.url, ["latents"])
    whole = run_comparison(spaces, QUICK, keep=tmp_path)
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:100])
    again = run_comparison(spaces, QUICK, keep=tmp_path)
    of = [_row(each, "psnr_db").estimates["latents"] for each in (whole, again)]
    assert of[0] == of[1]


def test_the_page_shows_every_space_and_explains_every_figure(compared: Comparison) -> None:
    text = comparison_page(compared)
    assert "<script" not in text
    for row in compared.rows:
        assert row.figure.title in text
    for what in ("Spectra", "Worst of coarse", "Nearest neighbours", "Between two samples"):
        assert what in text
    assert text.count("data:image/png") > 20


def test_one_class_or_none_leaves_the_other_sections(compared: Comparison) -> None:
    ((_, sentence), *_) = compared.notes["semantics"]
    assert "two classes or more" in sentence
    assert "latentcache annotate" in sentence
    assert _row(compared, "psnr_db").estimates


def test_a_corpus_that_is_gone_leaves_what_latents_alone_tell(
    two_spaces: Store, tmp_path: Path
) -> None:
    moved = CompareOptions(probe=None, corpus_url=str(tmp_path))
    found = run_comparison(open_spaces(two_spaces.folder.url, ["latents", "coarse"]), moved)
    assert _row(found, "spectrum_slope").estimates
    assert not any(row.figure.name == "psnr_db" for row in found.rows)
    assert any("sources could not be had" in each for _, each in found.notes["fidelity"])


class _Broken:
    """Decodes the middle of every picture to NaN."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def decode(self, fields: object) -> torch.Tensor:
        decoded: torch.Tensor = self._inner.decode(fields)  # type: ignore[attr-defined]
        decoded[..., decoded.shape[-1] // 2] = math.nan
        return decoded


def test_a_decoder_that_gives_nan_costs_its_fidelity_alone(two_spaces: Store) -> None:
    spaces = open_spaces(two_spaces.folder.url, ["latents", "coarse"])
    broken = Space(
        name="broken",
        snapshot=spaces[0].snapshot,
        view=spaces[0].view,
        encoder=_Broken(spaces[0].encoder),  # type: ignore[arg-type]
        normalizer=spaces[0].normalizer,
    )
    found = run_comparison([spaces[1], broken], CompareOptions(num_samples=NUM_GOOD))
    assert list(_row(found, "psnr_db").estimates) == ["coarse"]
    assert set(_row(found, "spectrum_slope").estimates) == {"coarse", "broken"}
    said = [each for name, each in found.notes["fidelity"] if name == "broken"]
    assert len(said) == 1
    assert "decoded pixels must be finite" in said[0]


def test_a_space_without_a_decoder_is_said_so_once(two_spaces: Store) -> None:
    spaces = open_spaces(two_spaces.folder.url, ["latents", "coarse"])
    without = Space(
        name="mute",
        snapshot=spaces[1].snapshot,
        view=spaces[1].view,
        encoder=None,
        why_no_encoder="encoder must be able to decode, got one that is not",
        normalizer=spaces[1].normalizer,
    )
    found = run_comparison([spaces[0], without], QUICK)
    assert [each for name, each in found.notes["fidelity"] if name == "mute"] == [
        f"{without.why_no_encoder} ({NUM_GOOD} of {NUM_GOOD} samples)"
    ]


def test_few_samples_are_warned_of(two_spaces: Store) -> None:
    spaces = open_spaces(two_spaces.folder.url, ["latents", "coarse"])
    found = run_comparison(spaces, CompareOptions(num_samples=3, probe=None))
    assert found.num_samples == 3
    assert any("3 samples say little" in each for _, each in found.notes["samples"])


def test_samples_cut_otherwise_are_left_out_of_pixel_errors(two_spaces: Store) -> None:
    spaces = open_spaces(two_spaces.folder.url, ["latents", "coarse"])
    found = run_comparison(spaces, QUICK)
    other = found.spaces[1]
    keys = list(other.facts["pixels"])
    other.facts["pixels"][keys[0]] = "0" * 32
    from latentcache.compare import compare  # noqa: PLC0415

    again = compare(found.spaces)
    assert _row(again, "psnr_db").estimates["latents"].num_samples == NUM_GOOD - 1
    assert any("cut or decoded to other pixels" in each for _, each in again.notes["fidelity"])


def test_other_stores_and_snapshots_are_spaces_too(two_spaces: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(two_spaces.folder.url, copy)
    names = ["latents", "latents@1", f"{copy}", f"{copy}#coarse@2"]
    spaces = open_spaces(two_spaces.folder.url, names)
    assert [each.view.name for each in spaces] == ["latents", "latents", "latents", "coarse"]
    assert [each.snapshot.number for each in spaces] == [2, 1, 2, 2]
    found = run_comparison(spaces, QUICK)
    row = _row(found, "psnr_db")
    assert row.differences["latents", str(copy)].verdict == "equal"


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        pytest.param(["latents", "latents"], ConfigError, "named once", id="twice"),
        pytest.param(["latents", "nothing"], StoreError, "column must be one of", id="no-column"),
        pytest.param(["latents@9"], StoreError, "snapshot", id="no-snapshot"),
        pytest.param(["/nowhere/at/all"], StoreError, "nowhere", id="no-store"),
    ],
)
def test_what_names_no_space_is_refused(
    two_spaces: Store, names: list[str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        open_spaces(two_spaces.folder.url, names)


@pytest.mark.slow
def test_the_probe_tells_latents_from_noise() -> None:
    from latentcache.compare.metrics.judge import judge_features  # noqa: PLC0415
    from latentcache.compare.metrics.probe import run_probe  # noqa: PLC0415

    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(256, 3, 1, 1, generator=generator)
    ramps = torch.linspace(-0.5, 0.5, 8).view(1, 1, 1, 8) * torch.randn(
        256, 1, 1, 1, generator=generator
    )
    clean = (colours + ramps).expand(256, 3, 8, 8).clone() * 2 - 1
    options = ProbeOptions(
        token_px=2, num_steps=120, batch_size=32, width=64, depth=2, num_seeds=1, num_generated=64
    )

    def decode(latents: torch.Tensor) -> torch.Tensor:
        return (latents + 1) * 127.5

    real = judge_features(decode(clean).clamp(0, 255))
    noisy = clean + 0.5 * torch.randn(clean.shape, generator=generator)
    found = [run_probe(each, real, 2, decode, options) for each in (clean, noisy)]
    assert np.mean(found[0].distance) < np.mean(found[1].distance)
