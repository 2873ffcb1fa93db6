"""The one thread that touches the encoder: fixed-shape batches in, stored fields out.

A batch always has its bucket's pinned shape, whatever rows are missing from it: batch
shape and thread count change last bits, neighbours and position do not.

Dimension letters: B batch, C channels, T frames, H height, W width.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from latentcache.core.errors import EncoderError
from latentcache.core.fields import Field
from latentcache.core.rejects import Reject, RejectCode
from latentcache.encoders import (
    Encoder,
    EncoderSpec,
    PosteriorPolicy,
    SampleMeta,
    apply_policy,
    stack_fields,
)
from latentcache.runner.decode.decode_tasks import MID_GREY

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


class EncoderOutOfMemoryError(EncoderError):
    """The device had no room for one batch, twice."""


class EncoderBrokenError(EncoderError):
    """The encoder fails on plain grey too, as a CUDA device does after an illegal access."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeBatch:
    """What goes in.

    Attributes:
        pixels_BTHWC: uint8, mid-grey where a row has no pixels.
        keys: One per row; "" for a filler row, whose output is dropped.
        num_zero_frames: Frames of zeros in the encoder's input range that follow.
    """

    pixels_BTHWC: npt.NDArray[np.uint8]
    keys: tuple[str, ...]
    num_zero_frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedBatch:
    """What comes out, on the CPU, for the rows that are neither filler nor rejected.

    Attributes:
        positions: Of the rows in the batch, ascending.
        fields: Per stored field a tensor with one row per position, in its storage dtype.
        logvar: Posterior log-variance in float32, dropped from ``fields`` or not; or None.
        rejects: By position.
    """

    positions: tuple[int, ...]
    fields: dict[str, torch.Tensor]
    logvar: torch.Tensor | None
    rejects: dict[int, Reject] = field(default_factory=dict)


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


class BatchEncoder:
    """Owns an encoder and the only thread that may touch it.

    Attributes:
        busy_s: Seconds spent encoding so far.
    """

    def __init__(
        self,
        make_encoder: Callable[[str | None], Encoder],
        *,
        policy: Callable[[EncoderSpec], EncodePolicy],
        threads: int,
    ) -> None:
        """Load the encoder on its thread.

        Args:
            make_encoder: Takes a compute dtype, or None for the asked one.
            policy: Of a loaded encoder.
            threads: Torch threads on a CPU.
        """
        self._make_encoder = make_encoder
        # Torch keeps its thread count per calling thread, so it is set on the encode thread.
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="encode", initializer=torch.set_num_threads, initargs=(threads,)
        )
        self.encoder = self._thread.submit(make_encoder, None).result()
        self.policy = policy(self.encoder.spec)
        self.busy_s = 0.0
        self._batch_started_s: float | None = None
        self._fp32_encoder: Encoder | None = None

    @property
    def batch_age_s(self) -> float:
        """Seconds since the batch under way began, 0.0 if there is none."""
        started_s = self._batch_started_s
        return 0.0 if started_s is None else time.monotonic() - started_s

    def submit(self, batch: EncodeBatch, *, note: Note | None = None) -> "Future[EncodedBatch]":
        """Return a future of ``batch``, encoded in the order of submission.

        Args:
            batch: What to encode.
            note: Called on the encode thread with True just before, with False just after.
        """
        return self.call(
            lambda: self._encode(batch), where=str(batch.pixels_BTHWC.shape), note=note
        )

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
        self, batch: EncodeBatch, position: int, *, note: Note | None = None
    ) -> "Future[EncodedBatch]":
        """Return a future of one row of ``batch`` with all others blanked."""
        return self.submit(_only(batch, [position]), note=note)

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
        if note is not None:
            note(True)
        started_s = self._batch_started_s = time.monotonic()
        try:
            with torch.inference_mode():
                result = work()
            if note is not None:
                note(False)
            return result
        except torch.OutOfMemoryError as error:
            raise EncoderOutOfMemoryError(
                f"batch must fit the device, got out of memory at {where} ({first_line(error)})"
            ) from None
        finally:
            self._batch_started_s = None
            self.busy_s += time.monotonic() - started_s

    def _encode(self, batch: EncodeBatch) -> EncodedBatch:
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

    def _forward_twice(self, batch: EncodeBatch) -> dict[str, torch.Tensor]:
        """Return raw fields; after an error the same batch once more on a reset encoder."""
        try:
            return self._forward(self.encoder, batch)
        except Exception:  # noqa: BLE001  what it is shows when it happens again
            self.encoder.reset()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        try:
            return self._forward(self.encoder, batch)
        except Exception:
            self.encoder.reset()
            raise

    def _forward(self, encoder: Encoder, batch: EncodeBatch) -> dict[str, torch.Tensor]:
        pixels = scaled_pixels(batch.pixels_BTHWC, encoder)
        if batch.num_zero_frames:
            # Zeros of the model's, which are no grey that 8 bits could hold.
            pixels = torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, batch.num_zero_frames))
        metas = [SampleMeta(key=key) for key in batch.keys]
        return stack_fields(encoder.encode(pixels, metas))

    def _encode_one_by_one(self, batch: EncodeBatch, positions: Sequence[int]) -> EncodedBatch:
        """Return the batch's rows each encoded alone in the batch's shape; failures rejected."""
        pieces: dict[int, dict[str, torch.Tensor]] = {}
        rejects: dict[int, Reject] = {}
        for position in positions:
            alone = _only(batch, [position])
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
            if position not in rejects:
                pieces[position] = {name: each[position] for name, each in raw.items()}
        if not pieces:
            return EncodedBatch(positions=(), fields={}, logvar=None, rejects=rejects)
        first = next(iter(pieces.values()))
        raw = {
            name: torch.stack([pieces[p][name] if p in pieces else torch.zeros_like(each)
                               for p in range(len(batch.keys))])
            for name, each in first.items()
        }  # fmt: skip
        return self._stored(raw, batch.keys, sorted(pieces), rejects)

    def _check_alive(self, batch: EncodeBatch, error: Exception) -> None:
        """Refuse to blame a sample for what happens with plain grey too.

        Raises:
            EncoderBrokenError: It does.
        """
        try:
            self._forward(self.encoder, _only(batch, []))
        except Exception:  # noqa: BLE001  any failure on grey is the encoder's own
            raise EncoderBrokenError(
                "encoder must encode plain grey, got the same failure "
                f"({type(error).__name__}: {first_line(error)})"
            ) from None

    def _repair_non_finite(
        self, batch: EncodeBatch, raw: dict[str, torch.Tensor], bad: Sequence[int]
    ) -> dict[int, Reject]:
        """Encode ``bad`` rows again in float32, in place; return those that stay non-finite."""
        if self.encoder.spec.compute_dtype != "float32":
            again = self._forward(self.float32_encoder(), _only(batch, bad))
            for name, values in again.items():
                raw[name][list(bad)] = values[list(bad)].to(raw[name].dtype)
        still = non_finite_rows(raw, bad)
        return dict.fromkeys(still, NON_FINITE)

    def _stored(
        self,
        raw: dict[str, torch.Tensor],
        keys: Sequence[str],
        kept: Sequence[int],
        rejects: dict[int, Reject],
    ) -> EncodedBatch:
        index = torch.tensor(list(kept), dtype=torch.long, device=next(iter(raw.values())).device)
        chosen = {name: values.index_select(0, index) for name, values in raw.items()}
        policy = self.policy
        fields = apply_policy(
            chosen,
            policy.fields,
            policy=policy.policy,
            seed=policy.seed,
            keys=[keys[position] for position in kept],
        )
        overflown = non_finite_rows(fields, range(len(kept)))
        logvar = chosen.get("logvar")
        result = EncodedBatch(
            positions=tuple(kept),
            fields=fields,
            logvar=None if logvar is None else logvar.to(torch.float32).cpu(),
            rejects=rejects,
        )
        return _without(result, overflown) if overflown else result


