"""LPIPS and rFID of weights given by path, in the published layout; random weights stand in."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentcache.compare import CompareOptions, open_spaces, run_comparison
from latentcache.compare.looks import judged_look
from latentcache.compare.metrics.inception import (
    FeatureMoments,
    Inception,
    frechet_distance,
)
from latentcache.compare.metrics.lpips import Lpips
from latentcache.core.errors import ConfigError
from latentcache.store import Store
from tests.compare.published_layouts import inception_weights, lpips_backbone, lpips_heads


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights as they are published; one is a ``.safetensors``."""
    folder = Path(tmp_path_factory.mktemp("weights"))
    for net in ("alex", "vgg"):
        torch.save(lpips_backbone(net), folder / f"{net}.pth")
        torch.save(lpips_heads(net), folder / f"{net}_heads.pth")
    save_file(inception_weights(), folder / "inception.safetensors")
    return folder


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_nothing_of_equal_pictures_and_grows_with_the_error(
    weights: Path, net: str
) -> None:
    lpips = Lpips(weights / f"{net}.pth", weights / f"{net}_heads.pth")
    assert lpips.network == net
    generator = torch.Generator().manual_seed(0)
    original = torch.rand(1, 3, 64, 80, generator=generator) * 255
    noise = torch.randn(original.shape, generator=generator)
    found = [lpips.distance(original, original + level * noise) for level in (0.0, 5.0, 40.0)]
    assert found[0] == 0
    assert found[0] < found[1] < found[2]


def test_heads_and_backbone_of_two_networks_are_refused(weights: Path) -> None:
    with pytest.raises(ConfigError, match=r"features\.2\.weight"):
        Lpips(weights / "alex.pth", weights / "vgg_heads.pth")
    with pytest.raises(ConfigError, match=r"must hold lin0\.model\.1\.weight"):
        Lpips(weights / "alex.pth", weights / "alex.pth")
    with pytest.raises(ConfigError, match="got none at"):
        Inception(weights / "nothing.pth")
    with pytest.raises(ConfigError, match="must hold Conv2d_1a_3x3"):
        Inception(weights / "alex.pth")


def test_a_file_that_holds_code_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": Path("x")}, tmp_path / "code.pth")
    with pytest.raises(ConfigError, match="weights of rFID"):
        Inception(tmp_path / "code.pth")


def test_frechet_distance_of_gaussians_is_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4000, 3, generator=generator)
    ours, theirs, again = (FeatureMoments(3) for _ in range(3))
    ours.add(values)
    again.add(values[:1000])
    again.add(values[1000:])
    theirs.add(values * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor([1.0, 0.0, 0.0]))
    # Diagonal covariances but for the draw: |m|^2 + sum of (s_a - s_b)^2.
    assert frechet_distance(ours, theirs) == pytest.approx(1 + 0 + 1 + 4, rel=0.05)
    assert frechet_distance(ours, again) == pytest.approx(0, abs=1e-9)


def test_lpips_is_a_figure_and_rfid_of_few_is_refused_in_a_sentence(
    two_spaces: Store, weights: Path
) -> None:
    options = CompareOptions(
        probe=None,
        num_deep=1,
        sections=("fidelity",),
        lpips=(str(weights / "alex.pth"), str(weights / "alex_heads.pth")),
        rfid=str(weights / "inception.safetensors"),
    )
    found = run_comparison(open_spaces(two_spaces.folder.url, ["latents", "coarse"]), options)
    rows = {row.figure.name: row for row in found.rows}
    assert rows["lpips"].differences["latents", "coarse"].verdict == "higher"
    assert "rfid" not in rows
    assert any("rFID must be of 10,000 decoded" in each for _, each in found.notes["fidelity"])


def test_rfid_of_enough_samples_is_higher_of_the_coarser_space(
    two_spaces: Store, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judged_look, "MIN_RFID_SAMPLES", 6)
    options = CompareOptions(
        probe=None,
        num_samples=6,
        sections=("fidelity",),
        rfid=str(weights / "inception.safetensors"),
    )
    found = run_comparison(open_spaces(two_spaces.folder.url, ["latents", "coarse"]), options)
    row = next(row for row in found.rows if row.figure.name == "rfid")
    assert 0 < row.estimates["latents"].value < row.estimates["coarse"].value
