"""The encoder that all diffusers video autoencoders share; families differ in what they read.

A family's file says how its class is pinned, read, cut into groups and normalised, and
calls ``build_video_encoder``.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import EncoderError
from latentcache.core.fields import STATISTICS_FIELDS
from latentcache.encoders.arithmetic import pinned_arithmetic
from latentcache.encoders.diffusers_encoder import (
    MODEL_ERRORS,
    DiffusersKnobs,
    ReadOutput,
    error_line,
    read_gaussian,
    resolve_dtypes,
)
from latentcache.encoders.frame_chunks import Fields, GroupCoder, GroupStream, encode_groups
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.presets import known_encoders
from latentcache.encoders.shapes import check_batch
from latentcache.encoders.spec import PLAIN_SCALAR, EncoderSpec, Normalizer, SampleMeta
from latentcache.encoders.weights import LoadedModel, load_model

_PROBE_PX = (64, 96)
"""Two unequal edges, so that swapped axes show; multiples of every factor up to 32."""

_TILING_FLAGS = (
    *("use_tiling", "use_slicing"),
    # Some classes ask the second one when they encode: docs/encoders.md, "In time".
    *("use_framewise_encoding", "use_framewise_decoding"),
)

Pin = Callable[[Any, Any], dict[str, PLAIN_SCALAR]]


def pin_whole(module: Any, knobs: DiffusersKnobs) -> dict[str, PLAIN_SCALAR]:
    """Switch off all tiling and slicing, in space and time; return the knobs to record."""
    for flag in _TILING_FLAGS:
        if hasattr(module, flag):
            setattr(module, flag, False)
    return {"tiling": False, "slicing": False, "framewise": False, "allow_tf32": knobs.allow_tf32}


def decode_clips(module: Any, latents_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return pixels BCTHW, as most classes decode."""
    pixels: torch.Tensor = module.decode(latents_BCTHW).sample
    return pixels


def _no_coder(_module: Any) -> GroupCoder | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFamily:
    """How one diffusers class is read.

    Attributes:
        class_name: In the ``diffusers`` package.
        read_normalizer: Published normalisation of a loaded model, if there is one.
        read_output: From what ``encode`` returns to fields, BCTHW each.
        make_coder: Makes what encodes group by group, if the class as pinned allows it.
        decode: From latents to pixels.
        knobs: What a user may set.
        pin: Sets the module's flags by the knobs; returns all knobs that change values.
    """

    class_name: str
    read_normalizer: Callable[[LoadedModel], Normalizer | None]
    read_output: ReadOutput = read_gaussian
    make_coder: Callable[[Any], GroupCoder | None] = _no_coder
    decode: Callable[[Any, torch.Tensor], torch.Tensor] = decode_clips
    knobs: type[DiffusersKnobs] = DiffusersKnobs
    pin: Pin = pin_whole


