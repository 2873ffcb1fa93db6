"""What the encoder of masks can be told, and what it declares; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.frames import FrameRule
from latentcache.encoders.dct_declared import FLOAT32_ONLY
from latentcache.encoders.declared import EncoderFacts
from latentcache.encoders.spec import EncoderSpec

NAME = "mask"
POOLS = ("area", "nearest")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskConfig:
    """The grid that a mask is brought to, and how."""

    factor: int = 8
    """Pixels per latent cell, down and across."""
    frames: str = ""
    """Rule of the frames of clips, such as 4k+1; "" takes single pictures."""
    pool: str = "area"
    """``area`` averages the pixels and frames of a cell, ``nearest`` takes the one in its middle,
    as labels need."""

    def __post_init__(self) -> None:
        if not 1 <= self.factor <= 128:
            raise ConfigError(f"factor must be 1 to 128 px, got {self.factor} (mask); use 8")
        if self.pool not in POOLS:
            raise ConfigError(f"pool must be area or nearest, got {self.pool!r} (mask)")
        _ = self.rule

    @property
    def rule(self) -> FrameRule:
        """The frames that clips may have."""
        try:
            return FrameRule.parse(self.frames) if self.frames else FrameRule()
        except ValueError as error:
            raise ConfigError(f"{error} (mask)") from None


def mask_spec(config: MaskConfig) -> EncoderSpec:
    """Return the spec of a ``MaskEncoder`` with this config."""
    is_video = bool(config.frames)
    axes = "CTHW" if is_video else "CHW"
    return EncoderSpec(
        name=NAME,
        impl="latentcache.mask",
        impl_version=1,
        modality="video" if is_video else "image",
        fields=(Field(name="z", kind="point", axes=axes, channels=1, dtype="uint8"),),
        posterior="point",
        input_range=(0.0, 1.0),
        spatial_factor=(config.factor, config.factor),
        multiple_of=(config.factor, config.factor),
        frame_rule=config.rule,
        compute_dtype="float32",
        weights_digest="",
        forbidden_dtypes=FLOAT32_ONLY,
        knobs={"factor": config.factor, "frames": config.frames, "pool": config.pool},
        weights_licence="none needed",
    )


def mask_facts() -> EncoderFacts:
    """Return the line of the listing."""
    return EncoderFacts(spec=mask_spec(MaskConfig()), title="masks on the grid of a column")


def on_grid_of(column: str, spec: Mapping[str, Any], pool: str) -> str:
    """Return the encoder that brings masks to the grid of a column, as on the command line.

    Args:
        column: Its name, for the sentence.
        spec: That its record keeps.
        pool: Of ``POOLS``; "" is the default.

    Raises:
        ConfigError: Its cells are no whole pixels of a square, or it has none.
    """
    rule = FrameRule.from_spec(spec) or FrameRule()
    down, across = (spec.get("spatial_factor") or (0, 0))[:2]
    is_video = spec.get("modality") == "video"
    is_plain = rule.latent_first == rule.latent_step == 1
    if spec.get("modality") not in ("image", "video") or down != across or not is_plain:
        raise ConfigError(
            f"mask must be brought to a column of square cells with one latent frame a group, got "
            f"{column} ({spec.get('name')}); say the grid itself: mask:factor=8,frames=4k+1"
        )
    frames = f",frames={rule.step}k+{rule.first}" if is_video else ""
    return f"{NAME}:factor={down}{frames}{f',pool={pool}' if pool else ''}"
