"""Presets: what is declared of known encoders before any weight is loaded.

Good for estimates and for refusing the wrong checkpoint; what a loaded encoder really
does is probed. Sources: docs/encoders.md, "Known encoders".
"""

from dataclasses import dataclass, replace

from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.encoders.dct import DctConfig, dct_spec
from latentcache.encoders.dct_video import DctVideoConfig, dct_video_spec
from latentcache.encoders.posterior import stored_fields
from latentcache.encoders.shapes import sample_bytes
from latentcache.encoders.spec import EncoderSpec, FrameRule, Posterior, PosteriorPolicy

NO_FP16 = frozenset({"float16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFacts:
    """One row of ``latentcache encoders``.

    Attributes:
        spec: Declared facts as a spec; weights digest and normaliser are the loaded one's.
        title: What it is, in a few words.
        needs_weights: A folder or hub id must be given.
        is_available: This version can load it; else it is known for estimates only.
        is_float32_on_gpu: Defaults to float32 on a GPU, where others use bfloat16.
    """

    spec: EncoderSpec
    title: str
    needs_weights: bool = True
    is_available: bool = True
    is_float32_on_gpu: bool = False

    @property
    def name(self) -> str:
        """As on the command line."""
        return self.spec.name

    @property
    def latent_channels(self) -> int | None:
        """Channels of the mean or point; None where the weights decide."""
        return self.spec.fields[0].channels

    @property
    def spatial_factor(self) -> tuple[int, int]:
        """Pixels per latent cell, (vertical, horizontal)."""
        return self.spec.spatial_factor

    @property
    def multiple_of(self) -> tuple[int, int]:
        """Heights and widths must be multiples of these."""
        return self.spec.multiple_of

    @property
    def frame_rule(self) -> FrameRule:
        """Legal frame counts."""
        return self.spec.frame_rule

    @property
    def weights_licence(self) -> str:
        """As far as known."""
        return self.spec.weights_licence

    def refusal(self, bucket: Bucket) -> str | None:
        """Return why ``bucket`` cannot be encoded, or None if it can."""
        return self.spec.refusal(bucket)

    def bytes_per_sample(
        self,
        bucket: Bucket,
        storage_dtype: str | None = None,
        policy: PosteriorPolicy = "moments",
    ) -> int | None:
        """Return payload bytes per sample, or None where the weights decide.

        Raises:
            ConfigError: The dtype or policy is unknown.
        """
        if self.latent_channels is None:
            return None
        return sample_bytes(self.spec, stored_fields(self.spec, policy, storage_dtype), bucket)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """The lines in which known encoders differ."""

    name: str
    title: str
    impl: str
    channels: int | None
    factor: int
    posterior: Posterior = "gaussian"
    multiple_of: int = 0
    """0: the factor."""
    temporal_factor: int = 0
    """0: images only."""
    forbidden: frozenset[str] = frozenset()
    licence: str = "see the model card"
    is_available: bool = True
    is_float32_on_gpu: bool = False

    def facts(self) -> EncoderFacts:
        """Return the row that this line stands for."""
        axes = "CTHW" if self.temporal_factor else "CHW"
        multiple_of = self.multiple_of or self.factor
        spec = EncoderSpec(
            name=self.name,
            impl=self.impl,
            impl_version=1,
            modality="video" if self.temporal_factor else "image",
            fields=posterior_fields(self.posterior, axes, self.channels),
            posterior=self.posterior,
            input_range=(-1.0, 1.0),
            spatial_factor=(self.factor, self.factor),
            multiple_of=(multiple_of, multiple_of),
            frame_rule=FrameRule(first=1, step=self.temporal_factor or 1),
            compute_dtype="float32",
            weights_digest="",
            forbidden_dtypes=self.forbidden,
            weights_licence=self.licence,
        )
        return EncoderFacts(
            spec=spec,
            title=self.title,
            is_available=self.is_available,
            is_float32_on_gpu=self.is_float32_on_gpu,
        )


def posterior_fields(posterior: Posterior, axes: str, channels: int | None) -> tuple[Field, ...]:
    """Return ``z`` of a point encoder, or ``mean`` and ``logvar`` of a Gaussian one.

    A log-variance that all channels share is stored once.
    """
    if posterior == "point":
        return (Field(name="z", kind="point", axes=axes, channels=channels, dtype="float16"),)
    mean = Field(name="mean", kind="mean", axes=axes, channels=channels, dtype="float16")
    broadcast = "C" if posterior == "gaussian_shared_logvar" else ""
    return mean, replace(mean, name="logvar", kind="logvar", broadcast=broadcast)


_KL = "diffusers.AutoencoderKL"
_DECLARED = (
    _Declared(
        name="sd",
        title="Stable Diffusion 1 and 2",
        impl=_KL,
        channels=4,
        factor=8,
        licence="CreativeML Open RAIL-M; sd-vae-ft-mse: MIT",
    ),
    _Declared(
        name="sdxl",
        title="Stable Diffusion XL, Playground 2.5",
        impl=_KL,
        channels=4,
        factor=8,
        forbidden=NO_FP16,
        licence="CreativeML Open RAIL++-M; sdxl-vae: MIT",
        is_float32_on_gpu=True,
    ),
    _Declared(
        name="sd3",
        title="Stable Diffusion 3 and 3.5",
        impl=_KL,
        channels=16,
        factor=8,
        licence="Stability AI Community",
    ),
    _Declared(
        name="flux",
        title="FLUX.1, Z-Image",
        impl=_KL,
        channels=16,
        factor=8,
        licence="schnell: Apache-2.0; dev: FLUX.1 non-commercial",
    ),
    _Declared(
        name="kl",
        title="any AutoencoderKL, as its config says",
        impl=_KL,
        channels=None,
        factor=8,
    ),
    _Declared(
        name="flux2",
        title="FLUX.2",
        impl="diffusers.AutoencoderKLFlux2",
        channels=32,
        factor=8,
        multiple_of=16,
        is_float32_on_gpu=True,
    ),
    _Declared(
        name="dc",
        title="DC-AE (SANA), deterministic",
        impl="diffusers.AutoencoderDC",
        channels=32,
        factor=32,
        posterior="point",
    ),
    _Declared(
        name="tiny",
        title="TAESD and other tiny autoencoders, deterministic",
        impl="diffusers.AutoencoderTiny",
        channels=None,
        factor=8,
        posterior="point",
        licence="TAESD: MIT",
    ),
    _Declared(
        name="wan",
        title="Wan 2.1, Qwen-Image",
        impl="diffusers.AutoencoderKLWan",
        channels=16,
        factor=8,
        temporal_factor=4,
        licence="Apache-2.0",
        is_available=False,
    ),
    _Declared(
        name="wan22",
        title="Wan 2.2 TI2V",
        impl="diffusers.AutoencoderKLWan",
        channels=48,
        factor=16,
        temporal_factor=4,
        licence="Apache-2.0",
        is_available=False,
    ),
    _Declared(
        name="hunyuan",
        title="HunyuanVideo",
        impl="diffusers.AutoencoderKLHunyuanVideo",
        channels=16,
        factor=8,
        temporal_factor=4,
        licence="Tencent Hunyuan Community",
        is_available=False,
    ),
    _Declared(
        name="ltx",
        title="LTX-Video, LTX-2",
        impl="diffusers.AutoencoderKLLTXVideo",
        channels=128,
        factor=32,
        posterior="gaussian_shared_logvar",
        temporal_factor=8,
        is_available=False,
    ),
)


def known_encoders() -> dict[str, EncoderFacts]:
    """Return what is declared of every encoder this package knows, by name."""
    weight_free = (
        EncoderFacts(spec=dct_spec(DctConfig()), title="block DCT of images", needs_weights=False),
        EncoderFacts(
            spec=dct_video_spec(DctVideoConfig()),
            title="block DCT and causal Haar of clips",
            needs_weights=False,
        ),
    )
    return {facts.name: facts for facts in (*weight_free, *(row.facts() for row in _DECLARED))}
