"""Options: how an encoder is to be loaded, and the choice of device and dtypes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latentcache.core.errors import ConfigError
from latentcache.encoders.spec import PLAIN_SCALAR

if TYPE_CHECKING:
    import torch

COMPUTE_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderOptions:
    """How ``load_encoder`` loads; what an encoder's factory is called with."""

    location: str = ""
    """Folder or hub id of the weights, or any text after ``NAME:``; set by the registry."""
    device: str = "auto"
    """``auto`` is CUDA where there is a device, else the CPU; or any torch device."""
    dtype: str | None = None
    """Compute dtype; None leaves it to the family and the device."""
    is_offline: bool = False
    """Never ask the network for weights; ``HF_HUB_OFFLINE`` says the same."""
    knobs: Mapping[str, PLAIN_SCALAR] = field(default_factory=dict)
    """Value-changing settings of the encoder, e.g. ``{"block": 4}``."""

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in COMPUTE_DTYPES:
            raise ConfigError(
                f"dtype must be one of {', '.join(COMPUTE_DTYPES)}, got {self.dtype!r} "
                "(encoder options); leave it out for the encoder's default"
            )


def choose_device(asked: str) -> "torch.device":
    """Return the device for ``asked``.

    Raises:
        ConfigError: There is no such device here.
    """
    import torch  # noqa: PLC0415  options are read where torch is not wanted yet

    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise ConfigError(
            f"device must be auto, cpu, cuda or cuda:N, got {asked!r} (encoder options); use auto"
        ) from None
    num_cuda = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= num_cuda:
        raise ConfigError(
            f"device must be on this machine, got {asked!r} with {num_cuda} CUDA devices "
            "(encoder options); use cpu"
        )
    return device


def choose_dtype(asked: str | None, *, name: str, default: str, forbidden: frozenset[str]) -> str:
    """Return the compute dtype: ``asked``, or ``default``.

    Raises:
        ConfigError: The encoder forbids what was asked.
    """
    dtype = asked or default
    if dtype in forbidden:
        allowed = [other for other in COMPUTE_DTYPES if other not in forbidden]
        raise ConfigError(
            f"dtype must be one {name} can compute in ({', '.join(allowed)}), got {dtype}; "
            f"it overflows or loses too much in {dtype}, use {allowed[0]}"
        )
    return dtype
