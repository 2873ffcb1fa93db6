"""One long clip through the encoder, a group of frames at a time, on the encode thread.

Dimension letters: B batch (of one), C channels, T frames, H height, W width.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from latentcache.core.errors import EncoderError, LatentCacheError
from latentcache.core.media import MID_GREY, Bucket
from latentcache.encoders import (
    Encoder,
    EncoderSpec,
    EncoderStream,
    Piece,
    StreamingEncoder,
    integer_fault,
)
from latentcache.runner.clips.clip_frames import ClipRejectedError
from latentcache.runner.decode.decode_tasks import Pixels
from latentcache.runner.forward.batch_encoder import (
    NON_FINITE,
    OVERFLOWN,
    BatchEncoder,
    Note,
    fails_on_grey,
    not_storable,
    reset,
)
from latentcache.runner.forward.encoded_rows import non_finite_rows, scaled_pixels


class ClipFailedError(LatentCacheError):
    """The encoder raised on a clip; ``__cause__`` is what it raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPiece:
    """Latent frames of one clip, on the CPU.

    Attributes:
        start: How many came before.
        fields: Per stored field (1, *axes), in its storage dtype.
        logvar: Posterior log-variance in float32, dropped from ``fields`` or not; or None.
    """

    start: int
    fields: dict[str, torch.Tensor]
    logvar: torch.Tensor | None


class ClipEncoding:
    """One clip on its way; its state lives on the encode thread until ``close``."""

    def __init__(
        self, encoder: BatchEncoder, key: str, bucket: Bucket, *, is_float32: bool = False
    ) -> None:
        """Prepare; the stream is opened with the first frames.

        Args:
            encoder: Of the actor.
            key: Of the sample; keys the draws.
            bucket: Of the clip, as the encoder sees it.
            is_float32: Compute in float32, whatever the encoder's own dtype.
        """
        self._encoder, self._key, self._bucket = encoder, key, bucket
        self._is_float32 = is_float32
        rule = encoder.encoder.spec.frame_rule
        self._total = rule.num_latent_frames(bucket.num_frames)
        self._num_done = 0
        self._stream: EncoderStream | None = None

    @property
    def num_latent_frames(self) -> int:
        """Of the whole clip."""
        return self._total

    def push(
        self, frames_THWC: Pixels, *, note: Note | None = None
    ) -> "Future[EncodedPiece | None]":
        """Return a future of the latent frames that ``frames_THWC`` complete, None if none are.

        In the future: ``ClipRejectedError`` where they are not finite, ``ClipFailedError``
        where the encoder raises, ``EncoderOutOfMemoryError``.
        """

        def push(stream: EncoderStream) -> Mapping[str, torch.Tensor] | None:
            return stream.push(scaled_pixels(frames_THWC[None], self._chosen())[0])

        return self._submit(push, len(frames_THWC), note)

    def push_zeros(
        self, num_frames: int, *, note: Note | None = None
    ) -> "Future[EncodedPiece | None]":
        """Return what ``push`` does, of frames of zeros in the encoder's input range."""

        def push(stream: EncoderStream) -> Mapping[str, torch.Tensor] | None:
            encoder = self._chosen()
            size = (self._bucket.height_px, self._bucket.width_px)
            channels = encoder.spec.input_channels
            return stream.push(torch.zeros((channels, num_frames, *size), device=encoder.device))

        return self._submit(push, num_frames, note)

    def finish(self, *, note: Note | None = None) -> "Future[EncodedPiece | None]":
        """Return a future of what the end of the clip still gives; raises as ``push`` does."""

        def finish(stream: EncoderStream) -> Mapping[str, torch.Tensor] | None:
            self._stream = None
            return stream.close()

        return self._submit(finish, 0, note)

    def close(self) -> None:
        """Drop the state, after what was submitted; does nothing once it is finished."""
        self._encoder.call(self._drop, where="the end of a clip")

    def reset(self) -> None:
        """Reset the encoder after an error, and drop the state."""
        self.close()
        self._encoder.call(lambda: reset(self._chosen()), where="a reset").result()

    def check_alive(self) -> None:
        """Refuse to blame a clip for what happens with plain grey too.

        Raises:
            EncoderBrokenError: It does.
        """
        rule = self._encoder.encoder.spec.frame_rule
        size = (rule.first, self._bucket.height_px, self._bucket.width_px, 3)
        first = Bucket(rule.first, *size[1:3])
        grey = ClipEncoding(self._encoder, self._key, first)
        try:
            grey.push(np.full(size, MID_GREY, np.uint8)).result()
        except Exception as error:  # noqa: BLE001  any failure on grey is the encoder's own
            cause = error.__cause__
            raise fails_on_grey(cause if isinstance(cause, Exception) else error) from None
        finally:
            grey.close()

    def _chosen(self) -> Encoder:
        return self._encoder.float32_encoder() if self._is_float32 else self._encoder.encoder

    def _submit(
        self,
        work: Callable[[EncoderStream], Mapping[str, torch.Tensor] | None],
        num_frames: int,
        note: Note | None,
    ) -> "Future[EncodedPiece | None]":
        def run() -> EncodedPiece | None:
            try:
                raw = work(self._opened())
                return None if raw is None else self._piece(raw)
            except (torch.OutOfMemoryError, ClipRejectedError):
                raise
            except Exception as error:
                # A third party's encoder may raise anything.
                raise ClipFailedError(str(error)) from error

        where = f"{num_frames} frames of a clip of {self._bucket}"
        return self._encoder.call(run, where=where, note=note)

    def _opened(self) -> EncoderStream:
        if self._stream is None:
            if self._num_done:
                raise EncoderError("stream must be open, got frames after its end or an error")
            encoder = cast(StreamingEncoder, self._chosen())
            self._stream = encoder.open(self._bucket.height_px, self._bucket.width_px)
        return self._stream

    def _piece(self, raw: Mapping[str, torch.Tensor]) -> EncodedPiece:
        batch = {name: values[None] for name, values in raw.items()}
        if non_finite_rows([raw], [0]):
            raise ClipRejectedError(NON_FINITE)
        start, policy = self._num_done, self._encoder.policy
        fault = integer_fault(raw, policy.fields, self._encoder.encoder.spec.codebook)
        if fault:
            raise ClipRejectedError(not_storable(fault))
        self._num_done += _num_latent_frames(self._encoder.encoder.spec, raw)
        fields, logvar = policy.applied(batch, [self._key], piece=Piece(start, self._total))
        if non_finite_rows([fields], [0]):
            raise ClipRejectedError(OVERFLOWN)
        return EncodedPiece(start=start, fields=fields, logvar=logvar)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(Exception):  # a clip that is cut short is no error of its stream
                stream.close()


def _num_latent_frames(spec: EncoderSpec, raw: Mapping[str, torch.Tensor]) -> int:
    field = spec.fields[0]
    return int(raw[field.name].shape[field.axes.index("T")])
