"""Fake encoders: small, closed-form, and misbehaving in one way each.

For tests of whatever runs encoders; use them as ``latentcache.testing.fakes:NanEncoder``
or ``latentcache.testing.fakes:SlowEncoder:seconds=0.1``. Most misbehave when they see a
picture of plain ``MARK_RGB`` (``testing.drawn.marked_picture``). With ``once=PATH`` they do
so only while PATH is absent, and make it first: a fault that a restart survives.

All of them compute the same values and have the same fingerprint (except those that say
otherwise), so a disturbed run can be compared with an undisturbed one byte for byte.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from latentcache.core.fields import Field
from latentcache.encoders import (
    PLAIN_SCALAR,
    Codebook,
    EncoderOptions,
    EncoderSpec,
    SampleMeta,
    check_batch,
    choose_device,
    parse_knobs,
    posterior_fields,
)

FACTOR = 8


def is_marked(pixels_CHW: torch.Tensor) -> bool:
    """Whether a picture in [-1, 1] is plain ``MARK_RGB``, JPEG losses allowed for."""
    mark = torch.tensor([1.0, -1.0, 1.0], device=pixels_CHW.device)[:, None, None]
    return bool((pixels_CHW - mark).abs().mean() < 0.05)


class FakeEncoder:
    """Well-behaved: ``z`` is the mean colour of each 8 px block, three channels."""

    def __init__(self, options: EncoderOptions | None = None) -> None:
        self.options = options or EncoderOptions(device="cpu")
        self.device = choose_device(self.options.device)
        self.settings: dict[str, PLAIN_SCALAR] = parse_knobs(self.options.location, "fake")
        self.spec = self.make_spec()

    def make_spec(self) -> EncoderSpec:
        """Return the spec; fakes that change values override it."""
        return EncoderSpec(
            name=type(self).__name__,
            impl="latentcache.testing.fakes",
            impl_version=1,
            modality="image",
            fields=posterior_fields("point", "CHW", 3),
            posterior="point",
            input_range=(-1.0, 1.0),
            spatial_factor=(FACTOR, FACTOR),
            multiple_of=(FACTOR, FACTOR),
            compute_dtype="float32",
            weights_digest="",
            weights_licence="none needed",
        )

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of each row, misbehaving first if this fake does."""
        check_batch(self.spec, pixels, metas)
        marked = [is_marked(row) for row in pixels]
        if any(marked) and self.strikes():
            self.misbehave()
        with torch.inference_mode():
            rows = [self.encode_row(row) for row in pixels]
            for row, is_spoilt in zip(rows, marked, strict=True):
                if is_spoilt:
                    self.spoil(row)
        return rows

    def encode_row(self, pixels_CHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the fields of one row."""
        return {"z": torch.nn.functional.avg_pool2d(pixels_CHW.float(), FACTOR)}

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return pixels BCHW: every block in its mean colour."""
        z_BCHW = next(fields[name] for name in ("z", "mean", "sample") if name in fields)
        return torch.nn.functional.interpolate(z_BCHW.float(), scale_factor=FACTOR)

    def misbehave(self) -> None:
        """Do nothing; called before a batch with a marked row, faulty fakes override it."""

    def spoil(self, fields: dict[str, torch.Tensor]) -> None:
        """Do nothing; called with the fields of a marked row, faulty fakes override it."""

    def reset(self) -> None:
        """Do nothing: there is no state."""

    def strikes(self) -> bool:
        """Whether the fault happens now; see ``once`` in the module's docstring."""
        once = self.settings.get("once")
        if once is None:
            return True
        try:
            os.close(os.open(str(once), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


class GaussianEncoder(FakeEncoder):
    """Well-behaved with a posterior: ``mean`` as ``z`` above, ``logvar`` from the contrast."""

    def make_spec(self) -> EncoderSpec:
        """Return the spec of the Gaussian fake; its fingerprint is its own."""
        return replace(
            super().make_spec(),
            impl="latentcache.testing.fakes.GaussianEncoder",
            fields=posterior_fields("gaussian", "CHW", 3),
            posterior="gaussian",
        )

    def encode_row(self, pixels_CHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return block means, and the log of the blocks' variances (at least 1e-4)."""
        pixels = pixels_CHW.float()
        mean = torch.nn.functional.avg_pool2d(pixels, FACTOR)
        square = torch.nn.functional.avg_pool2d(pixels**2, FACTOR)
        return {"mean": mean, "logvar": (square - mean**2).clamp(min=1e-4).log()}


class NanEncoder(FakeEncoder):
    """NaN in one value of a marked row, in any dtype."""

    def spoil(self, fields: dict[str, torch.Tensor]) -> None:
        """Put a NaN into the row."""
        fields["z"][0, 0, 0] = float("nan")


class HalfNanEncoder(NanEncoder):
    """NaN in a marked row unless loaded with ``dtype="float32"``; declares bfloat16 otherwise."""

    def make_spec(self) -> EncoderSpec:
        """Return the spec with the dtype that was asked for; its fingerprint is its own."""
        return replace(super().make_spec(), compute_dtype=self.options.dtype or "bfloat16")

    def spoil(self, fields: dict[str, torch.Tensor]) -> None:
        """Put a NaN into the row unless the dtype is float32."""
        if self.options.dtype != "float32":
            super().spoil(fields)


class OverflowEncoder(FakeEncoder):
    """Finite in float32, infinite in float16 storage: 1e6 in one value of a marked row."""

    def spoil(self, fields: dict[str, torch.Tensor]) -> None:
        """Put 1e6 into the row."""
        fields["z"][0, 0, 0] = 1e6


class SlowEncoder(FakeEncoder):
    """Takes ``seconds`` (default 0.05) more per batch, marked or not, without the GIL."""

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of each row, late."""
        time.sleep(float(self.settings.get("seconds") or 0.05))
        return super().encode(pixels, metas)


class BusyEncoder(FakeEncoder):
    """Burns ``seconds`` (default 0.005) of one core per row: costs what a decode costs."""

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of each row, after ``seconds`` of CPU time a row."""
        budget_s = float(self.settings.get("seconds") or 0.005) * len(pixels)
        end_s = time.thread_time() + budget_s
        block = torch.ones(64, 64)
        while time.thread_time() < end_s:
            torch.mm(block, block)
        return super().encode(pixels, metas)


class CrashingEncoder(FakeEncoder):
    """Kills its own process with SIGKILL on a marked row."""

    def misbehave(self) -> None:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)


class HangingEncoder(FakeEncoder):
    """Never returns from a marked row."""

    def misbehave(self) -> None:
        """Wait for ever."""
        while True:
            time.sleep(60)


class FailingEncoder(FakeEncoder):
    """Raises ``RuntimeError`` on a marked row."""

    def misbehave(self) -> None:
        """Raise."""
        raise RuntimeError("the fake encoder fails on marked rows")


class OutOfMemoryEncoder(FakeEncoder):
    """Out of memory on a marked row, or in any batch of more than ``max_batch`` rows."""

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of each row, or run out of memory."""
        limit = self.settings.get("max_batch")
        if limit is not None and len(pixels) > int(limit):
            self.misbehave()
        return super().encode(pixels, metas)

    def misbehave(self) -> None:
        """Raise what CUDA raises."""
        raise torch.OutOfMemoryError("CUDA out of memory (fake)")


class BatchCoupledEncoder(FakeEncoder):
    """Declares nothing, yet every row is measured against the mean of its batch."""

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of each row after centring the batch."""
        return super().encode(pixels - pixels.mean(dim=0, keepdim=True), metas)


class StickyEncoder(FakeEncoder):
    """After a marked row every later call fails too, as on a broken CUDA device."""

    _is_broken = False

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of each row until the device breaks."""
        if self._is_broken:
            raise RuntimeError("an illegal memory access was encountered (fake)")
        return super().encode(pixels, metas)

    def misbehave(self) -> None:
        """Break the device for good."""
        self._is_broken = True
        raise RuntimeError("an illegal memory access was encountered (fake)")


class RefusingEncoder(FakeEncoder):
    """Raises ``ValueError`` on a marked row, as third parties' encoders do."""

    def misbehave(self) -> None:
        """Raise."""
        raise ValueError("this picture is not to my taste")


class TextEncoder(FakeEncoder):
    """Declares a modality that no corpus has."""

    def make_spec(self) -> EncoderSpec:
        """Return a spec of text."""
        return replace(super().make_spec(), modality="text")


class RaggedEncoder(FakeEncoder):
    """As many tokens as the picture's brightness asks for: rows differ in length."""

    def make_spec(self) -> EncoderSpec:
        """Return the spec of tokens without a grid."""
        return replace(
            super().make_spec(),
            impl="latentcache.testing.fakes.RaggedEncoder",
            fields=posterior_fields("point", "NC", 3),
        )

    def encode_row(self, pixels_CHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return 1 to 4 rows of blocks."""
        cells = super().encode_row(pixels_CHW)["z"]
        count = 1 + int(1000 * float(pixels_CHW[:, :4, :4].abs().mean())) % 4
        return {"z": cells.flatten(1).T[:count]}


class StrayIndexEncoder(FakeEncoder):
    """Codes of a codebook of 512; of a marked picture one past its end."""

    def make_spec(self) -> EncoderSpec:
        """Return the spec of codes."""
        codes = Field(name="indices", kind="indices", axes="HW", channels=None, dtype="uint16")
        return replace(
            super().make_spec(),
            impl="latentcache.testing.fakes.StrayIndexEncoder",
            fields=(codes,),
            posterior="vq",
            codebook=Codebook(size=512),
        )

    def encode_row(self, pixels_CHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the mean of each block, as one of 512 levels."""
        mean = super().encode_row(pixels_CHW)["z"].mean(0)
        return {"indices": ((mean + 1) / 2 * 511).round().long()}

    def spoil(self, fields: dict[str, torch.Tensor]) -> None:
        """Stray."""
        fields["indices"][0, 0] = 512


class MetaEncoder(FakeEncoder):
    """Stores what it is told of a row: its frame rate, and a draw of its seed."""

    def make_spec(self) -> EncoderSpec:
        """Return the spec of two numbers a row."""
        return replace(
            super().make_spec(),
            impl="latentcache.testing.fakes.MetaEncoder",
            fields=(Field(name="z", kind="point", axes="C", channels=2, dtype="float32"),),
        )

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the rate and the draw."""
        check_batch(self.spec, pixels, metas)
        draws = [torch.randn((), generator=torch.Generator().manual_seed(m.seed)) for m in metas]
        return [
            {"z": torch.tensor([meta.frame_rate_fps, float(draw)])}
            for meta, draw in zip(metas, draws, strict=True)
        ]
