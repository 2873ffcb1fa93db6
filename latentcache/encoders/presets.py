"""Presets: what is declared of known encoders before any weight is loaded.

Good for estimates and for refusing the wrong checkpoint; what a loaded encoder really
does is probed. Sources: docs/encoders.md, "Known encoders".
"""

from dataclasses import dataclass

from latentcache.encoders.dct_declared import (
    DctConfig,
    DctVideoConfig,
    dct_spec,
    dct_video_spec,
)
from latentcache.encoders.declared import NO_FP16, EncoderFacts, posterior_fields
from latentcache.encoders.spec import EncoderSpec, Posterior
from latentcache.encoders.video_presets import video_facts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """The lines in which image encoders differ."""

    name: str
    title: str
    impl: str
    channels: int | None
    factor: int
    posterior: Posterior = "gaussian"
    multiple_of: int = 0
    """0: the factor."""
    forbidden: frozenset[str] = frozenset()
    licence: str = "see the model card"
    is_float32_on_gpu: bool = False

    def facts(self) -> EncoderFacts:
        """Return the row that this line stands for."""
        multiple_of = self.multiple_of or self.factor
        spec = EncoderSpec(
            name=self.name,
            impl=self.impl,
            impl_version=1,
            modality="image",
            fields=posterior_fields(self.posterior, "CHW", self.channels),
            posterior=self.posterior,
            input_range=(-1.0, 1.0),
            spatial_factor=(self.factor, self.factor),
            multiple_of=(multiple_of, multiple_of),
            compute_dtype="float32",
            weights_digest="",
            forbidden_dtypes=self.forbidden,
            weights_licence=self.licence,
        )
        return EncoderFacts(
            spec=spec,
            title=self.title,
            is_float32_on_gpu=self.is_float32_on_gpu,
        )


_KL = "diffusers.AutoencoderKL"
_FLUX2 = "diffusers.AutoencoderKLFlux2"
_DC = "diffusers.AutoencoderDC"
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
        name="glm-image",
        title="GLM-Image: mean and std alone",
        impl=_KL,
        channels=None,
        factor=8,
    ),
    _Declared(
        name="kandinsky5-image",
        title="Kandinsky 5 image: no shift",
        impl=_KL,
        channels=16,
        factor=8,
    ),
    _Declared(
        name="ernie-image",
        title="ERNIE-Image: FLUX.2's class, eps 1e-5",
        impl=_FLUX2,
        channels=32,
        factor=8,
        multiple_of=16,
        is_float32_on_gpu=True,
    ),
    _Declared(
        name="ideogram4",
        title="Ideogram 4: FLUX.2's class, patches as (y, x, channel)",
        impl=_FLUX2,
        channels=32,
        factor=8,
        multiple_of=16,
        is_float32_on_gpu=True,
    ),
    _Declared(
        name="sana-sprint",
        title="SANA-Sprint: DC-AE, halved",
        impl=_DC,
        channels=32,
        factor=32,
        posterior="point",
    ),
    _Declared(
        name="sana-video-dc",
        title="SANA-Video on a DC-AE, as it is",
        impl=_DC,
        channels=32,
        factor=32,
        posterior="point",
    ),
    _Declared(
        name="flux2",
        title="FLUX.2",
        impl=_FLUX2,
        channels=32,
        factor=8,
        multiple_of=16,
        is_float32_on_gpu=True,
    ),
    _Declared(
        name="dc",
        title="DC-AE (SANA), deterministic",
        impl=_DC,
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
    images = tuple(row.facts() for row in _DECLARED)
    return {facts.name: facts for facts in (*weight_free, *images, *video_facts())}
