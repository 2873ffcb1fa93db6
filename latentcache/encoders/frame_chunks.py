"""Causal: clips cut into the groups of frames that an encoder takes one after the other.

The same groups serve a whole clip and a clip that arrives in pieces, so both give the same
bits. What an encoder must remember between groups is its *state*, held by the clip's stream
and never by the model: two clips can be under way at once.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from latentcache.core.errors import EncoderError
from latentcache.encoders.spec import EncoderSpec

Fields = dict[str, torch.Tensor]


class GroupCoder(Protocol):
    """Encodes groups of frames in order; subclass it.

    Attributes:
        first_frames: Length of a clip's first group; a shorter clip is one group.
        group_frames: Length of each later group.
    """

    first_frames: int
    group_frames: int

    def start(self) -> Any:
        """Return the state before the first group; ``encode_group`` changes it in place."""
        ...

    def encode_group(self, frames_BCTHW: torch.Tensor, state: Any) -> Fields:
        """Return the fields of the next group, BCTHW each."""
        ...

    def finish(self, state: Any) -> Fields | None:  # noqa: ARG002
        """Return what the state still holds at the end of a clip, or None: most hold nothing."""
        return None


def group_ends(num_frames: int, *, first: int, step: int) -> list[int]:
    """Return where each group of a clip ends; the last one may be short."""
    return [*range(first, num_frames, step), num_frames]


def encode_groups(coder: GroupCoder, frames_BCTHW: torch.Tensor) -> Fields:
    """Return the fields of whole clips, group by group."""
    state, start, parts = coder.start(), 0, []
    num_frames = frames_BCTHW.shape[2]
    for end in group_ends(num_frames, first=coder.first_frames, step=coder.group_frames):
        parts.append(coder.encode_group(frames_BCTHW[:, :, start:end], state))
        start = end
    last = coder.finish(state)
    return join_groups([*parts, last] if last is not None else parts)


def join_groups(parts: list[Fields]) -> Fields:
    """Return the fields of consecutive groups, BCTHW each, joined over time."""
    return {name: torch.cat([part[name] for part in parts], dim=2) for name in parts[0]}


class GroupStream:
    """Frames in, latent frames out as soon as their group is whole.

    Holds one state and less than one group of frames, however long the clip.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        coder: GroupCoder,
        run: Callable[[Callable[[torch.Tensor], Fields], torch.Tensor], Fields],
        size: tuple[int, int],
    ) -> None:
        """Open.

        Args:
            spec: Of the encoder.
            coder: Encodes the groups.
            run: Calls a function with frames on the encoder's device, in its arithmetic.
            size: Height and width in pixels.
        """
        self._spec = spec
        self._coder = coder
        self._run = run
        self._state: Any = coder.start()
        self._pending = torch.zeros((spec.input_channels, 0, *size))
        self._num_frames = 0
        self._is_open = True

    def push(self, frames: torch.Tensor) -> Fields | None:
        """Return the fields (CTHW) of the groups that ``frames`` (CTHW) complete, or None.

        Raises:
            EncoderError: The stream is closed or broken, or the frames have another size.
        """
        self._check(frames)
        ready = self._num_frames - self._pending.shape[1]
        self._num_frames += frames.shape[1]
        self._pending = torch.cat([self._pending.to(frames), frames], dim=1)
        parts, first, step = [], self._coder.first_frames, self._coder.group_frames
        while self._pending.shape[1] >= (size := step if ready else first):
            parts.append(self._encode(size))
            ready += size
        # A view would keep every frame of this push in memory.
        self._pending = self._pending.clone()
        return self._row(parts)

    def close(self) -> Fields | None:
        """Return what a short last group and the state still give, or None; drop the state.

        Raises:
            EncoderError: The clip ended within a latent frame.
        """
        rule, num_frames = self._spec.frame_rule, self._num_frames
        is_whole = self._is_open and rule.admits(num_frames)
        try:
            if self._is_open and num_frames and not is_whole:
                legal = rule.floor(num_frames) or 0
                raise EncoderError(
                    f"num_frames must be {rule.text}, got "
                    f"{num_frames - legal} frames too many ({self._spec.name} stream of "
                    f"{num_frames}); trim the clip"
                )
            return self._row(self._last_parts() if is_whole else [])
        finally:
            self._drop()

    def _last_parts(self) -> list[Fields]:
        size = self._pending.shape[1]
        parts = [self._encode(size)] if size else []

        def finish(_: torch.Tensor) -> Fields:
            return self._coder.finish(self._state) or {}

        last = self._run(finish, self._pending[None])
        return [*parts, last] if last else parts

    def _encode(self, size: int) -> Fields:
        group, self._pending = self._pending[:, :size], self._pending[:, size:]

        def encode(frames_BCTHW: torch.Tensor) -> Fields:
            return self._coder.encode_group(frames_BCTHW, self._state)

        try:
            return self._run(encode, group[None])
        except BaseException:
            self._drop()  # a state halfway between two groups would spoil what follows
            raise

    def _row(self, parts: list[Fields]) -> Fields | None:
        if not parts:
            return None
        return {name: values[0] for name, values in join_groups(parts).items()}

    def _check(self, frames: torch.Tensor) -> None:
        name = self._spec.name
        if not self._is_open:
            raise EncoderError(
                f"stream must be open, got frames after its end or after an error ({name}); "
                "encode the clip again from its start"
            )
        expected = (self._pending.shape[0], *self._pending.shape[2:])
        if frames.ndim != 4 or (frames.shape[0], *frames.shape[2:]) != expected:
            raise EncoderError(
                f"frames must be CTHW of {expected[0]} x T x {expected[1]} x {expected[2]}, got "
                f"{tuple(frames.shape)} ({name} stream); open one stream per clip"
            )

    def _drop(self) -> None:
        self._is_open, self._state = False, None
        self._pending = self._pending[:, :0].clone()
