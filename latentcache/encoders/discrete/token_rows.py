"""Discrete tokenizers known by name: what is declared of each, before any weight is loaded."""

from dataclasses import dataclass
from functools import cache

from latentcache.core.fields import Field
from latentcache.core.frames import FrameRule
from latentcache.encoders.declared import NO_FP16, EncoderFacts
from latentcache.encoders.indices import index_dtype
from latentcache.encoders.spec import Codebook, EncoderSpec, Posterior

_LOADER = "latentcache.encoders.discrete.load_tokens"

ONLY_FLOAT32 = NO_FP16 | {"bfloat16"}
"""An index computed in half precision is another index: 97 of 100 moved in one codebook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """The lines in which tokenizers differ."""

    name: str
    title: str
    impl: str
    """Package and class, e.g. ``transformers.JanusVQVAE``."""
    factor: int
    """Pixels per index, along both edges."""
    size: int
    """Entries of the codebook of the released weights; the loaded ones count."""
    posterior: Posterior = "vq"
    frame_rule: FrameRule | None = None
    """Legal frame counts of a clip; None for a tokenizer of pictures."""
    input_range: tuple[float, float] = (0.0, 1.0)
    """Pixels at 0 and 255; what is done to them after that is in the knobs."""
    is_causal: bool = False
    image_is_first_frame: bool = False
    config_key: str = ""
    """Of a whole model's config.json, where the tokenizer is a part of that model."""
    anchor: str = ""
    """A tensor of the tokenizer, by which it is found in a whole model of transformers."""
    licence: str = "see the model card"

    @property
    def class_name(self) -> str:
        """Without the package."""
        return self.impl.rpartition(".")[2]

    @property
    def is_diffusers(self) -> bool:
        """Saved by diffusers, else by transformers."""
        return self.impl.startswith("diffusers.")

    def facts(self) -> EncoderFacts:
        """Return the preset that these lines stand for."""
        is_video = self.frame_rule is not None
        codebook = Codebook(size=self.size)
        spec = EncoderSpec(
            name=self.name,
            impl=self.impl,
            impl_version=1,
            modality="video" if is_video else "image",
            fields=(index_field(codebook, is_video=is_video),),
            posterior=self.posterior,
            codebook=codebook,
            input_range=self.input_range,
            spatial_factor=(self.factor, self.factor),
            multiple_of=(self.factor, self.factor),
            frame_rule=self.frame_rule or FrameRule(),
            compute_dtype="float32",
            forbidden_dtypes=ONLY_FLOAT32,
            weights_digest="",
            is_reentrant=True,
            is_causal=self.is_causal,
            image_is_first_frame=self.image_is_first_frame,
            weights_licence=self.licence,
        )
        return EncoderFacts(spec=spec, title=self.title, loader=_LOADER, is_float32_on_gpu=True)


def index_field(codebook: Codebook, *, is_video: bool) -> Field:
    """Return the field of indices, in the smallest dtype that holds them all."""
    return Field(
        name="indices",
        kind="indices",
        axes="THW" if is_video else "HW",
        channels=None,
        dtype=index_dtype(codebook),
    )


_VQ = "quantize.embedding.weight"

TOKEN_ROWS = (
    TokenRow(
        name="vq",
        title="VQModel: MoVQ of Kandinsky 2 and 3, VQ-GAN of latent diffusion",
        impl="diffusers.VQModel",
        factor=8,
        size=16384,
        input_range=(-1.0, 1.0),
    ),
    TokenRow(
        name="vidtok-fsq",
        title="VidTok FSQ, causal",
        impl="diffusers.AutoencoderVidTok",
        factor=8,
        size=8**6,
        posterior="fsq",
        frame_rule=FrameRule(first=1, step=4),
        input_range=(-1.0, 1.0),
        is_causal=True,
        image_is_first_frame=True,
        licence="MIT",
    ),
    TokenRow(
        name="flava-codebook",
        title="FLAVA's codebook, of DALL-E's kind",
        impl="transformers.FlavaImageCodebook",
        factor=8,
        size=8192,
        config_key="image_codebook_config",
        anchor="blocks.input.weight",
        licence="BSD-3-Clause",
    ),
    TokenRow(
        name="chameleon-vq",
        title="Chameleon's tokenizer",
        impl="transformers.ChameleonVQVAE",
        factor=16,
        size=8192,
        config_key="vq_config",
        anchor=_VQ,
        licence="Chameleon Research",
    ),
    TokenRow(
        name="janus-vq",
        title="Janus' tokenizer of generation",
        impl="transformers.JanusVQVAE",
        factor=16,
        size=16384,
        config_key="vq_config",
        anchor=_VQ,
    ),
    TokenRow(
        name="emu3-vq",
        title="Emu3's tokenizer, of pictures",
        impl="transformers.Emu3VQVAE",
        factor=8,
        size=32768,
        config_key="vq_config",
        anchor=_VQ,
        licence="Apache-2.0",
    ),
    TokenRow(
        name="emu3-vq-video",
        title="Emu3's tokenizer, of clips",
        impl="transformers.Emu3VQVAE",
        factor=8,
        size=32768,
        frame_rule=FrameRule(first=4, step=4),
        config_key="vq_config",
        anchor=_VQ,
        licence="Apache-2.0",
    ),
    TokenRow(
        name="glm-image-vq",
        title="GLM-Image's tokenizer: a vision tower and a codebook",
        impl="transformers.GlmImageVQVAE",
        factor=16,
        size=16384,
        config_key="vq_config",
        anchor=_VQ,
    ),
)


@cache
def token_rows() -> dict[str, TokenRow]:
    """Return every known tokenizer, by name."""
    return {row.name: row for row in TOKEN_ROWS}


def token_facts() -> tuple[EncoderFacts, ...]:
    """Return the presets of tokenizers."""
    return tuple(row.facts() for row in TOKEN_ROWS)
