"""Trial: one encoder under examination, and the inputs and comparisons checks share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from latentcache.core.media import Bucket
from latentcache.encoders import Encoder, EncoderSpec, SampleMeta, stack_fields

EncoderFactory = Callable[[], Encoder]
Batch = dict[str, torch.Tensor]

CLOSE = 1e-4
ULP = 1e-5
"""Relative to a field's largest value."""

_SMALL_PX = {"image": 64, "video": 32}


class CheckFailedError(Exception):
    """The encoder is not what its spec declares; the message says how."""


class CheckSkippedError(Exception):
    """The check does not apply; the message says why."""


@dataclass(kw_only=True)
class Trial:
    """One encoder under examination.

    Attributes:
        factory: Makes the encoder; two calls must make equal ones.
        variants: Each makes an encoder that differs in one thing that changes values
            (a weight, a buffer, a knob), under a word that says what.
        sample_pixels: Real pixels in the encoder's range, for the published
            normalization; None leaves that part out.
        encoder: Made once by ``factory``.
    """

    factory: EncoderFactory
    variants: Mapping[str, EncoderFactory] = field(default_factory=dict)
    sample_pixels: torch.Tensor | None = None
    encoder: Encoder = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = self.factory()

    @property
    def spec(self) -> EncoderSpec:
        """Of the encoder."""
        return self.encoder.spec

    @property
    def batch_size(self) -> int:
        """Rows that checks of batches use: 4, or 2 clips, or fewer if the encoder takes fewer."""
        most = 2 if self.spec.modality == "video" else 4
        return min(most, self.spec.max_batch or most)

    def buckets(self) -> list[Bucket]:
        """Return two small legal buckets, with unequal edges where the encoder allows."""
        spec = self.spec
        num_frames = spec.frame_rule.first + 2 * spec.frame_rule.step
        if spec.modality != "video":
            num_frames = 1
        if spec.fixed_size is not None:
            return [Bucket(num_frames, *spec.fixed_size)]
        step_y, step_x = spec.multiple_of
        small_px = _SMALL_PX.get(spec.modality, 64)
        height, width = -(-small_px // step_y) * step_y, -(-small_px // step_x) * step_x
        shorter = spec.frame_rule.first if spec.modality == "video" else 1
        return [
            Bucket(num_frames, height, width + step_x),
            Bucket(shorter, height + 2 * step_y, width),
        ]

    def pixels(self, bucket: Bucket, *, num_rows: int = 1, seed: int = 0) -> torch.Tensor:
        """Return random pixels over the whole input range, on the encoder's device."""
        generator = torch.Generator().manual_seed(seed)
        shape: tuple[int, ...] = (bucket.height_px, bucket.width_px)
        if self.spec.modality == "video":
            shape = (bucket.num_frames, *shape)
        shape = (num_rows, self.spec.input_channels, *shape)
        low, high = self.spec.input_range
        uniform = torch.rand(shape, generator=generator)
        return (low + (high - low) * uniform).to(self.encoder.device)

    def encode(self, pixels: torch.Tensor, *, encoder: Encoder | None = None) -> Batch:
        """Return the fields of a batch, stacked, on the CPU."""
        encoder = encoder or self.encoder
        metas = make_metas(len(pixels))
        return {
            name: values.detach().cpu()
            for name, values in stack_fields(encoder.encode(pixels, metas)).items()
        }


def make_metas(num_rows: int) -> list[SampleMeta]:
    """Return metas with keys of their own."""
    return [SampleMeta(key=f"{row:020x}", frame_rate_fps=24.0) for row in range(num_rows)]


def find_modules(encoder: object) -> list[torch.nn.Module]:
    """Return the modules an encoder holds as attributes, or one level below; each once."""
    found: dict[int, torch.nn.Module] = {}
    for value in vars(encoder).values():
        below = getattr(value, "__dict__", {}) if not isinstance(value, type) else {}
        for candidate in [value] if isinstance(value, torch.nn.Module) else below.values():
            if isinstance(candidate, torch.nn.Module):
                found[id(candidate)] = candidate
    return list(found.values())


def require_same_bits(got: Batch, expected: Batch, *, what: str) -> None:
    """Fail unless the two batches are equal bit for bit."""
    for name, values in expected.items():
        if not torch.equal(got[name], values):
            raise CheckFailedError(
                f"{what}: field {name} must be the same bits, differs by up to "
                f"{largest_difference(got[name], values):.3g}"
            )


def require_close(got: Batch, expected: Batch, *, tolerance: float, what: str) -> None:
    """Fail unless the two agree to ``tolerance`` of the expected field's largest value."""
    for name, values in expected.items():
        scale = float(values.double().abs().max()) or 1.0
        difference = largest_difference(got[name], values)
        if not difference <= tolerance * scale:
            raise CheckFailedError(
                f"{what}: field {name} must agree to {tolerance:g} of its largest value, "
                f"differs by {difference / scale:.3g}"
            )


def largest_difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest absolute difference; infinity where shapes differ."""
    if got.shape != expected.shape:
        return float("inf")
    return float((got.double() - expected.double()).abs().max())


def narrow_time(batch: Batch, spec: EncoderSpec, num_latent_frames: int) -> Batch:
    """Return the first latent frames of every field that has a time axis."""
    axes: Mapping[str, str] = {field.name: field.axes for field in spec.fields}
    return {
        name: values.narrow(1 + axes[name].index("T"), 0, num_latent_frames)
        for name, values in batch.items()
        if "T" in axes[name]
    }


def join_time(parts: Sequence[Mapping[str, torch.Tensor]], spec: EncoderSpec) -> Batch:
    """Return one batch of one row from a stream's parts, joined over time."""
    axes = {field.name: field.axes for field in spec.fields}
    return {
        name: torch.cat([part[name].detach().cpu() for part in parts], dim=axes[name].index("T"))[
            None
        ]
        for name in parts[0]
    }
