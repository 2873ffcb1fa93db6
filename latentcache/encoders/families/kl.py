"""``AutoencoderKL``: Stable Diffusion 1, 2, XL and 3, FLUX.1, and any other (``kl``).

Sources of the published constants: docs/encoders.md, "Known encoders".
"""

from functools import partial
from typing import Any, Literal

from latentcache.encoders.diffusers_encoder import (
    DiffusersEncoder,
    Family,
    build_encoder,
    read_gaussian,
)
from latentcache.encoders.load_options import EncoderOptions
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

    Read from config.json itself: the class fills a missing factor with that of SD 1.
    """
    config = model.config
    scale, shift = PUBLISHED.get(name, (None, 0.0))
    is_published = config.get("scaling_factor") is not None
    if is_published:
        scale, shift = float(config["scaling_factor"]), float(config.get("shift_factor") or 0.0)
    if scale is None:
        return None
    source: Literal["config", "preset"] = "config" if is_published else "preset"
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean and std:
        return Normalizer(
            ops=(
                NormalizerOp(op="subtract", values=_floats(mean)),
                NormalizerOp(op="multiply", values=(scale,)),
                NormalizerOp(op="divide", values=_floats(std)),
            ),
            source=source,
        )
    ops = [NormalizerOp(op="subtract", values=(shift,))] if shift else []
    return Normalizer(ops=(*ops, NormalizerOp(op="multiply", values=(scale,))), source=source)


def _floats(values: Any) -> tuple[float, ...]:
    """Return one float per channel of a flat or singly nested list."""
    flat: list[float] = []
    for value in values if isinstance(values, (list, tuple)) else [values]:
        flat += _floats(value) if isinstance(value, (list, tuple)) else [float(value)]
    return tuple(flat)


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
