"""Wan's own transformer, tiny, trained like the DiT."""

import json
from pathlib import Path

import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader
from latentcache.train import Trainer, TrainOptions
from latentcache.train.wan_transformer import Wan, load_wan

TINY = {
    "_class_name": "WanTransformer3DModel",
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 6,
    "freq_dim": 32,
    "ffn_dim": 16,
    "num_layers": 1,
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def tiny(tmp_path: Path) -> Wan:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY))
    torch.manual_seed(0)
    return load_wan(path)


@pytest.mark.slow
def test_wan_trains_on_clips_and_goes_on_from_its_checkpoint(
    tiny: Wan, clip_store: str, tmp_path: Path
) -> None:
    loader = LatentLoader(clip_store, global_batch_size=4)
    trainer = Trainer(tiny, loader, TrainOptions(num_steps=4))
    trainer.run(until_step=2)
    trainer.save(tmp_path / "wan.safetensors")
    trainer.run()
    expected = {name: one.detach().clone() for name, one in trainer.model.named_parameters()}
    trainer.load(tmp_path / "wan.safetensors")
    trainer.run()
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, expected[name]), name
    assert trainer.sample(None, num_samples=2, num_steps=2).isfinite().all()


@pytest.mark.slow
def test_wan_takes_odd_grids_images_and_text(tiny: Wan, tmp_path: Path) -> None:
    clips, times = torch.randn(2, 4, 2, 3, 5), torch.tensor([0.2, 0.8])
    text, mask = torch.randn(2, 3, 6), torch.tensor([[True, True, False], [False] * 3])
    velocity = tiny(clips, times, (text, mask))
    assert velocity.shape == clips.shape
    other = torch.where(mask[..., None], text, 7.0)
    torch.testing.assert_close(tiny(clips, times, (other, mask)), velocity)
    assert tiny(clips[:, :, 0], times).shape == (2, 4, 3, 5)
    tiny.transformer.save_pretrained(tmp_path / "saved" / "transformer")  # type: ignore[operator]
    again = load_wan(tmp_path / "saved")
    torch.testing.assert_close(again(clips, times, (text, mask)), velocity)


@pytest.mark.parametrize("text", [None, "{", '{"_class_name": "DiTTransformer2DModel"}'])
def test_anything_else_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"^wan must be a"):
        load_wan(path)
