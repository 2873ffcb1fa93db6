"""Text towers known by name: which classes of transformers, and how pipelines read them.

Sources: the pipelines of diffusers 0.42.1; docs/encoders.md, "Text", says which model wants what.
"""

from dataclasses import dataclass, field
from functools import cache

from latentcache.core.fields import Field
from latentcache.encoders.declared import NO_FP16, EncoderFacts
from latentcache.encoders.spec import EncoderSpec
from latentcache.encoders.text.text_knobs import TextKnobs

_LOADER = "latentcache.encoders.text.load_text"


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerFamily:
    """The lines in which text towers differ."""

    name: str
    title: str
    classes: tuple[str, ...]
    """Of transformers, in ``architectures`` of a config.json that fits."""
    loaded_as: str = ""
    """Class that is loaded whatever was saved; "" for that which was."""
    knobs: TextKnobs = field(default_factory=TextKnobs)
    has_pooled: bool = False
    dtype: str = "bfloat16"
    """Of what is stored: hidden states of language models pass the limit of float16."""
    forbidden: frozenset[str] = frozenset()

    def spec(self) -> EncoderSpec:
        """Return what is declared before any weight is loaded."""
        return EncoderSpec(
            name=self.name,
            impl=f"transformers.{self.loaded_as or self.classes[0]}",
            impl_version=1,
            modality="text",
            fields=text_fields(None, dtype=self.dtype, has_pooled=self.has_pooled),
            posterior="point",
            input_range=(0.0, 0.0),
            input_channels=0,
            spatial_factor=(1, 1),
            multiple_of=(1, 1),
            compute_dtype="float32",
            weights_digest="",
            forbidden_dtypes=self.forbidden,
            weights_licence="see the model card",
        )


def text_fields(
    channels: int | None, *, dtype: str, has_pooled: bool, pooled_channels: int | None = None
) -> tuple[Field, ...]:
    """Return the fields of a sample: states of its texts one after the other, and their lengths."""
    states = Field(name="z", kind="point", axes="NC", channels=channels, dtype=dtype)
    lengths = Field(name="lengths", kind="aux", axes="K", channels=None, dtype="int32")
    pooled = Field(name="pooled", kind="aux", axes="KC", channels=pooled_channels, dtype=dtype)
    return (states, lengths, pooled) if has_pooled else (states, lengths)


_FAMILIES = (
    TowerFamily(
        name="t5",
        title="T5 encoder: FLUX.1, SD 3, PixArt, CogVideoX, LTX-Video, Mochi",
        classes=("T5EncoderModel", "T5ForConditionalGeneration", "T5Model"),
        loaded_as="T5EncoderModel",
        dtype="float16",
        forbidden=NO_FP16,
    ),
    TowerFamily(
        name="umt5",
        title="UMT5 encoder: Wan",
        classes=("UMT5EncoderModel", "UMT5ForConditionalGeneration", "UMT5Model"),
        loaded_as="UMT5EncoderModel",
        dtype="float16",
        forbidden=NO_FP16,
    ),
    TowerFamily(
        name="clip-text",
        title="CLIP text, sequence and pooled: SDXL, SD 3, FLUX.1; SD 1 and 2 with layers=last",
        classes=("CLIPTextModel", "CLIPTextModelWithProjection"),
        knobs=TextKnobs(max_length=77, layers="-2", mask=False, keep_padding=True),
        has_pooled=True,
        dtype="float16",
    ),
    TowerFamily(
        name="gemma-text",
        title="Gemma 2 and 3 text: SANA, Lumina 2, LTX-2",
        classes=(
            *("Gemma2Model", "Gemma2ForCausalLM", "Gemma3TextModel", "Gemma3ForCausalLM"),
            *("Gemma3Model", "Gemma3ForConditionalGeneration"),
        ),
        knobs=TextKnobs(max_length=300),
        forbidden=NO_FP16,
    ),
    TowerFamily(
        name="qwen-text",
        title="Qwen 2.5-VL, Qwen 3 and 3-VL text: Qwen-Image, Z-Image, FLUX.2 klein",
        classes=(
            *("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLModel", "Qwen2Model"),
            *("Qwen2ForCausalLM", "Qwen3Model", "Qwen3ForCausalLM", "Qwen3VLModel"),
            "Qwen3VLForConditionalGeneration",
        ),
        forbidden=NO_FP16,
    ),
    TowerFamily(
        name="mistral-text",
        title="Mistral and Mistral 3 text: FLUX.2",
        classes=(
            *("MistralModel", "MistralForCausalLM", "Mistral3Model"),
            "Mistral3ForConditionalGeneration",
        ),
        forbidden=NO_FP16,
    ),
)


@cache
def tower_families() -> dict[str, TowerFamily]:
    """Return every known family of text towers, by name."""
    return {family.name: family for family in _FAMILIES}


def text_facts() -> tuple[EncoderFacts, ...]:
    """Return the presets of text towers."""
    return tuple(
        EncoderFacts(spec=family.spec(), title=family.title, loader=_LOADER)
        for family in tower_families().values()
    )
