"""What the two weight-free encoders can be told, and what they declare; needs no torch."""

from dataclasses import dataclass, replace

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.frames import FrameRule
from latentcache.encoders.spec import EncoderSpec

FLOAT32_ONLY = frozenset({"float16", "bfloat16"})
GROUP_FRAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DctConfig:
    """How much of each block is kept.

    The default leaves 16 channels at a factor of 8, the shape of an SD3 or FLUX.1 latent,
    and reconstructs photos of 256 px at 26.5 dB (24 COCO photos, 2026-11-22).
    """

    block: int = 8
    """Edge of a block in pixels; the spatial factor."""
    keep_luma: int = 10
    """Coefficients kept of the brightness plane."""
    keep_chroma: int = 3
    """Coefficients kept of each of the two colour planes."""
    keep: int = 0
    """If not 0: coefficients kept of every plane, instead of the two above."""

    def __post_init__(self) -> None:
        if not 2 <= self.block <= 64:
            raise ConfigError(f"block must be 2 to 64 px, got {self.block} (dct); use 8")
        most = self.block**2
        for name in ("keep",) if self.keep else ("keep_luma", "keep_chroma"):
            kept = getattr(self, name)
            if not 1 <= kept <= most:
                raise ConfigError(
                    f"{name} must be 1 to {most} for blocks of {self.block} px, got {kept} (dct); "
                    "keep fewer or use larger blocks"
                )

    @property
    def kept_per_plane(self) -> tuple[int, int, int]:
        """Coefficients kept of brightness and the two colour planes."""
        if self.keep:
            return (self.keep, self.keep, self.keep)
        return (self.keep_luma, self.keep_chroma, self.keep_chroma)


@dataclass(frozen=True, slots=True, kw_only=True)
class DctVideoConfig:
    """How much is kept of a group's mean, and of each of its three differences."""

    block: int = 8
    """Edge of a block in pixels; the spatial factor."""
    keep_luma: int = 10
    """Brightness coefficients kept of the mean."""
    keep_chroma: int = 3
    """Coefficients kept of the mean's two colour planes."""
    motion_luma: int = 6
    """Brightness coefficients kept of each difference."""
    motion_chroma: int = 1
    """Coefficients kept of each difference's two colour planes."""

    def __post_init__(self) -> None:
        DctConfig(block=self.block, keep_luma=self.keep_luma, keep_chroma=self.keep_chroma)
        pairs = (("luma", self.keep_luma), ("chroma", self.keep_chroma))
        for plane, most in pairs:
            kept = getattr(self, f"motion_{plane}")
            if not 1 <= kept <= most:
                raise ConfigError(
                    f"motion_{plane} must be 1 to keep_{plane} = {most}, got {kept} (dct-video); "
                    "keep no more of the differences than of the mean"
                )


def dct_spec(config: DctConfig, *, compute_dtype: str = "float32") -> EncoderSpec:
    """Return the spec of a ``DctEncoder`` with this config."""
    kept = config.kept_per_plane
    return EncoderSpec(
        name="dct",
        impl="latentcache.dct",
        impl_version=1,
        modality="image",
        fields=(Field(name="z", kind="point", axes="CHW", channels=sum(kept), dtype="float16"),),
        posterior="point",
        input_range=(-1.0, 1.0),
        spatial_factor=(config.block, config.block),
        multiple_of=(config.block, config.block),
        compute_dtype=compute_dtype,
        weights_digest="",
        forbidden_dtypes=FLOAT32_ONLY,
        knobs={"block": config.block, "keep_luma": kept[0], "keep_chroma": kept[1]},
        weights_licence="none needed",
    )


def dct_video_spec(config: DctVideoConfig, *, compute_dtype: str = "float32") -> EncoderSpec:
    """Return the spec of a ``DctVideoEncoder`` with this config."""
    image = dct_spec(DctConfig(block=config.block), compute_dtype=compute_dtype)
    num_mean = config.keep_luma + 2 * config.keep_chroma
    num_motion = config.motion_luma + 2 * config.motion_chroma
    knobs = {name: getattr(config, name) for name in DctVideoConfig.__dataclass_fields__}
    channels = num_mean + 3 * num_motion
    return replace(
        image,
        name="dct-video",
        impl="latentcache.dct_video",
        modality="video",
        fields=(Field(name="z", kind="point", axes="CTHW", channels=channels, dtype="float16"),),
        frame_rule=FrameRule(first=1, step=GROUP_FRAMES),
        is_causal=True,
        streaming="exact",
        knobs=knobs,
    )
