"""Allegro's autoencoder: by its own tiles, where they cover all, and as its pipeline scales."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentcache.core.errors import EncoderError
from latentcache.core.media import Bucket
from latentcache.encoders import EncoderOptions, SampleMeta, declared_facts, load_encoder
from latentcache.encoders.spec import Encoder
from latentcache.testing.contract import EncoderContract
from latentcache.testing.normalizing import normalize
from tests.encoders.test_dits import statements_before_decoding

OPTIONS = EncoderOptions(device="cpu", is_offline=True)
TILE_PX = 128
SaveTiny = Callable[..., Path]


@pytest.mark.slow  # a tile has 24 frames of 128 px at least
class TestAllegroContract(EncoderContract):
    @pytest.fixture(autouse=True)
    def _folders(self, save_tiny: SaveTiny) -> None:
        type(self).folder = staticmethod(cache(lambda seed: save_tiny("allegro", seed=seed)))

    def make_encoder(self) -> Encoder:
        return load_encoder(f"allegro:{self.folder(0)}", OPTIONS)

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {"weights": lambda: load_encoder(f"allegro:{self.folder(1)}", OPTIONS)}


def test_it_is_the_class_by_tiles_and_scales_as_its_pipeline(save_tiny: SaveTiny) -> None:
    import diffusers  # noqa: PLC0415  takes seconds

    folder = save_tiny("allegro")
    encoder: Any = load_encoder(f"allegro:{folder}", OPTIONS)
    vae = diffusers.AutoencoderKLAllegro.from_pretrained(folder).eval()
    vae.enable_tiling()
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand((1, 3, 40, TILE_PX, TILE_PX), generator=generator) * 2 - 1
    found = encoder.encode(pixels, [SampleMeta(key="")])[0]
    with torch.inference_mode():
        expected = vae.encode(pixels).latent_dist
    torch.testing.assert_close(found["mean"][None], expected.mean)
    torch.testing.assert_close(found["logvar"][None], expected.logvar)
    assert found["mean"].shape == (4, 10, 16, 16)
    assert float(found["mean"].abs().amin(dim=(0, 2, 3)).max()) > 0  # no frame is left at zeros
    scores = normalize(found["mean"][None].double(), encoder.spec.normalizer.ops, "CTHW").float()
    names: dict[str, Any] = {"self": SimpleNamespace(vae=vae), "latents": scores}
    exec(statements_before_decoding("allegro/pipeline_allegro.py"), names)
    torch.testing.assert_close(names["latents"], found["mean"][None])
    assert encoder.decode({"mean": found["mean"][None]}).shape == pixels.shape
    assert (encoder.spec.knobs["tiling"], encoder.spec.knobs["tile_px"]) == (True, TILE_PX)


def test_what_its_tiles_do_not_cover_is_refused(save_tiny: SaveTiny) -> None:
    encoder = load_encoder(f"allegro:{save_tiny('allegro')}", OPTIONS)
    for shape in ((1, 3, 32, TILE_PX, TILE_PX), (1, 3, 24, TILE_PX, TILE_PX + 8)):
        with pytest.raises(EncoderError):
            encoder.encode(torch.zeros(shape), [SampleMeta(key="")])
    facts = declared_facts("allegro:somewhere")
    assert facts is not None
    assert facts.refusal(Bucket(88, 720, 1280)) is None
    assert facts.refusal(Bucket(88, 704, 1280)) is not None
    assert facts.refusal(Bucket(1, 720, 1280)) is not None
