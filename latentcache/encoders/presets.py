"""Presets: what is declared of known encoders before any weight is loaded.

Good for estimates and for refusing the wrong checkpoint; what a loaded encoder really
does is probed. Sources: docs/encoders.md, "Known encoders"; how each encoder of clips behaves
in time was measured on the real classes: docs/encoders.md, "In time".
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from latentcache.core.frames import FrameRule
from latentcache.encoders.dct_declared import (
    DctConfig,
    DctVideoConfig,
    dct_spec,
    dct_video_spec,
)
from latentcache.encoders.declared import NO_FP16, EncoderFacts, posterior_fields
from latentcache.encoders.features.feature_presets import feature_facts
from latentcache.encoders.masks.mask_declared import mask_facts
from latentcache.encoders.spec import EncoderSpec, Posterior
from latentcache.encoders.text.text_presets import text_facts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Autoencoder:
    """The lines in which diffusers autoencoders differ."""

    name: str
    title: str
    class_name: str
    """In the ``diffusers`` package."""
    family: str
    """File in ``families`` that reads the class."""
    channels: int | None
    """Of a latent; None where the weights decide."""
    factor: int
    """Pixels per latent cell, along both edges."""
    patch: int = 1
    """Latent cells that the DiT's space joins per edge; sizes must divide."""
    frame_rule: FrameRule | None = None
    """Legal frame counts of a clip; None for an encoder of images."""
    posterior: Posterior = "gaussian"
    forbidden: frozenset[str] = frozenset()
    is_float32_on_gpu: bool = False
    in_time: dict[str, Any] = field(default_factory=dict)
    """Fields of the spec that say how it behaves in time."""
    licence: str = "see the model card"

    def facts(self) -> EncoderFacts:
        """Return the preset that these lines stand for."""
        is_video = self.frame_rule is not None
        spec = EncoderSpec(
            name=self.name,
            impl=f"diffusers.{self.class_name}",
            impl_version=1,
            modality="video" if is_video else "image",
            fields=posterior_fields(self.posterior, "CTHW" if is_video else "CHW", self.channels),
            posterior=self.posterior,
            input_range=(-1.0, 1.0),
            spatial_factor=(self.factor, self.factor),
            multiple_of=(self.factor * self.patch, self.factor * self.patch),
            frame_rule=self.frame_rule or FrameRule(),
            compute_dtype="float32",
            weights_digest="",
            is_reentrant=is_video,
            forbidden_dtypes=self.forbidden,
            weights_licence=self.licence,
            **self.in_time,
        )
        return EncoderFacts(
            spec=spec,
            title=self.title,
            family=self.family,
            is_float32_on_gpu=self.is_float32_on_gpu,
        )


_BY_FOUR = FrameRule(first=1, step=4)
_BY_EIGHT = FrameRule(first=1, step=8)
_EXACT = {"is_causal": True, "streaming": "exact"}
_GROWS = "its attention looks back over the whole clip, so that its state grows; plan shorter clips"

