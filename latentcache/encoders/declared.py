"""Facts: what is declared of an encoder before any weight is loaded; a row of the listing."""

from dataclasses import dataclass, replace

from latentcache.core.fields import Field
from latentcache.core.frames import FrameRule
from latentcache.core.media import Bucket
from latentcache.encoders.policy import stored_fields
from latentcache.encoders.shapes import sample_bytes
from latentcache.encoders.spec import EncoderSpec, Posterior, PosteriorPolicy

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


def posterior_fields(posterior: Posterior, axes: str, channels: int | None) -> tuple[Field, ...]:
    """Return ``z`` of a point encoder, or ``mean`` and ``logvar`` of a Gaussian one.

    A log-variance that all channels share is stored once.
    """
    if posterior == "point":
        return (Field(name="z", kind="point", axes=axes, channels=channels, dtype="float16"),)
    mean = Field(name="mean", kind="mean", axes=axes, channels=channels, dtype="float16")
    broadcast = "C" if posterior == "gaussian_shared_logvar" else ""
    return mean, replace(mean, name="logvar", kind="logvar", broadcast=broadcast)
