"""The encoder that all diffusers autoencoders share, of images and of clips.

An image is a clip of one frame without a time axis. A family's file says how its class is read,
normalized and, where it can be, cut into groups of frames; the presets say the rest.
"""

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import EncoderError, first_line
from latentcache.core.fields import STATISTICS_FIELDS
from latentcache.encoders.arithmetic import pinned_arithmetic
from latentcache.encoders.declared import NO_FP16, EncoderFacts
from latentcache.encoders.frame_chunks import Fields, GroupCoder, GroupStream, encode_groups
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.shapes import check_batch
from latentcache.encoders.spec import PLAIN_SCALAR, EncoderSpec, Normalizer, SampleMeta
from latentcache.encoders.typed_path import presets_of
from latentcache.encoders.weights import LoadedModel, load_model

ReadNormalizer = Callable[[LoadedModel], Normalizer | None]

_MODEL_ERRORS = (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
"""What a model raises in its forward pass when its config.json makes no sense."""

_PROBE_PX = (64, 96)
"""Two unequal edges, so that swapped axes show; multiples of every factor up to 32."""

_TILING_FLAGS = (
    *("use_tiling", "use_slicing"),
    # Some classes ask the second one when they encode: docs/encoders.md, "In time".
    *("use_framewise_encoding", "use_framewise_decoding"),
)

_META = SampleMeta(key="")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersKnobs:
    """What a user may set of a diffusers encoder besides its dtype."""

    allow_tf32: bool = True
    """CUDA convolutions may round float32 inputs to 10 bits, 8 times finer than bfloat16.
    Without effect on a CPU."""


def read_gaussian(output: Any) -> Fields:
    """Return ``mean`` and ``logvar`` of an output with ``latent_dist``."""
    return {"mean": output.latent_dist.mean, "logvar": output.latent_dist.logvar}


def decode_whole(module: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return pixels, as most classes decode."""
    pixels: torch.Tensor = module.decode(latents).sample
    return pixels


def _as_it_is(_module: Any, _knobs: DiffusersKnobs) -> dict[str, PLAIN_SCALAR]:
    return {}


def _unchanged(_module: Any, pixels: torch.Tensor) -> torch.Tensor:
    return pixels


def _any_size(_module: Any) -> tuple[int, int] | None:
    return None


def _no_coder(_module: Any) -> GroupCoder | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one diffusers class is read; a file in ``families`` holds one as ``FAMILY``."""

    read_normalizer: ReadNormalizer
    """Published normalization of a loaded model, if there is one."""
    preset_normalizers: Mapping[str, ReadNormalizer] = field(default_factory=dict)
    """Instead of it, for the presets that use the class's latents in another way."""
    prepare: Callable[[Any, torch.Tensor], torch.Tensor] = _unchanged
    """From pixels in the spec's range and layout to what ``encode`` of the class takes."""
    read_output: Callable[[Any], Fields] = read_gaussian
    """From what ``encode`` returns to fields: BCHW each of images, BCTHW of clips."""
    make_coder: Callable[[Any], GroupCoder | None] = _no_coder
    """Makes what encodes group by group, if the class as pinned allows it."""
    decode: Callable[[Any, torch.Tensor], torch.Tensor] = decode_whole
    """From latents to pixels."""
    knobs: type[DiffusersKnobs] = DiffusersKnobs
    """What a user may set."""
    set_knobs: Callable[[Any, Any], dict[str, PLAIN_SCALAR]] = _as_it_is
    """Sets the module's flags, all off until then; returns what to record besides or instead."""
    only_size: Callable[[Any], tuple[int, int] | None] = _any_size
    """Height and width of the only pictures that the class takes, px."""


class Autoencoder:
    """One loaded autoencoder.

    Threads take turns: several of these classes keep state in the module while they run,
    and two calls at once give wrong shapes or wrong values without an error.
    """

    def __init__(
        self, module: Any, spec: EncoderSpec, device: torch.device, family: Family
    ) -> None:
        self.device = device
        self._module = module
        self._family = family
        self._coder = family.make_coder(module)
        if self._coder is not None and spec.streaming == "none":
            spec = replace(spec, streaming="exact", streaming_refusal="")
        self.spec = spec
        self._dtype: torch.dtype = getattr(torch, spec.compute_dtype)
        self._turn = threading.Lock()

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of every sample, float32: CHW of an image, CTHW of a clip."""
        check_batch(self.spec, pixels, metas)
        batch = self._run(self._encode, pixels)
        return [{name: values[row] for name, values in batch.items()} for row in range(len(pixels))]

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return pixels, BCHW or BCTHW, of a batch of ``mean``, ``z`` or ``sample``."""
        name = next(name for name in STATISTICS_FIELDS if name in fields)

        def decode(latents: torch.Tensor) -> Fields:
            return {"pixels": self._family.decode(self._module, latents)}

        return self._run(decode, fields[name])["pixels"]

    def open(self, height_px: int, width_px: int) -> GroupStream:
        """Return a new stream for one clip of that size.

        Raises:
            EncoderError: This encoder takes whole clips or images only, or no such size.
        """
        spec, coder = self.spec, self._coder
        if spec.streaming == "none" or coder is None:
            why = spec.streaming_refusal or "it takes single images; use an encoder of clips"
            raise EncoderError(f"streaming must be possible, got {spec.name}: {why}")
        check_batch(spec, torch.zeros((1, 3, spec.frame_rule.first, height_px, width_px)), [_META])
        return GroupStream(spec, coder, self._run, (height_px, width_px))

    def reset(self) -> None:
        """Drop what the model keeps between calls after an error, and cached memory."""
        with self._turn:
            if hasattr(self._module, "clear_cache"):
                self._module.clear_cache()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _run(self, compute: Callable[[torch.Tensor], Fields], values: torch.Tensor) -> Fields:
        """Return float32 results of ``compute``, alone on the module, in pinned arithmetic."""
        with (
            self._turn,
            pinned_arithmetic(self.device, allow_tf32=bool(self.spec.knobs["allow_tf32"])),
        ):
            fields = compute(values.to(self.device, self._dtype))
            return {name: values.float() for name, values in fields.items()}

    def _encode(self, pixels: torch.Tensor) -> Fields:
        # Where groups are exact, whole clips take the same path, and so the same bits.
        if self._coder is not None and self.spec.streaming == "exact":
            return encode_groups(self._coder, pixels)
        prepared = self._family.prepare(self._module, pixels)
        return self._family.read_output(self._module.encode(prepared))


def load_autoencoder(facts: EncoderFacts, options: EncoderOptions) -> Autoencoder:
    """Return the encoder of a preset with the weights at ``options.location``.

    Raises:
        ConfigError: The device, the dtype or a knob is wrong.
        EncoderError: The weights are not what the preset promises.
    """
    name, declared = facts.name, facts.spec
    family: Family = importlib.import_module(f"{__package__}.families.{facts.family}").FAMILY
    knobs = config_from_mapping(family.knobs, options.knobs, where=f"encoder {name}")
    device = choose_device(options.device)
    # Asked again below; here because a wrong dtype should not cost a download.
    choose_dtype(options.dtype, name=name, default="float32", forbidden=declared.forbidden_dtypes)
    model = load_model(facts.class_name, options.location, is_offline=options.is_offline)
    dtype, forbidden = _dtypes(facts, model, options.dtype, device)
    read_normalizer = family.preset_normalizers.get(name, family.read_normalizer)
    normalizer = read_normalizer(model)  # before the cast, which rounds its buffers
    # torch's own `to`: that of diffusers warns of modules to keep in float32, even of none.
    module: Any = torch.nn.Module.to(model.module, device, getattr(torch, dtype))
    spec = replace(
        declared,
        compute_dtype=dtype,
        forbidden_dtypes=forbidden,
        weights_digest=model.digest,
        former_digests=model.former_digests,
        notes=model.notes,
        normalizer=normalizer,
        fixed_size=family.only_size(module),
        knobs={**_pinned_whole(module, declared, knobs), **family.set_knobs(module, knobs)},
    )
    encoder = Autoencoder(module, spec, device, family)
    encoder.spec = _probed(encoder, label=options.location)
    return encoder


def _pinned_whole(
    module: Any, declared: EncoderSpec, knobs: DiffusersKnobs
) -> dict[str, PLAIN_SCALAR]:
    """Switch off all tiling and slicing, in space and time; return the knobs to record."""
    for flag in _TILING_FLAGS:
        if hasattr(module, flag):
            setattr(module, flag, False)
    in_time = {"framewise": False} if declared.modality == "video" else {}
    return {"tiling": False, "slicing": False, **in_time, "allow_tf32": knobs.allow_tf32}


def _dtypes(
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


def _probed(encoder: Autoencoder, *, label: str) -> EncoderSpec:
    """Return the spec with the channels and the factor that encoding grey shows.

    Raises:
        EncoderError: The model fails, or its latents are not the preset's, or not finite.
    """
    spec, rule = encoder.spec, encoder.spec.frame_rule
    num_frames = rule.first + rule.step if spec.modality == "video" else 1
    times = (num_frames,) if spec.modality == "video" else ()
    size_px = spec.fixed_size or _PROBE_PX
    grey = torch.zeros((1, spec.input_channels, *times, *size_px))
    size = " x ".join(str(edge) for edge in grey.shape[1:])
    try:
        fields = encoder.encode(grey, [_META])[0]
    except _MODEL_ERRORS as error:
        raise EncoderError(
            f"weights must encode {size} for {spec.name}, got a failure ({label}: "
            f"{first_line(error)}); use the preset of these weights"
        ) from error
    finally:
        encoder.reset()
    channels = spec.fields[0].channels or fields[spec.fields[0].name].shape[0]
    expected = (channels, *((rule.num_latent_frames(num_frames),) if times else ()))
    for name, values in fields.items():
        cells = values.shape[len(expected) :]
        if values.shape[: len(expected)] != expected or any(
            edge % count for edge, count in zip(size_px, cells, strict=True)
        ):
            frames = f" and {expected[1]} frames" if times else ""
            raise EncoderError(
                f"latents must have {channels} channels{frames} for {spec.name}, got "
                f"{tuple(values.shape)} of {size} ({label}, field {name}); "
                f"{presets_of(spec.impl.rpartition('.')[2], values.shape[0])}"
            )
        if not bool(torch.isfinite(values).all()):
            raise EncoderError(
                f"latents of grey pixels must be finite, got NaN or infinity ({label}, "
                f"{spec.compute_dtype}); compute in float32"
            )
    factor = (size_px[0] // cells[0], size_px[1] // cells[1])
    # Of a DiT that joins latent cells to patches, sizes must be multiples of a patch.
    patch = [edge // cell for edge, cell in zip(spec.multiple_of, spec.spatial_factor, strict=True)]
    return replace(
        spec,
        fields=tuple(replace(field, channels=channels) for field in spec.fields),
        spatial_factor=factor,
        multiple_of=(factor[0] * patch[0], factor[1] * patch[1]),
    )