_AUTOENCODERS = (
    _Autoencoder(
        name="sd",
        title="Stable Diffusion 1 and 2",
        class_name="AutoencoderKL",
        family="kl",
        channels=4,
        factor=8,
        licence="CreativeML Open RAIL-M; sd-vae-ft-mse: MIT",
    ),
    _Autoencoder(
        name="sdxl",
        title="Stable Diffusion XL, Playground 2.5",
        class_name="AutoencoderKL",
        family="kl",
        channels=4,
        factor=8,
        forbidden=NO_FP16,
        licence="CreativeML Open RAIL++-M; sdxl-vae: MIT",
        is_float32_on_gpu=True,
    ),
    _Autoencoder(
        name="sd3",
        title="Stable Diffusion 3 and 3.5",
        class_name="AutoencoderKL",
        family="kl",
        channels=16,
        factor=8,
        licence="Stability AI Community",
    ),
    _Autoencoder(
        name="flux",
        title="FLUX.1, Z-Image",
        class_name="AutoencoderKL",
        family="kl",
        channels=16,
        factor=8,
        licence="schnell: Apache-2.0; dev: FLUX.1 non-commercial",
    ),
    _Autoencoder(
        name="kl",
        title="any AutoencoderKL, as its config says",
        class_name="AutoencoderKL",
        family="kl",
        channels=None,
        factor=8,
    ),
    _Autoencoder(
        name="glm-image",
        title="GLM-Image: mean and std alone",
        class_name="AutoencoderKL",
        family="kl",
        channels=None,
        factor=8,
    ),
    _Autoencoder(
        name="kandinsky5-image",
        title="Kandinsky 5 image: no shift",
        class_name="AutoencoderKL",
        family="kl",
        channels=16,
        factor=8,
    ),
    _Autoencoder(
        name="ernie-image",
        title="ERNIE-Image: FLUX.2's class, eps 1e-5",
        class_name="AutoencoderKLFlux2",
        family="flux2",
        channels=32,
        factor=8,
        is_float32_on_gpu=True,
        patch=2,
    ),
    _Autoencoder(
        name="ideogram4",
        title="Ideogram 4: FLUX.2's class, patches as (y, x, channel)",
        class_name="AutoencoderKLFlux2",
        family="flux2",
        channels=32,
        factor=8,
        is_float32_on_gpu=True,
        patch=2,
    ),
    _Autoencoder(
        name="sana-sprint",
        title="SANA-Sprint: DC-AE, halved",
        class_name="AutoencoderDC",
        family="dc",
        channels=32,
        factor=32,
        posterior="point",
    ),
    _Autoencoder(
        name="sana-video-dc",
        title="SANA-Video on a DC-AE, as it is",
        class_name="AutoencoderDC",
        family="dc",
        channels=32,
        factor=32,
        posterior="point",
    ),
    _Autoencoder(
        name="flux2",
        title="FLUX.2",
        class_name="AutoencoderKLFlux2",
        family="flux2",
        channels=32,
        factor=8,
        is_float32_on_gpu=True,
        patch=2,
    ),
    _Autoencoder(
        name="dc",
        title="DC-AE (SANA), deterministic",
        class_name="AutoencoderDC",
        family="dc",
        channels=32,
        factor=32,
        posterior="point",
    ),
    _Autoencoder(
        name="tiny",
        title="TAESD and other tiny autoencoders, deterministic",
        class_name="AutoencoderTiny",
        family="tiny",
        channels=None,
        factor=8,
        posterior="point",
        licence="TAESD: MIT",
    ),
    _Autoencoder(
        name="wan",
        title="Wan 2.1",
        class_name="AutoencoderKLWan",
        family="wan",
        channels=16,
        factor=8,
        frame_rule=_BY_FOUR,
        licence="Apache-2.0",
        in_time=_EXACT,
    ),
    _Autoencoder(
        name="wan22",
        title="Wan 2.2 TI2V",
        class_name="AutoencoderKLWan",
        family="wan",
        channels=48,
        factor=16,
        frame_rule=_BY_FOUR,
        licence="Apache-2.0",
        in_time=_EXACT,
    ),
    _Autoencoder(
        name="qwen",
        title="Qwen-Image",
        class_name="AutoencoderKLQwenImage",
        family="wan",
        channels=16,
        factor=8,
        frame_rule=_BY_FOUR,
        licence="Apache-2.0",
        in_time=_EXACT,
    ),
    _Autoencoder(
        name="hunyuan",
        title="HunyuanVideo",
        class_name="AutoencoderKLHunyuanVideo",
        family="hunyuan",
        channels=16,
        factor=8,
        frame_rule=_BY_FOUR,
        licence="Tencent Hunyuan Community",
        in_time={
            "image_is_first_frame": False,
            "streaming_refusal": (
                "its group norm averages over the whole clip, so that every latent depends on "
                "every frame; use WEIGHTS?tile_frames=16 for diffusers' tiling in time, or plan "
                "shorter clips"
            ),
        },
    ),
    _Autoencoder(
        name="hunyuan15",
        title="HunyuanVideo 1.5",
        class_name="AutoencoderKLHunyuanVideo15",
        family="hunyuan15",
        channels=32,
        factor=16,
        frame_rule=_BY_FOUR,
        licence="Tencent Hunyuan Community",
        in_time={"is_causal": True, "max_batch": 1, "streaming_refusal": _GROWS},
    ),
    _Autoencoder(
        name="ltx",
        title="LTX-Video 0.9",
        class_name="AutoencoderKLLTXVideo",
        family="ltx",
        channels=128,
        factor=32,
        frame_rule=_BY_EIGHT,
        posterior="gaussian_shared_logvar",
        licence="see the model card",
        in_time=_EXACT,
    ),
    _Autoencoder(
        name="ltx2",
        title="LTX-2, LTX-2.3",
        class_name="AutoencoderKLLTX2Video",
        family="ltx",
        channels=128,
        factor=32,
        frame_rule=_BY_EIGHT,
        posterior="gaussian_shared_logvar",
        licence="see the model card",
        in_time=_EXACT,
    ),
    _Autoencoder(
        name="cogvideox",
        title="CogVideoX",
        class_name="AutoencoderKLCogVideoX",
        family="cogvideox",
        channels=16,
        factor=8,
        # The model takes 4k frames and others too, but cuts groups of eight from the end:
        # only with 1 + 8k does a prefix keep its values.
        frame_rule=FrameRule(first=1, step=8, latent_step=2),
        licence="2b: Apache-2.0; 5b: CogVideoX",
        in_time={**_EXACT, "image_is_first_frame": False},
    ),
    _Autoencoder(
        name="cosmos",
        title="Cosmos CV8x8x8, deterministic",
        class_name="AutoencoderKLCosmos",
        family="cosmos",
        channels=16,
        factor=8,
        frame_rule=_BY_EIGHT,
        posterior="point",
        licence="NVIDIA Open Model",
        in_time={"is_causal": True, "streaming_refusal": _GROWS},
    ),
    _Autoencoder(
        name="mochi",
        title="Mochi 1",
        class_name="AutoencoderKLMochi",
        family="mochi",
        channels=12,
        factor=8,
        frame_rule=FrameRule(first=1, step=6),
        licence="Apache-2.0",
        in_time={"is_causal": True, "streaming_refusal": _GROWS},
    ),
    _Autoencoder(
        name="svd",
        title="Stable Video Diffusion, frame by frame",
        class_name="AutoencoderKLTemporalDecoder",
        family="svd",
        channels=4,
        factor=8,
        frame_rule=FrameRule(),
        licence="Stability AI Community",
        is_float32_on_gpu=True,
        forbidden=NO_FP16,
        in_time=_EXACT,
    ),
)

