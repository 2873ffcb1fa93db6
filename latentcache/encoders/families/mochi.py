"""``AutoencoderKLMochi``: 12 channels, 8 px and 6 frames; whole clips only."""

from latentcache.encoders.load_options import EncoderOptions
from latentcache.encoders.published_normalizer import channel_figures, scaled, standardized
from latentcache.encoders.spec import Normalizer
from latentcache.encoders.video_encoder import VideoEncoder, VideoFamily, build_video_encoder
from latentcache.encoders.weights import LoadedModel


def mochi_normalizer(model: LoadedModel) -> Normalizer:
    """Return ``(z - latents_mean) * scaling_factor / latents_std``.

    The inverse of what ``pipeline_mochi.py`` does before it decodes; figures of the class
    where config.json is silent, as there.
    """
    scale = float(model.module.config.scaling_factor)
    figures = channel_figures(model, or_of_class=True)
    if figures is None:
        is_said = "scaling_factor" in model.config
        return scaled(scale, source="config" if is_said else "class")
    mean, std, source = figures
    return standardized(mean, std, scale=scale, source=source)


FAMILY = VideoFamily(class_name="AutoencoderKLMochi", read_normalizer=mochi_normalizer)


def load_mochi(options: EncoderOptions) -> VideoEncoder:
    """Return the ``AutoencoderKLMochi`` at ``options.location``."""
    return build_video_encoder("mochi", FAMILY, options)
