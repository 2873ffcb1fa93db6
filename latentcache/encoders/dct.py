"""``dct``: a weight-free autoencoder for images, the embedded default and the tests' oracle.

Pixels are cut into blocks and each block is rotated by an orthonormal basis: the 3-point
DCT-II over the colour axis (brightness, red against blue, green against magenta) and the
two-dimensional DCT-II over space, as in JPEG. Each colour plane keeps its lowest
coefficients in zig-zag order; these are the channels. Since the basis is orthonormal,
decoding is the transpose, and the squared error of a reconstruction is exactly the energy
of the coefficients left out.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from latentcache.core.config import config_from_mapping
from latentcache.encoders.arithmetic import pinned_arithmetic
from latentcache.encoders.dct_declared import FLOAT32_ONLY, DctConfig, dct_spec
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.shapes import check_batch
from latentcache.encoders.spec import SampleMeta


def dct_matrix(size: int) -> torch.Tensor:
    """Return the orthonormal DCT-II, float64 (frequency, position); transpose to invert."""
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    position = torch.arange(size, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * (position + 0.5) * frequency / size) * math.sqrt(2.0 / size)
    matrix[0] /= math.sqrt(2.0)
    return matrix


def zigzag(block: int) -> list[tuple[int, int]]:
    """Return the (vertical, horizontal) frequencies of a block from low to high, as in JPEG."""

    def place(frequency: tuple[int, int]) -> tuple[int, int]:
        diagonal = sum(frequency)
        return diagonal, frequency[0] if diagonal % 2 else frequency[1]

    return sorted(((u, v) for u in range(block) for v in range(block)), key=place)


def dct_basis(block: int, kept_per_plane: Sequence[int]) -> torch.Tensor:
    """Return the kept basis images, float32 (channel, colour, block, block), orthonormal."""
    colour, space = dct_matrix(3), dct_matrix(block)
    order = zigzag(block)
    images = [
        torch.einsum("c,y,x->cyx", colour[plane], space[u], space[v])
        for plane, kept in enumerate(kept_per_plane)
        for u, v in order[:kept]
    ]
    return torch.stack(images).float()


def project_image(pixels_CHW: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Return one image's coefficients, (channel, H / block, W / block).

    One image a call: a row's bits then depend neither on its neighbours nor on the batch.
    """
    return torch.nn.functional.conv2d(pixels_CHW[None], basis, stride=basis.shape[-1])[0]


def restore_image(z_CHW: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Return one image's pixels from its coefficients: the transpose of ``project_image``."""
    return torch.nn.functional.conv_transpose2d(z_CHW[None], basis, stride=basis.shape[-1])[0]


class DctEncoder:
    """The image autoencoder of this module; see there."""

    def __init__(self, options: EncoderOptions | None = None) -> None:
        options = options or EncoderOptions()
        config = config_from_mapping(DctConfig, options.knobs, where="dct")
        self.device = choose_device(options.device)
        dtype = choose_dtype(options.dtype, name="dct", default="float32", forbidden=FLOAT32_ONLY)
        self._basis = dct_basis(config.block, config.kept_per_plane).to(self.device)
        self.spec = dct_spec(config, compute_dtype=dtype)

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return ``z`` of every image, float32 CHW."""
        check_batch(self.spec, pixels, metas)
        with pinned_arithmetic(self.device, allow_tf32=False):
            return [{"z": project_image(row, self._basis)} for row in pixels.float()]

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return pixels BCHW of a batch of ``z``."""
        z_BCHW = fields["z"].to(self.device, torch.float32)
        with pinned_arithmetic(self.device, allow_tf32=False):
            return torch.stack([restore_image(row, self._basis) for row in z_BCHW])

    def reset(self) -> None:
        """Do nothing: there is no state."""