def scaled_pixels(pixels_BTHWC: npt.NDArray[np.uint8], encoder: Encoder) -> torch.Tensor:
    """Return float32 pixels in the encoder's range and layout, on its device.

    Scaling happens in float32 before any cast, so that half precision loses no grey level.
    """
    low, high = encoder.spec.input_range
    tensor = torch.from_numpy(pixels_BTHWC).to(encoder.device)
    if encoder.spec.modality == "video":
        tensor = tensor.permute(0, 4, 1, 2, 3)
    else:
        tensor = tensor[:, 0].permute(0, 3, 1, 2)
    scaled = tensor.to(torch.float32, memory_format=torch.contiguous_format)
    return scaled.mul_((high - low) / 255.0).add_(low)


def _only(batch: EncodeBatch, positions: Sequence[int]) -> EncodeBatch:
    """Return ``batch`` with every row but ``positions`` blanked."""
    pixels = np.full_like(batch.pixels_BTHWC, MID_GREY)
    keys = [""] * len(batch.keys)
    for position in positions:
        pixels[position] = batch.pixels_BTHWC[position]
        keys[position] = batch.keys[position]
    return replace(batch, pixels_BTHWC=pixels, keys=tuple(keys))


def non_finite_rows(fields: dict[str, torch.Tensor], positions: Sequence[int]) -> list[int]:
    """Return which of ``positions`` hold a NaN or an infinity, ascending."""
    bad: set[int] = set()
    for values in fields.values():
        if not values.is_floating_point():
            continue
        checked = values.float() if values.element_size() == 1 else values
        finite = torch.isfinite(checked).flatten(1).all(dim=1).tolist()
        bad.update(position for position in positions if not finite[position])
    return sorted(bad)


def _without(batch: EncodedBatch, rows: Sequence[int]) -> EncodedBatch:
    """Return ``batch`` less the rows that overflowed their storage dtype."""
    kept = [row for row in range(len(batch.positions)) if row not in set(rows)]
    rejects = dict(batch.rejects)
    rejects.update({batch.positions[row]: OVERFLOWN for row in rows})
    return EncodedBatch(
        positions=tuple(batch.positions[row] for row in kept),
        fields={name: values[kept] for name, values in batch.fields.items()},
        logvar=None if batch.logvar is None else batch.logvar[kept],
        rejects=rejects,
    )


def failed(error: Exception) -> Reject:
    """Return why a sample has no latent: the encoder raised ``error`` on it, alone and twice."""
    return Reject(
        code=RejectCode.ENCODER_FAILED.word,
        stage="encode",
        reason=f"the encoder fails on it alone: {type(error).__name__}: {first_line(error)}",
        is_transient=True,
    )


def first_line(error: BaseException) -> str:
    """Return what an error says, short enough for a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no message"
