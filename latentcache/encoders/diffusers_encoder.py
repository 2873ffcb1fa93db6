"""The encoder that all diffusers image autoencoders share; families differ in what they read.

A family's file says how to read the output of its class and where its normalisation is
published, and calls ``build_encoder``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import EncoderError
from latentcache.core.fields import STATISTICS_FIELDS
from latentcache.encoders.arithmetic import pinned_arithmetic
from latentcache.encoders.declared import NO_FP16, EncoderFacts
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.presets import known_encoders
from latentcache.encoders.shapes import check_batch
from latentcache.encoders.spec import EncoderSpec, Normalizer, SampleMeta
from latentcache.encoders.weights import LoadedModel, load_model

ReadOutput = Callable[[Any], dict[str, torch.Tensor]]

MODEL_ERRORS = (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
"""What a model raises in its forward pass when its config.json makes no sense."""

_PROBE_PX = (64, 96)
"""Two unequal edges, so that swapped axes show; multiples of every factor up to 32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersKnobs:
    """What a user may set of a diffusers encoder besides its dtype."""

    allow_tf32: bool = True
    """CUDA convolutions may round float32 inputs to 10 bits, 8 times finer than bfloat16.
    Without effect on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one diffusers class is read.

    Attributes:
        class_name: In the ``diffusers`` package.
        read_output: From what ``encode`` returns to fields, BCHW each.
        read_normalizer: Published normalisation of a loaded model, if there is one.
        pixel_patch: Latent cells that the DiT's space joins per edge; sizes must divide.
    """

    class_name: str
    read_output: ReadOutput
    read_normalizer: Callable[[LoadedModel], Normalizer | None]
    pixel_patch: int = 1


