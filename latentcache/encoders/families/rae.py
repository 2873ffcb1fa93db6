"""``AutoencoderRAE``: a frozen vision model (DINOv2, SigLIP 2, MAE), and a decoder of its tokens.

Its ``encode`` resizes whatever comes to one square, without a word, so here it takes that square
alone: the picture its decoder gives back. What it gives is normalized already, by buffers that
hold the published mean and deviation: nothing is left for the loader. A ``scaling_factor`` other
than 1 is multiplied into the latents too, and so belongs to the fingerprint (of the other classes
it does not).
"""

from typing import Any

from latentcache.core.errors import EncoderError
from latentcache.encoders.autoencoder import DiffusersKnobs, Family
from latentcache.encoders.families.dc import read_latent
from latentcache.encoders.spec import PLAIN_SCALAR, Normalizer
from latentcache.encoders.weights import LoadedModel


def normalized_already(model: LoadedModel) -> Normalizer:
    """Return no step.

    Raises:
        EncoderError: The weights leave tokens without a grid.
    """
    if not model.module.config.reshape_to_2d:
        raise EncoderError(
            "weights must have reshape_to_2d for rae, got tokens without a grid; take the tokens "
            "of the vision model itself, for instance with dinov2:WEIGHTS"
        )
    return Normalizer(ops=(), source="buffer")


def only_square(module: Any) -> tuple[int, int]:
    """Return height and width of the pictures that its decoder gives, px."""
    return module.decoder_image_size, module.decoder_image_size


def with_scale(module: Any, _knobs: DiffusersKnobs) -> dict[str, PLAIN_SCALAR]:
    """Return what ``encode`` multiplies by."""
    return {"scaling_factor": float(module.config.scaling_factor)}


FAMILY = Family(
    read_normalizer=normalized_already,
    read_output=read_latent,
    only_size=only_square,
    set_knobs=with_scale,
)
