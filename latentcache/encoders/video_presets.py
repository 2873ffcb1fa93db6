"""Presets of video autoencoders: what is declared before any weight is loaded.

How each behaves in time was measured on the real classes; docs/encoders.md, "In time".
"""

from dataclasses import dataclass, field
from typing import Any

from latentcache.core.frames import FrameRule
from latentcache.encoders.declared import NO_FP16, EncoderFacts, posterior_fields
from latentcache.encoders.spec import EncoderSpec, Posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """The lines in which video encoders differ; ``time`` holds facts of the spec by name."""

    name: str
    title: str
    impl: str
    channels: int
    factor: int
    frame_rule: FrameRule
    licence: str
    posterior: Posterior = "gaussian"
    time: dict[str, Any] = field(default_factory=dict)
    is_float32_on_gpu: bool = False

    def facts(self) -> EncoderFacts:
        """Return the row that these lines stand for."""
        spec = EncoderSpec(
            name=self.name,
            impl=f"diffusers.{self.impl}",
            impl_version=1,
            modality="video",
            fields=posterior_fields(self.posterior, "CTHW", self.channels),
            posterior=self.posterior,
            input_range=(-1.0, 1.0),
            spatial_factor=(self.factor, self.factor),
            multiple_of=(self.factor, self.factor),
            frame_rule=self.frame_rule,
            compute_dtype="float32",
            weights_digest="",
            is_reentrant=True,
            forbidden_dtypes=NO_FP16 if self.is_float32_on_gpu else frozenset(),
            weights_licence=self.licence,
            **self.time,
        )
        return EncoderFacts(
            spec=spec,
            title=self.title,
            is_float32_on_gpu=self.is_float32_on_gpu,
        )


_BY_FOUR = FrameRule(first=1, step=4)
_BY_EIGHT = FrameRule(first=1, step=8)
_EXACT = {"is_causal": True, "streaming": "exact"}
_ATTENTION = "its attention looks back over the whole clip, so that its state grows"
_WHOLE = "plan shorter clips"

ROWS = (
    _Declared(
        name="wan",
        title="Wan 2.1",
        impl="AutoencoderKLWan",
        channels=16,
        factor=8,
        frame_rule=_BY_FOUR,
        licence="Apache-2.0",
        time=_EXACT,
    ),
    _Declared(
        name="wan22",
        title="Wan 2.2 TI2V",
        impl="AutoencoderKLWan",
        channels=48,
        factor=16,
        frame_rule=_BY_FOUR,
        licence="Apache-2.0",
        time=_EXACT,
    ),
    _Declared(
        name="qwen",
        title="Qwen-Image",
        impl="AutoencoderKLQwenImage",
        channels=16,
        factor=8,
        frame_rule=_BY_FOUR,
        licence="Apache-2.0",
        time=_EXACT,
    ),
    _Declared(
        name="hunyuan",
        title="HunyuanVideo",
        impl="AutoencoderKLHunyuanVideo",
        channels=16,
        factor=8,
        frame_rule=_BY_FOUR,
        licence="Tencent Hunyuan Community",
        time={
            "image_is_first_frame": False,
            "streaming_refusal": (
                "its group norm averages over the whole clip, so that every latent depends on "
                "every frame; use WEIGHTS?tile_frames=16 for diffusers' tiling in time, or plan "
                "shorter clips"
            ),
        },
    ),
    _Declared(
        name="hunyuan15",
        title="HunyuanVideo 1.5",
        impl="AutoencoderKLHunyuanVideo15",
        channels=32,
        factor=16,
        frame_rule=_BY_FOUR,
        licence="Tencent Hunyuan Community",
        time={
            "is_causal": True,
            "max_batch": 1,
            "streaming_refusal": f"{_ATTENTION}; {_WHOLE}",
        },
    ),
    _Declared(
        name="ltx",
        title="LTX-Video 0.9",
        impl="AutoencoderKLLTXVideo",
        channels=128,
        factor=32,
        frame_rule=_BY_EIGHT,
        posterior="gaussian_shared_logvar",
        licence="see the model card",
        time=_EXACT,
    ),
    _Declared(
        name="ltx2",
        title="LTX-2, LTX-2.3",
        impl="AutoencoderKLLTX2Video",
        channels=128,
        factor=32,
        frame_rule=_BY_EIGHT,
        posterior="gaussian_shared_logvar",
        licence="see the model card",
        time=_EXACT,
    ),
    _Declared(
        name="cogvideox",
        title="CogVideoX",
        impl="AutoencoderKLCogVideoX",
        channels=16,
        factor=8,
        # The model takes 4k frames and others too, but cuts groups of eight from the end:
        # only with 1 + 8k does a prefix keep its values.
        frame_rule=FrameRule(first=1, step=8, latent_step=2),
        licence="2b: Apache-2.0; 5b: CogVideoX",
        time={**_EXACT, "image_is_first_frame": False},
    ),
    _Declared(
        name="cosmos",
        title="Cosmos CV8x8x8, deterministic",
        impl="AutoencoderKLCosmos",
        channels=16,
        factor=8,
        frame_rule=_BY_EIGHT,
        posterior="point",
        licence="NVIDIA Open Model",
        time={"is_causal": True, "streaming_refusal": f"{_ATTENTION}; {_WHOLE}"},
    ),
    _Declared(
        name="mochi",
        title="Mochi 1",
        impl="AutoencoderKLMochi",
        channels=12,
        factor=8,
        frame_rule=FrameRule(first=1, step=6),
        licence="Apache-2.0",
        time={"is_causal": True, "streaming_refusal": f"{_ATTENTION}; {_WHOLE}"},
    ),
    _Declared(
        name="svd",
        title="Stable Video Diffusion, frame by frame",
        impl="AutoencoderKLTemporalDecoder",
        channels=4,
        factor=8,
        frame_rule=FrameRule(),
        licence="Stability AI Community",
        time=_EXACT,
        is_float32_on_gpu=True,
    ),
)


def video_facts() -> tuple[EncoderFacts, ...]:
    """Return what is declared of every video autoencoder this package knows."""
    return tuple(row.facts() for row in ROWS)
