"""``AutoencoderKLMochi``: 12 channels, 8 px and 6 frames; whole clips only."""

from latentcache.encoders.load_options import EncoderOptions
from latentcache.encoders.published_normalizer import scaled, standardized
from latentcache.encoders.spec import Normalizer
from latentcache.encoders.video_encoder import VideoEncoder, VideoFamily, build_video_encoder
from latentcache.encoders.weights import LoadedModel


def mochi_normalizer(model: LoadedModel) -> Normalizer:
    """Return ``(z - latents_mean) * scaling_factor / latents_std``.

    The inverse of what ``pipeline_mochi.py`` does before it decodes.
    """
    config = model.config
    scale = float(config.get("scaling_factor") or 1.0)
    mean, std = config.get("latents_mean"), config.get("latents_std")
    return standardized(mean, std, scale=scale) if mean and std else scaled(scale)


FAMILY = VideoFamily(class_name="AutoencoderKLMochi", read_normalizer=mochi_normalizer)


def load_mochi(options: EncoderOptions) -> VideoEncoder:
    """Return the ``AutoencoderKLMochi`` at ``options.location``."""
    return build_video_encoder("mochi", FAMILY, options)