ALIASES = {
    "sana": "dc",
    "flux1": "flux",
    # Models that normalize as another one does, each held to its pipeline by a test.
    **dict.fromkeys(("chroma", "hidream", "longcat-image", "lumina2", "ovis-image"), "flux"),
    "z-image": "flux",
    **dict.fromkeys(("bria", "prx"), "kl"),
    "bria-fibo2": "flux2",
    **dict.fromkeys(("krea2", "nucleus"), "qwen"),
    **dict.fromkeys(("anyflow", "chronoedit", "cosmos2", "cosmos2.5", "helios"), "wan"),
    **dict.fromkeys(("joyimage", "motif-video", "skyreels-v2"), "wan"),
    **dict.fromkeys(("bria-fibo", "cosmos3", "lucy"), "wan22"),
    **dict.fromkeys(("kandinsky5-video", "kandinsky6"), "hunyuan"),
    "sana-wm": "ltx2",
}
"""Other names of presets. Which weights a model uses is for its folder to say: those of
another size are refused."""


@cache
def known_encoders() -> dict[str, EncoderFacts]:
    """Return what is declared of every encoder this package knows, by name."""
    weight_free = (
        EncoderFacts(spec=dct_spec(DctConfig()), title="block DCT of images"),
        EncoderFacts(
            spec=dct_video_spec(DctVideoConfig()), title="block DCT and causal Haar of clips"
        ),
    )
    autoencoders = (row.facts() for row in _AUTOENCODERS)
    return {
        facts.name: facts
        for facts in (*weight_free, mask_facts(), *autoencoders, *text_facts(), *feature_facts())
    }


def preset_of(name: str) -> EncoderFacts | None:
    """Return what is declared under a preset's name or one of its other names, if it is one."""
    return known_encoders().get(ALIASES.get(name, name))