class VideoEncoder:
    """One loaded video autoencoder.

    Threads take turns: several of these classes keep state in the module while they run,
    and two calls at once give wrong shapes or wrong values without an error.
    """

    def __init__(
        self, module: Any, spec: EncoderSpec, device: torch.device, family: VideoFamily
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
        """Return the fields of every clip, float32 CTHW."""
        check_batch(self.spec, pixels, metas)
        batch = self._run(self._encode_clips, pixels)
        return [{name: values[row] for name, values in batch.items()} for row in range(len(pixels))]

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return pixels BCTHW of a batch of ``mean``, ``z`` or ``sample``."""
        name = next(name for name in STATISTICS_FIELDS if name in fields)

        def decode(latents: torch.Tensor) -> Fields:
            return {"pixels": self._family.decode(self._module, latents)}

        return self._run(decode, fields[name])["pixels"]

    def open(self, height_px: int, width_px: int) -> GroupStream:
        """Return a new stream for one clip of that size.

        Raises:
            EncoderError: This encoder takes whole clips only, or no such size.
        """
        spec, coder = self.spec, self._coder
        if spec.streaming == "none" or coder is None:
            raise EncoderError(
                f"streaming must be possible, got {spec.name}: {spec.streaming_refusal}"
            )
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

    def _encode_clips(self, pixels_BCTHW: torch.Tensor) -> Fields:
        # Where groups are exact, whole clips take the same path, and so the same bits.
        if self._coder is not None and self.spec.streaming == "exact":
            return encode_groups(self._coder, pixels_BCTHW)
        return self._family.read_output(self._module.encode(pixels_BCTHW))


_META = SampleMeta(key="")


def build_video_encoder(name: str, family: VideoFamily, options: EncoderOptions) -> VideoEncoder:
    """Return the encoder of preset ``name`` with the weights at ``options.location``.

    Raises:
        ConfigError: The device, the dtype or a knob is wrong.
        EncoderError: The weights are not what the preset promises.
    """
    facts = known_encoders()[name]
    knobs = config_from_mapping(family.knobs, options.knobs, where=f"encoder {name}")
    device = choose_device(options.device)
    # Asked again below; here because a wrong dtype should not cost a download.
    choose_dtype(options.dtype, name=name, default="float32", forbidden=facts.spec.forbidden_dtypes)
    model = load_model(family.class_name, options.location, is_offline=options.is_offline)
    dtype, forbidden = resolve_dtypes(facts, model, options.dtype, device)
    normalizer = family.read_normalizer(model)  # before the cast, which rounds its buffers
    # torch's own `to`: that of diffusers warns of modules to keep in float32, even of none.
    module: Any = torch.nn.Module.to(model.module, device, getattr(torch, dtype))
    spec = replace(
        facts.spec,
        compute_dtype=dtype,
        forbidden_dtypes=forbidden,
        weights_digest=model.digest,
        former_digests=model.former_digests,
        normalizer=normalizer,
        knobs=family.pin(module, knobs),
    )
    encoder = VideoEncoder(module, spec, device, family)
    factor = _probe_factor(encoder, label=options.location)
    encoder.spec = replace(encoder.spec, spatial_factor=factor, multiple_of=factor)
    return encoder


def _probe_factor(encoder: VideoEncoder, *, label: str) -> tuple[int, int]:
    """Return pixels per latent cell, (vertical, horizontal), as one encode shows them.

    Raises:
        EncoderError: Channels or latent frames are not the preset's, or not finite.
    """
    spec = encoder.spec
    num_frames = spec.frame_rule.first + spec.frame_rule.step
    try:
        fields = encoder.encode(torch.zeros((1, 3, num_frames, *_PROBE_PX)), [_META])[0]
    except MODEL_ERRORS as error:
        raise EncoderError(
            f"weights must encode 3 x {num_frames} x {_PROBE_PX[0]} x {_PROBE_PX[1]} for "
            f"{spec.name}, got a failure ({label}: {error_line(error)}); use the preset of "
            "these weights"
        ) from error
    finally:
        encoder.reset()
    expected = (spec.fields[0].channels, spec.frame_rule.num_latent_frames(num_frames))
    for name, values in fields.items():
        if values.shape[:2] != expected or any(
            edge % cells for edge, cells in zip(_PROBE_PX, values.shape[2:], strict=True)
        ):
            raise EncoderError(
                f"latents must have {expected[0]} channels and {expected[1]} frames for "
                f"{spec.name}, got {tuple(values.shape)} of {num_frames} frames ({label}, field "
                f"{name}); use the preset of these weights"
            )
        if not bool(torch.isfinite(values).all()):
            raise EncoderError(
                f"latents of a grey clip must be finite, got NaN or infinity ({label}, "
                f"{spec.compute_dtype}); compute in float32"
            )
    height, width = next(iter(fields.values())).shape[2:]
    return _PROBE_PX[0] // height, _PROBE_PX[1] // width
