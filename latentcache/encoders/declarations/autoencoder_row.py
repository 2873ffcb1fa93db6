"""A row of the presets: the lines in which autoencoders of diffusers differ."""

from dataclasses import dataclass, field
from typing import Any

from latentcache.core.frames import FrameRule
from latentcache.encoders.declared import EncoderFacts, posterior_fields
from latentcache.encoders.spec import EncoderSpec, Posterior


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderRow:
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
    input_range: tuple[float, float] = (-1.0, 1.0)
    """Pixels at 0 and 255."""
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
            input_range=self.input_range,
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
