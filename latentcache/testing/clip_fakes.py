"""Fake encoders of clips that take them in pieces: closed-form, and misbehaving in one way each.

As those of ``testing.fakes``, of clips with 1 + 4k frames: most misbehave when a group holds a
frame of plain ``MARK_RGB``. All but the slow one's delay compute the same values and have the
same fingerprint.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from latentcache.core.frames import FrameRule
from latentcache.encoders import (
    EncoderOptions,
    EncoderSpec,
    Fields,
    GroupCoder,
    GroupStream,
    SampleMeta,
    check_batch,
    encode_groups,
    posterior_fields,
)
from latentcache.testing.fakes import FACTOR, FakeEncoder, is_marked


class MeanCoder(GroupCoder):
    """Encodes groups to the mean colour of their blocks, less a fraction of what came before."""

    first_frames = 1
    group_frames = 4

    def __init__(self, before: Callable[[torch.Tensor], Callable[[torch.Tensor], None]]) -> None:
        self._before = before

    def start(self) -> list[torch.Tensor]:
        """Return an empty state: the last latent frame, once there is one."""
        return []

    def encode_group(self, frames_BCTHW: torch.Tensor, state: list[torch.Tensor]) -> Fields:
        """Return one latent frame per clip, which depends on all those before."""
        spoil = self._before(frames_BCTHW)
        mean_BCHW = frames_BCTHW.float().mean(dim=2)
        z_BCHW = torch.nn.functional.avg_pool2d(mean_BCHW, FACTOR)
        if state:
            z_BCHW = z_BCHW - 0.25 * state.pop()
        state.append(z_BCHW)
        z_BCTHW = z_BCHW[:, :, None].clone()
        spoil(z_BCTHW)
        return {"z": z_BCTHW}


class FakeClipEncoder(FakeEncoder):
    """Well-behaved: ``z`` is the mean colour of blocks of groups, with a memory."""

    def __init__(self, options: EncoderOptions | None = None) -> None:
        super().__init__(options)
        self._coder = MeanCoder(self.before_group)

    def make_spec(self) -> EncoderSpec:
        """Return the spec; fakes that change values override it."""
        return replace(
            super().make_spec(),
            impl="latentcache.testing.clip_fakes",
            modality="video",
            fields=posterior_fields("point", "CTHW", 3),
            frame_rule=FrameRule(first=1, step=4),
            is_causal=True,
            streaming="exact",
        )

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return the fields of each clip."""
        check_batch(self.spec, pixels, metas)
        return [{"z": z_CTHW} for z_CTHW in encode_groups(self._coder, pixels)["z"]]

    def open(self, height_px: int, width_px: int) -> GroupStream:
        """Return a new stream of frames of one size."""
        return GroupStream(self.spec, self._coder, _run, (height_px, width_px))

    def before_group(self, frames_BCTHW: torch.Tensor) -> Callable[[torch.Tensor], None]:
        """Misbehave if this fake does; return what spoils the group's latents."""
        frames = frames_BCTHW.transpose(1, 2).flatten(0, 1)
        if any(is_marked(frame) for frame in frames) and self.strikes():
            self.misbehave()
            return self.spoil_group
        return _nothing

    def spoil_group(self, z_BCTHW: torch.Tensor) -> None:
        """Do nothing; faulty fakes override it."""


class NanClipEncoder(FakeClipEncoder):
    """NaN in one value of a marked group, in any dtype."""

    def spoil_group(self, z_BCTHW: torch.Tensor) -> None:
        """Put a NaN into the group."""
        z_BCTHW[0, 0, 0, 0, 0] = float("nan")


class OverflowClipEncoder(FakeClipEncoder):
    """Finite in float32, infinite in float16 storage, in a marked group."""

    def spoil_group(self, z_BCTHW: torch.Tensor) -> None:
        """Put 1e6 into the group."""
        z_BCTHW[0, 0, 0, 0, 0] = 1e6


class FailingClipEncoder(FakeClipEncoder):
    """Raises ``RuntimeError`` on a marked group."""

    def misbehave(self) -> None:
        """Raise."""
        raise RuntimeError("the fake encoder fails on marked groups")


class CrashingClipEncoder(FakeClipEncoder):
    """Kills its own process with SIGKILL on a marked group."""

    def misbehave(self) -> None:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)


class OutOfMemoryClipEncoder(FakeClipEncoder):
    """Out of memory on a marked group."""

    def misbehave(self) -> None:
        """Raise what CUDA raises."""
        raise torch.OutOfMemoryError("CUDA out of memory (fake)")


class WholeClipEncoder(FakeClipEncoder):
    """Declares that it takes clips whole."""

    def make_spec(self) -> EncoderSpec:
        """Return the spec; its fingerprint is that of the others."""
        refusal = "its fake norm spans the clip; plan shorter clips"
        return replace(super().make_spec(), streaming="none", streaming_refusal=refusal)


class SlowClipEncoder(FakeClipEncoder):
    """Takes ``seconds`` (default 0.05) more per group, marked or not, without the GIL."""

    def before_group(self, frames_BCTHW: torch.Tensor) -> Callable[[torch.Tensor], None]:
        """Wait."""
        time.sleep(float(self.settings.get("seconds") or 0.05))
        return super().before_group(frames_BCTHW)


def _run(compute: Callable[[torch.Tensor], Fields], frames: torch.Tensor) -> Fields:
    with torch.inference_mode():
        return compute(frames)


def _nothing(_: torch.Tensor) -> None:
    """Spoil nothing."""
