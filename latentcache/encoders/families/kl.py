"""``AutoencoderKL``: Stable Diffusion 1, 2, XL and 3, FLUX.1, and any other (``kl``).

Sources of the published constants: docs/encoders.md, "Known encoders".
"""

from functools import partial
from typing import Literal

from latentcache.encoders.diffusers_encoder import (
    DiffusersEncoder,
    Family,
    build_encoder,
    read_gaussian,
)
from latentcache.encoders.load_options import EncoderOptions
from latentcache.encoders.published_normalizer import channel_figures, standardized
from latentcache.encoders.spec import Normalizer, NormalizerOp
from latentcache.encoders.weights import LoadedModel

PUBLISHED: dict[str, tuple[float, float]] = {
    "sd": (0.18215, 0.0),
    "sdxl": (0.13025, 0.0),
    "sd3": (1.5305, 0.0609),
    "flux": (0.3611, 0.1159),
}
"""(scale, shift) for checkpoints whose config gives no ``scaling_factor``."""


def kl_normalizer(name: str, model: LoadedModel) -> Normalizer | None:
    """Return ``(z - shift) * scale``, or ``(z - mean) * scale / std`` where published.

    Read from config.json itself: the class fills a missing factor with that of SD 1. GLM-Image
    leaves the factor out where there are mean and std, Kandinsky 5 the shift (sources:
    ``pipeline_glm_image.py``, ``pipeline_kandinsky_i2i.py``).
    """
    config, figures = model.config, channel_figures(model)
    if name == "glm-image" and figures is not None:
        return standardized(*figures[:2])
    scale, shift = PUBLISHED.get(name, (None, 0.0))
    is_published = config.get("scaling_factor") is not None
    if is_published:
        scale, shift = float(config["scaling_factor"]), float(config.get("shift_factor") or 0.0)
    if scale is None:
        # With a factor of 1 all rules agree on mean and std.
        return None if figures is None else standardized(*figures[:2])
    if name == "kandinsky5-image":
        shift = 0.0
    source: Literal["config", "preset"] = "config" if is_published else "preset"
    if figures is not None:
        return Normalizer(
            ops=(
                NormalizerOp(op="subtract", values=figures[0]),
                NormalizerOp(op="multiply", values=(scale,)),
                NormalizerOp(op="divide", values=figures[1]),
            ),
            source=source,
        )
    ops = [NormalizerOp(op="subtract", values=(shift,))] if shift else []
    return Normalizer(ops=(*ops, NormalizerOp(op="multiply", values=(scale,))), source=source)


def load_kl_preset(name: str, options: EncoderOptions) -> DiffusersEncoder:
    """Return the ``AutoencoderKL`` at ``options.location`` under preset ``name``."""
    family = Family(
        class_name="AutoencoderKL",
        read_output=read_gaussian,
        read_normalizer=partial(kl_normalizer, name),
    )
    return build_encoder(name, family, options)


load_sd = partial(load_kl_preset, "sd")
load_sdxl = partial(load_kl_preset, "sdxl")
load_sd3 = partial(load_kl_preset, "sd3")
load_flux = partial(load_kl_preset, "flux")
load_kl = partial(load_kl_preset, "kl")
load_glm_image = partial(load_kl_preset, "glm-image")
load_kandinsky5_image = partial(load_kl_preset, "kandinsky5-image")