class DiffusersEncoder:
    """One loaded image autoencoder."""

    def __init__(
        self, module: Any, spec: EncoderSpec, device: torch.device, read_output: ReadOutput
    ) -> None:
        self.spec = spec
        self.device = device
        self._module = module
        self._read_output = read_output
        self._dtype: torch.dtype = getattr(torch, spec.compute_dtype)
        self._allow_tf32 = bool(spec.knobs["allow_tf32"])

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of every image, float32 CHW."""
        check_batch(self.spec, pixels, metas)
        batch = encode_fields(
            self._module,
            pixels.to(self.device, self._dtype),
            self._read_output,
            allow_tf32=self._allow_tf32,
        )
        return [{name: values[row] for name, values in batch.items()} for row in range(len(pixels))]

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return pixels BCHW of a batch of ``mean``, ``z`` or ``sample``."""
        name = next(name for name in STATISTICS_FIELDS if name in fields)
        latents = fields[name].to(self.device, self._dtype)
        with pinned_arithmetic(self.device, allow_tf32=self._allow_tf32):
            pixels: torch.Tensor = self._module.decode(latents).sample
        return pixels.float()

    def reset(self) -> None:
        """Give cached memory back; image autoencoders keep no state between calls."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def encode_fields(
    module: Any, pixels: torch.Tensor, read_output: ReadOutput, *, allow_tf32: bool
) -> dict[str, torch.Tensor]:
    """Return the fields of a batch, float32 BCHW."""
    with pinned_arithmetic(pixels.device, allow_tf32=allow_tf32):
        fields = read_output(module.encode(pixels))
        return {name: values.float() for name, values in fields.items()}


def build_encoder(name: str, family: Family, options: EncoderOptions) -> DiffusersEncoder:
    """Return the encoder of preset ``name`` with the weights at ``options.location``.

    Raises:
        ConfigError: The device, the dtype or a knob is wrong.
        EncoderError: The weights are not what the preset promises.
    """
    facts = known_encoders()[name]
    knobs = config_from_mapping(DiffusersKnobs, options.knobs, where=f"encoder {name}")
    device = choose_device(options.device)
    # Asked again below; here because a wrong dtype should not cost a download.
    choose_dtype(options.dtype, name=name, default="float32", forbidden=facts.spec.forbidden_dtypes)
    model = load_model(family.class_name, options.location, is_offline=options.is_offline)
    channels = _checked_channels(facts, model, label=options.location)
    dtype, forbidden = resolve_dtypes(facts, model, options.dtype, device)
    normalizer = family.read_normalizer(model)  # before the cast, which rounds its buffers
    # torch's own `to`: that of diffusers warns of modules to keep in float32, even of none.
    module: Any = torch.nn.Module.to(model.module, device, getattr(torch, dtype))
    module.disable_tiling()
    module.disable_slicing()
    factor = probe_factor(module, family.read_output, channels, label=options.location)
    spec = replace(
        facts.spec,
        fields=tuple(replace(field, channels=channels) for field in facts.spec.fields),
        spatial_factor=factor,
        multiple_of=(factor[0] * family.pixel_patch, factor[1] * family.pixel_patch),
        compute_dtype=dtype,
        forbidden_dtypes=forbidden,
        weights_digest=model.digest,
        former_digests=model.former_digests,
        normalizer=normalizer,
        knobs={"tiling": False, "slicing": False, "allow_tf32": knobs.allow_tf32},
    )
    return DiffusersEncoder(module, spec, device, family.read_output)


def probe_factor(
    module: Any, read_output: ReadOutput, channels: int, *, label: str
) -> tuple[int, int]:
    """Return pixels per latent cell, (vertical, horizontal), as one encode shows them.

    Raises:
        EncoderError: The model fails, or its output has another shape than a grid of
            ``channels``, or is not finite.
    """
    grey = torch.zeros((1, 3, *_PROBE_PX), device=module.device, dtype=module.dtype)
    try:
        fields = encode_fields(module, grey, read_output, allow_tf32=True)
    except MODEL_ERRORS as error:
        raise EncoderError(
            f"weights must encode 3 x {_PROBE_PX[0]} x {_PROBE_PX[1]} px, got a failure ({label}: "
            f"{error_line(error)}); check config.json, or use the preset of these weights"
        ) from error
    for name, values in fields.items():
        _, found, height, width = values.shape
        if found != channels or _PROBE_PX[0] % height or _PROBE_PX[1] % width:
            raise EncoderError(
                f"latents must be a grid of {channels} channels, got {tuple(values.shape)} for "
                f"{_PROBE_PX[0]}x{_PROBE_PX[1]} px ({label}, field {name}); check config.json"
            )
        if not bool(torch.isfinite(values).all()):
            raise EncoderError(
                f"latents of a grey image must be finite, got NaN or infinity ({label}, "
                f"{module.dtype}); compute in float32"
            )
    return _PROBE_PX[0] // height, _PROBE_PX[1] // width


def _checked_channels(facts: EncoderFacts, model: LoadedModel, *, label: str) -> int:
    config = model.module.config
    if config.in_channels != facts.spec.input_channels:
        raise EncoderError(
            f"weights must take {facts.spec.input_channels} colour channels for {facts.name}, "
            f"got {config.in_channels} ({label}); use other weights or write an adapter"
        )
    channels = int(config.latent_channels)
    if facts.latent_channels not in (None, channels):
        raise EncoderError(
            f"weights must have {facts.latent_channels} latent channels for {facts.name}, got "
            f"{channels} ({label}); use the preset of these weights, or kl:{label} if they are "
            "an AutoencoderKL of another kind"
        )
    return channels


def resolve_dtypes(
    facts: EncoderFacts, model: LoadedModel, asked: str | None, device: torch.device
) -> tuple[str, frozenset[str]]:
    """Return the compute dtype and the forbidden ones.

    ``force_upcast`` in a config is only advice, and nothing in diffusers' ``encode``
    enforces it: here it forbids float16 and makes float32 a GPU's default.
    """
    is_delicate = bool(model.config.get("force_upcast"))
    forbidden = facts.spec.forbidden_dtypes | (NO_FP16 if is_delicate else frozenset())
    is_wide = device.type == "cpu" or facts.is_float32_on_gpu or is_delicate
    default = "float32" if is_wide else "bfloat16"
    return choose_dtype(asked, name=facts.name, default=default, forbidden=forbidden), forbidden


def error_line(error: Exception) -> str:
    """Return what an error says in one line, its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_gaussian(output: Any) -> dict[str, torch.Tensor]:
    """Return ``mean`` and ``logvar`` of an output with ``latent_dist``."""
    return {"mean": output.latent_dist.mean, "logvar": output.latent_dist.logvar}
