"""An encoder on the one thread of its actor: fixed-shape batches in, stored fields out.

A batch always has its bucket's pinned shape, whatever rows are missing from it: batch
shape and thread count change last bits, neighbours and position do not.

Dimension letters: B batch, C channels, T frames, H height, W width.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from latentcache.core.errors import first_line
from latentcache.core.fields import Field
from latentcache.core.inputs import ALL_PIXELS
from latentcache.core.media import MID_GREY
from latentcache.core.rejects import Reject, RejectCode
from latentcache.encoders import (
    Encoder,
    EncoderSpec,
    Piece,
    PosteriorPolicy,
    apply_policy,
    check_can_feed,
    integer_fault,
    make_metas,
    stack_fields,
)
from latentcache.runner.forward.encoded_rows import (
    EncodedBatch,
    Raw,
    checked_rows,
    is_regular,
    join_stacks,
    non_finite_rows,
    scaled_pixels,
    without_rows,
)
from latentcache.runner.forward.fed_batch import FedBatch
from latentcache.runner.messages.run_errors import EncoderBrokenError, EncoderOutOfMemoryError
from latentcache.runner.messages.stage_times import ENCODE, StageClock

Note = Callable[[bool], None]
ResultT = TypeVar("ResultT")


NON_FINITE = Reject(
    code=RejectCode.NON_FINITE.word,
    stage="encode",
    reason="the encoder gives NaN or infinity for it, in float32 too",
)
OVERFLOWN = Reject(
    code=RejectCode.NON_FINITE.word,
    stage="encode",
    reason="its latent overflows the storage dtype; store bfloat16 or float32",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeBatch:
    """What goes in, of pixels.

    Attributes:
        pixels_BTHWC: uint8, mid-grey where a row has no pixels.
        keys: One per row; "" for a filler row, whose output is dropped.
        num_zero_frames: Frames of zeros in the encoder's input range that follow the first.
        frame_rates_fps: Of the clips, one per key or fewer; what is missing is a picture.
    """

    pixels_BTHWC: npt.NDArray[np.uint8]
    keys: tuple[str, ...]
    num_zero_frames: int = 0
    frame_rates_fps: tuple[float, ...] = ()

    @property
    def label(self) -> str:
        """What is encoded, for sentences."""
        return str(self.pixels_BTHWC.shape)

    def only(self, positions: Sequence[int]) -> "EncodeBatch":
        """Return the batch with every row but ``positions`` grey."""
        pixels = np.full_like(self.pixels_BTHWC, MID_GREY)
        keys = [""] * len(self.keys)
        for position in positions:
            pixels[position] = self.pixels_BTHWC[position]
            keys[position] = self.keys[position]
        return replace(self, pixels_BTHWC=pixels, keys=tuple(keys))

    def encoded_by(self, encoder: Encoder, *, seed: int) -> Sequence[Mapping[str, torch.Tensor]]:
        """Return what ``encoder`` gives of each row."""
        pixels = scaled_pixels(self.pixels_BTHWC, encoder)
        if self.num_zero_frames:
            # Zeros of the model's, which are no grey that 8 bits could hold.
            zeros = pixels.new_zeros((*pixels.shape[:2], self.num_zero_frames, *pixels.shape[3:]))
            pixels = torch.cat([pixels[:, :, :1], zeros, pixels[:, :, 1:]], dim=2)
        metas = make_metas(self.keys, self.frame_rates_fps, seed=seed)
        return encoder.encode(pixels, metas)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodePolicy:
    """How raw output becomes stored fields.

    Attributes:
        fields: The stored fields, after the posterior policy.
        policy: ``moments``, ``mode`` or ``sample``.
        seed: Keys the draws.
    """

    fields: tuple[Field, ...]
    policy: PosteriorPolicy
    seed: int

    def applied(
        self,
        raw: Mapping[str, torch.Tensor],
        keys: Sequence[str],
        *,
        piece: Piece | None = None,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Return stored fields of a batch, and its log-variance in float32 if there is one.

        Args:
            raw: Of the encoder, with a batch axis.
            keys: One per row.
            piece: Which part of a clip it is, of a batch of one.
        """
        fields = apply_policy(
            raw, self.fields, policy=self.policy, seed=self.seed, keys=keys, piece=piece
        )
        logvar = raw.get("logvar")
        return fields, None if logvar is None else logvar.to(torch.float32).cpu()


