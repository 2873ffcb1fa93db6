"""Facts: what is declared of an encoder before any weight is loaded; a row of the listing."""

from dataclasses import dataclass, replace

from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.encoders.policy import stored_fields
from latentcache.encoders.shapes import member_bytes, sample_bytes
from latentcache.encoders.spec import EncoderSpec, Posterior, PosteriorPolicy

NO_FP16 = frozenset({"float16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFacts:
    """One row of ``latentcache encoders``: a preset."""

    spec: EncoderSpec
    """What is declared; the weights' digest and the normalizer are the loaded one's."""
    title: str
    """What it is, in a few words."""
    family: str = ""
    """File in ``families`` that reads its diffusers class; "" of one without weights."""
    loader: str = ""
    """Module with ``load_preset`` and ``check_files``, where it is no diffusers class."""
    is_float32_on_gpu: bool = False
    """Defaults to float32 on a GPU, where others use bfloat16."""

    @property
    def name(self) -> str:
        """As on the command line."""
        return self.spec.name

    @property
    def needs_weights(self) -> bool:
        """A folder or hub id must be given."""
        return bool(self.family or self.loader)

    @property
    def class_name(self) -> str:
        """The diffusers class that its weights must be of; "" of one without weights."""
        return self.spec.impl.rpartition(".")[2] if self.family else ""

    @property
    def is_sized(self) -> bool:
        """Whether the size of a latent is known before the weights are."""
        return all(field.channels is not None for field in self.spec.fields if "C" in field.axes)

    @property
    def latent_channels(self) -> int | None:
        """Channels of the mean or point; None where the weights decide."""
        return self.spec.fields[0].channels

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
        if not self.is_sized:
            return None
        return sample_bytes(self.spec, stored_fields(self.spec, policy, storage_dtype), bucket)

    def bytes_per_second(
        self,
        height_px: int,
        width_px: int,
        frame_rate_fps: float,
        policy: PosteriorPolicy = "moments",
    ) -> float | None:
        """Return payload bytes of a second in the midst of a long clip; None where there is none.

        The first latent frame, which some encoders make of one frame, is not counted.
        """
        rule = self.spec.frame_rule
        if self.spec.modality != "video" or not self.is_sized:
            return None
        if self.refusal(Bucket(rule.first, height_px, width_px)) is not None:
            return None
        shorter, longer = (
            self.bytes_per_sample(
                Bucket(rule.first + k * rule.step, height_px, width_px), None, policy
            )
            for k in (1, 2)
        )
        if shorter is None or longer is None:
            return None
        return (longer - shorter) / rule.step * frame_rate_fps

    @property
    def dtype_on_gpu(self) -> str:
        """Compute dtype on a GPU, if nothing is asked and config.json does not say otherwise."""
        is_wide = self.is_float32_on_gpu or not self.needs_weights
        return "float32" if is_wide else "bfloat16"

    def bytes_in_tar(
        self,
        bucket: Bucket,
        storage_dtype: str | None = None,
        policy: PosteriorPolicy = "moments",
    ) -> int | None:
        """Return what a sample takes in a tar; None where it does not fit or the weights decide.

        Raises:
            ConfigError: The dtype or policy is unknown.
        """
        if not self.is_sized or self.refusal(bucket) is not None:
            return None
        return member_bytes(self.spec, stored_fields(self.spec, policy, storage_dtype), bucket)


def posterior_fields(posterior: Posterior, axes: str, channels: int | None) -> tuple[Field, ...]:
    """Return ``z`` of a point encoder, or ``mean`` and ``logvar`` of a Gaussian one.

    A log-variance that all channels share is stored once.
    """
    if posterior == "point":
        return (Field(name="z", kind="point", axes=axes, channels=channels, dtype="float16"),)
    mean = Field(name="mean", kind="mean", axes=axes, channels=channels, dtype="float16")
    broadcast = "C" if posterior == "gaussian_shared_logvar" else ""
    return mean, replace(mean, name="logvar", kind="logvar", broadcast=broadcast)
