"""Vision models known by name: which classes of transformers, and how their tokens are laid out."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.encoders.declared import EncoderFacts
from latentcache.encoders.saved_model import layer_numbers
from latentcache.encoders.spec import PLAIN_SCALAR, EncoderSpec

_LOADER = "latentcache.encoders.features.load_features"

Norm = Literal["model", "plain", "none"]
Layout = Literal["NC", "CHW"]
MeanStd = tuple[tuple[float, ...], tuple[float, ...]]

_IMAGENET: MeanStd = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: MeanStd = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureKnobs:
    """How a vision model is read; all of it is in the fingerprint."""

    layers: str = "last"
    """``last`` is the last layer; numbers are hidden states, 0 the embedding; ``8+11`` joins
    several along the channels."""
    norm: Norm = "model"
    """``model``: what the model returns, after its own last norm (of the last layer only).
    ``plain``: a layer norm without weights, of each token (RAE). ``none``: as the layer left it."""
    layout: Layout = "CHW"
    """``CHW`` is a grid of tokens, ``NC`` their list, rows first."""
    cell: int = 16
    """Pixels of the planned picture per token: a picture of 256 px is resized to 224 px for a patch
    of 14, so that both are 16 tokens wide."""

    def __post_init__(self) -> None:
        if self.norm not in ("model", "plain", "none"):
            raise ConfigError(f"norm must be model, plain or none, got {self.norm!r}")
        if self.layout not in ("NC", "CHW"):
            raise ConfigError(f"layout must be NC or CHW, got {self.layout!r}")
        if not 1 <= self.cell <= 256:
            raise ConfigError(f"cell must be 1 to 256 px, got {self.cell}")
        if self.norm == "model" and self.layer_numbers:
            raise ConfigError(
                f"norm must be plain or none with layers={self.layers}, got model; the model's own "
                "is that of its last layer"
            )

    @property
    def layer_numbers(self) -> tuple[int, ...]:
        """Numbers of hidden states; () for the last layer.

        Raises:
            ConfigError: They are no numbers.
        """
        return layer_numbers(self.layers)


def feature_knobs(given: dict[str, PLAIN_SCALAR], name: str) -> FeatureKnobs:
    """Return the knobs that were given; other layers than the last have no norm of the model's.

    Raises:
        ConfigError: One is wrong.
    """
    values = dict(given)
    if "layers" in values:
        values["layers"] = str(values["layers"])
        if values["layers"] != "last":
            values.setdefault("norm", "none")
    return config_from_mapping(FeatureKnobs, values, where=f"encoder {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFamily:
    """The lines in which vision models differ."""

    name: str
    title: str
    classes: tuple[str, ...]
    norm_name: str
    """Attribute of the last norm, whose epsilon a plain one takes."""
    mean_std: MeanStd = _IMAGENET
    """Of red, green and blue from 0 to 1, where the folder has no preprocessor_config.json."""

    def spec(self) -> EncoderSpec:
        """Return what is declared before any weight is loaded."""
        knobs = FeatureKnobs()
        return EncoderSpec(
            name=self.name,
            impl=f"transformers.{self.classes[0]}",
            impl_version=1,
            modality="image",
            fields=(feature_field(None, knobs.layout),),
            posterior="point",
            input_range=(0.0, 1.0),
            spatial_factor=(knobs.cell, knobs.cell),
            multiple_of=(knobs.cell, knobs.cell),
            compute_dtype="float32",
            weights_digest="",
            weights_licence="see the model card",
        )


def feature_field(channels: int | None, layout: Layout) -> Field:
    """Return the field of a picture's features."""
    return Field(name="z", kind="point", axes=layout, channels=channels, dtype="float16")


_FAMILIES = (
    FeatureFamily(
        name="dinov2",
        title="DINOv2, with and without registers (REPA, RAE)",
        classes=("Dinov2Model", "Dinov2WithRegistersModel"),
        norm_name="layernorm",
    ),
    FeatureFamily(
        name="dinov3",
        title="DINOv3 ViT (SVG)",
        classes=("DINOv3ViTModel",),
        norm_name="norm",
    ),
    FeatureFamily(
        name="siglip",
        title="SigLIP and SigLIP 2 vision, of one size or NaFlex",
        classes=("SiglipVisionModel", "Siglip2VisionModel"),
        norm_name="post_layernorm",
        mean_std=_HALF,
    ),
    FeatureFamily(
        name="mae",
        title="ViT-MAE, nothing masked",
        classes=("ViTMAEModel",),
        norm_name="layernorm",
    ),
)


@cache
def feature_families() -> dict[str, FeatureFamily]:
    """Return every known family of vision models, by name."""
    return {family.name: family for family in _FAMILIES}


def feature_facts() -> tuple[EncoderFacts, ...]:
    """Return the presets of vision features."""
    return tuple(
        EncoderFacts(spec=family.spec(), title=family.title, loader=_LOADER)
        for family in feature_families().values()
    )
