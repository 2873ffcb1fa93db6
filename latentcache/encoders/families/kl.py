"""``AutoencoderKL``: Stable Diffusion 1, 2, XL and 3, FLUX.1, and any other (``kl``).

``AsymmetricAutoencoderKL`` differs in its decoder alone.

Sources of the published constants: docs/encoders.md, "Known encoders".
"""

from functools import partial
from typing import Literal

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.published_normalizer import channel_figures, standardized
from latentcache.encoders.spec import Normalizer, NormalizerOp
from latentcache.encoders.weights import LoadedModel


def kl_normalizer(
    model: LoadedModel, *, published: tuple[float, float] | None = None, is_shifted: bool = True
) -> Normalizer | None:
    """Return ``(z - shift) * scale``, or ``(z - mean) * scale / std`` where published.

    Read from config.json itself: the class fills a missing factor with that of SD 1.

    Args:
        model: Loaded.
        published: Scale and shift for checkpoints whose config gives no ``scaling_factor``.
        is_shifted: Kandinsky 5 leaves the shift out (``pipeline_kandinsky_i2i.py``).
    """
    config, figures = model.config, channel_figures(model)
    source: Literal["config", "preset"] = "preset"
    if config.get("scaling_factor") is not None:
        published = float(config["scaling_factor"]), float(config.get("shift_factor") or 0.0)
        source = "config"
    if published is None:
        # With a factor of 1 all rules agree on mean and std.
        return None if figures is None else standardized(*figures[:2])
    scale, shift = published
    multiply = NormalizerOp(op="multiply", values=(scale,))
    if figures is not None:
        subtract = NormalizerOp(op="subtract", values=figures[0])
        divide = NormalizerOp(op="divide", values=figures[1])
        return Normalizer(ops=(subtract, multiply, divide), source=source)
    if shift and is_shifted:
        subtract = NormalizerOp(op="subtract", values=(shift,))
        return Normalizer(ops=(subtract, multiply), source=source)
    return Normalizer(ops=(multiply,), source=source)


def glm_normalizer(model: LoadedModel) -> Normalizer | None:
    """Return mean and std without the factor, as ``pipeline_glm_image.py``, where published."""
    figures = channel_figures(model)
    return kl_normalizer(model) if figures is None else standardized(*figures[:2])


FAMILY = Family(
    read_normalizer=kl_normalizer,
    preset_normalizers={
        "sd": partial(kl_normalizer, published=(0.18215, 0.0)),
        "asymmetric": partial(kl_normalizer, published=(0.18215, 0.0)),
        "sdxl": partial(kl_normalizer, published=(0.13025, 0.0)),
        "sd3": partial(kl_normalizer, published=(1.5305, 0.0609)),
        "flux": partial(kl_normalizer, published=(0.3611, 0.1159)),
        "glm-image": glm_normalizer,
        "kandinsky5-image": partial(kl_normalizer, is_shifted=False),
    },
)
