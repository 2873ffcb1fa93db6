"""``AutoencoderKLMochi``: 12 channels, 8 px and 6 frames; whole clips only."""

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.published_normalizer import channel_figures, scaled, standardized
from latentcache.encoders.spec import Normalizer
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


FAMILY = Family(read_normalizer=mochi_normalizer)