class BatchEncoder:
    """Owns an encoder, which only the encode thread may touch.

    Attributes:
        busy_s: Seconds spent encoding so far.
        stages: Where the time of its actor goes.
    """

    def __init__(
        self,
        make_encoder: Callable[[str | None], Encoder],
        *,
        policy: Callable[[EncoderSpec], EncodePolicy],
        thread: ThreadPoolExecutor,
        asked: str = ALL_PIXELS,
        stages: StageClock | None = None,
    ) -> None:
        """Load the encoder on its thread.

        Args:
            make_encoder: Takes a compute dtype, or None for the asked one.
            policy: Of a loaded encoder.
            thread: Of ``encode_thread``; encoders that share one never work at the same time.
            asked: The input that the encoder will be given.
            stages: Of its actor; a clock of its own where it is alone.
        """
        self._make_encoder = make_encoder
        self._thread = thread
        self.encoder = self._thread.submit(make_encoder, None).result()
        check_can_feed(self.encoder.spec, asked)
        self.policy = policy(self.encoder.spec)
        self.busy_s = 0.0
        self.stages = stages or StageClock()
        self._batch_started_s: float | None = None
        self._broken = ""
        self._fp32_encoder: Encoder | None = None

    @property
    def batch_age_s(self) -> float:
        """Seconds since the batch under way began, 0.0 if there is none."""
        started_s = self._batch_started_s
        return 0.0 if started_s is None else time.monotonic() - started_s

    def submit(self, batch: FedBatch, *, note: Note | None = None) -> "Future[EncodedBatch]":
        """Return a future of ``batch``, encoded in the order of submission.

        Args:
            batch: What to encode.
            note: Called on the encode thread with True just before, with False just after.
        """
        return self.call(lambda: self._encode(batch), where=batch.label, note=note)

    def call(
        self, work: Callable[[], ResultT], *, where: str, note: Note | None = None
    ) -> "Future[ResultT]":
        """Return a future of ``work`` done on the encode thread, in the order of submission.

        Args:
            work: What touches the encoder.
            where: What is encoded, for the sentence when the device has no room for it.
            note: As for ``submit``.
        """
        return self._thread.submit(self._timed, work, where, note)

    def submit_alone(
        self, batch: FedBatch, position: int, *, note: Note | None = None
    ) -> "Future[EncodedBatch]":
        """Return a future of one row of ``batch`` with all others blanked."""
        return self.submit(batch.only([position]), note=note)

    def close(self) -> None:
        """Stop the thread after its current batch."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def float32_encoder(self) -> Encoder:
        """Return the encoder that computes in float32, loaded when first asked for.

        For the encode thread.
        """
        if self.encoder.spec.compute_dtype == "float32":
            return self.encoder
        if self._fp32_encoder is None:
            self._fp32_encoder = self._make_encoder("float32")
        return self._fp32_encoder

    def _timed(self, work: Callable[[], ResultT], where: str, note: Note | None) -> ResultT:
        if self._broken:
            # The note stays with what broke it: whatever comes after would fail too, unblamed.
            raise EncoderBrokenError(self._broken)
        if note is not None:
            note(True)
        started_s = self._batch_started_s = time.monotonic()
        try:
            with torch.inference_mode(), self.stages.during(ENCODE):
                result = work()
            if note is not None:
                note(False)
            return result
        except torch.OutOfMemoryError as error:
            raise EncoderOutOfMemoryError(
                f"batch must fit the device, got out of memory at {where} ({first_line(error)})"
            ) from None
        except EncoderBrokenError as error:
            self._broken = str(error)
            raise
        finally:
            self._batch_started_s = None
            self.busy_s += time.monotonic() - started_s

    def _encode(self, batch: FedBatch) -> EncodedBatch:
        positions = [index for index, key in enumerate(batch.keys) if key]
        if not positions:
            return EncodedBatch(positions=(), fields={}, logvar=None)
        try:
            raw = self._forward_twice(batch)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # noqa: BLE001  a third party's encoder may raise anything
            return self._encode_one_by_one(batch, positions)
        bad = non_finite_rows(raw, positions)
        rejects: dict[int, Reject] = {}
        if bad:
            rejects = self._repair_non_finite(batch, raw, bad)
        kept = [position for position in positions if position not in rejects]
        return self._stored(raw, batch.keys, kept, rejects)

    def _forward_twice(self, batch: FedBatch) -> Raw:
        """Return raw fields; after an error the same batch once more on a reset encoder."""
        try:
            return self._forward(self.encoder, batch)
        except Exception:  # noqa: BLE001  what it is shows when it happens again
            reset(self.encoder)
        try:
            return self._forward(self.encoder, batch)
        except Exception:
            self.encoder.reset()
            raise

    def _forward(self, encoder: Encoder, batch: FedBatch) -> Raw:
        raw = batch.encoded_by(encoder, seed=self.policy.seed)
        return checked_rows(encoder.spec, raw, len(batch.keys))

    def _encode_one_by_one(self, batch: FedBatch, positions: Sequence[int]) -> EncodedBatch:
        """Return the batch's rows each encoded alone in the batch's shape; failures rejected."""
        rejects: dict[int, Reject] = {}
        rows: Raw = [{} for _ in batch.keys]
        for position in positions:
            alone = batch.only([position])
            try:
                raw = self._forward(self.encoder, alone)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001  it costs one row, or shows a dead device
                self.encoder.reset()
                self._check_alive(batch, error)
                rejects[position] = failed(error)
                continue
            if non_finite_rows(raw, [position]):
                rejects.update(self._repair_non_finite(alone, raw, [position]))
            rows[position] = raw[position]
        kept = [position for position in positions if position not in rejects]
        return self._stored(rows, batch.keys, kept, rejects)

    def _check_alive(self, batch: FedBatch, error: Exception) -> None:
        """Refuse to blame a sample for what happens with plain grey too.

        Raises:
            EncoderBrokenError: It does.
        """
        try:
            self._forward(self.encoder, batch.only([]))
        except Exception:  # noqa: BLE001  any failure on grey is the encoder's own
            raise fails_on_grey(error) from None

    def _repair_non_finite(
        self, batch: FedBatch, raw: Raw, bad: Sequence[int]
    ) -> dict[int, Reject]:
        """Encode ``bad`` rows again in float32, in place; return those that stay non-finite."""
        if self.encoder.spec.compute_dtype != "float32":
            again = self._forward(self.float32_encoder(), batch.only(bad))
            for position in bad:
                raw[position] = {
                    name: values.to(raw[position][name].dtype)
                    for name, values in again[position].items()
                }
        still = non_finite_rows(raw, bad)
        return dict.fromkeys(still, NON_FINITE)

    def _stored(
        self, raw: Raw, keys: Sequence[str], kept: Sequence[int], rejects: dict[int, Reject]
    ) -> EncodedBatch:
        """Return the kept rows as they are stored; what cannot be stored is rejected too."""
        policy, codebook = self.policy, self.encoder.spec.codebook
        rejects, fitting = dict(rejects), []
        for position in kept:
            fault = integer_fault(raw[position], policy.fields, codebook)
            if fault:
                rejects[position] = not_storable(fault)
            else:
                fitting.append(position)
        if not fitting:
            return EncodedBatch(positions=(), fields={}, logvar=None, rejects=rejects)
        chosen = [raw[position] for position in fitting]
        groups = [chosen] if is_regular(chosen) else [[row] for row in chosen]
        names = iter([keys[position] for position in fitting])
        parts = []
        for group in groups:
            stacked = stack_fields(group)
            parts.append(policy.applied(stacked, [next(names) for _ in group]))
        result = EncodedBatch(
            positions=tuple(fitting),
            fields={name: join_stacks([part[name] for part, _ in parts]) for name in parts[0][0]},
            logvar=join_stacks([logvar for _, logvar in parts if logvar is not None]),
            rejects=rejects,
        )
        stored = [{name: rows[row] for name, rows in result.fields.items()}
                  for row in range(len(fitting))]  # fmt: skip
        overflown = non_finite_rows(stored, range(len(fitting)))
        return without_rows(result, overflown, OVERFLOWN) if overflown else result


def reset(encoder: Encoder) -> None:
    """Drop what an encoder keeps after an error, and memory that torch keeps of a GPU."""
    encoder.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fails_on_grey(error: Exception) -> EncoderBrokenError:
    """Return what to raise where plain grey fails like the sample: no sample is to blame."""
    return EncoderBrokenError(
        "encoder must encode a filler, plain grey or the empty text, got the same failure "
        f"({type(error).__name__}: {first_line(error)})"
    )


def failed(error: Exception) -> Reject:
    """Return why a sample has no latent: the encoder raised ``error`` on it, alone and twice."""
    return Reject(
        code=RejectCode.ENCODER_FAILED.word,
        stage="encode",
        reason=f"the encoder fails on it alone: {type(error).__name__}: {first_line(error)}",
        is_transient=True,
    )


def not_storable(fault: str) -> Reject:
    """Return why a sample has no latent: a value of it would be stored as another one."""
    return Reject(
        code=RejectCode.ENCODER_FAILED.word, stage="encode", reason=f"the encoder gives {fault}"
    )
