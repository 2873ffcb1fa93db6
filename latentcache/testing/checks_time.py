"""The checks of time and of turns: clips whole, in pieces, and from two threads at once.

Numbers follow docs/encoders.md, "The contract".
"""

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from latentcache.core.errors import EncoderError, LatentCacheError
from latentcache.core.media import Bucket
from latentcache.encoders import EncoderStream, StreamingEncoder
from latentcache.testing.trial import (
    CLOSE,
    ULP,
    Batch,
    CheckFailedError,
    CheckSkippedError,
    Trial,
    join_time,
    make_metas,
    narrow_time,
    require_close,
    require_same_bits,
)

_STREAM_STEPS = 4


def check_temporal(trial: Trial) -> str:
    """4: prefix and first frame are as declared."""
    spec = trial.spec
    if spec.modality != "video":
        raise CheckSkippedError("takes no clips")
    bucket = trial.buckets()[0]
    pixels = trial.pixels(bucket)
    whole = trial.encode(pixels)
    seen = []
    if spec.is_causal:
        num_frames = bucket.num_frames - spec.frame_rule.step
        prefix = trial.encode(pixels[:, :, :num_frames])
        expected = narrow_time(whole, spec, spec.frame_rule.num_latent_frames(num_frames))
        require_close(prefix, expected, tolerance=CLOSE, what="is_causal: the prefix of a clip")
        seen.append("causal")
    if spec.image_is_first_frame:
        if not spec.frame_rule.admits(1):
            raise CheckFailedError(
                "image_is_first_frame must not be declared: one frame is illegal"
            )
        image = trial.encode(pixels[:, :, :1])
        first = narrow_time(whole, spec, 1)
        require_close(image, first, tolerance=CLOSE, what="image_is_first_frame: a single frame")
        seen.append("an image is a first frame")
    return "; ".join(seen) or "declares neither causality nor image_is_first_frame"


@dataclass
class _Feed:
    """One clip on its way into a stream, in pieces of random sizes."""

    stream: EncoderStream
    frames_CTHW: torch.Tensor
    sizes: random.Random
    start: int = 0
    parts: list[Mapping[str, torch.Tensor]] = field(default_factory=list)

    def push(self) -> None:
        """Push the next piece, if there is one."""
        size = self.sizes.randint(1, 7)
        if self.start < self.frames_CTHW.shape[1]:
            self._keep(self.stream.push(self.frames_CTHW[:, self.start : self.start + size]))
            self.start += size

    def close(self) -> None:
        """End the clip."""
        self._keep(self.stream.close())

    def _keep(self, part: Mapping[str, torch.Tensor] | None) -> None:
        # Rebuilt by value: a stream that reuses its buffers must not be flattered.
        self.parts += [{name: values.clone() for name, values in part.items()}] if part else []


def check_streaming(trial: Trial) -> str:
    """5: clips in pieces of any size give what whole clips give, two at once; tails are refused."""
    spec, encoder = trial.spec, trial.encoder
    if spec.streaming == "none":
        return _check_refusal(trial)
    if not isinstance(encoder, StreamingEncoder):
        raise CheckFailedError(f"streaming = {spec.streaming!r} must come with open(), has none")
    rule, small = spec.frame_rule, trial.buckets()[0]
    bucket = Bucket(rule.first + _STREAM_STEPS * rule.step, small.height_px, small.width_px)
    clips = [trial.pixels(bucket, seed=seed) for seed in range(2)]
    sizes = random.Random(bucket.num_frames)
    feeds = [
        _Feed(encoder.open(bucket.height_px, bucket.width_px), clip[0], sizes) for clip in clips
    ]
    whole = [trial.encode(clips[0])]
    while any(feed.start < bucket.num_frames for feed in feeds):
        for feed in feeds:
            feed.push()
        # A whole clip between two pieces must not disturb the streams, nor they it.
        whole += [trial.encode(clips[1])] if len(whole) == 1 else []
    for feed, expected in zip(feeds, whole, strict=True):
        feed.close()
        _require_equal(join_time(feed.parts, spec), expected, is_exact=spec.streaming == "exact")
    if rule.step > 1:
        _require_tail_refusal(encoder, clips[0][0, :, : rule.first + 1])
    return f"{len(feeds[0].parts)} parts join to the whole ({spec.streaming}), two clips at once"


def _require_equal(streamed: Batch, whole: Batch, *, is_exact: bool) -> None:
    if is_exact:
        require_same_bits(streamed, whole, what="a streamed clip")
    else:
        require_close(streamed, whole, tolerance=ULP, what="a streamed clip")


def _check_refusal(trial: Trial) -> str:
    encoder, bucket = trial.encoder, trial.buckets()[0]
    if not isinstance(encoder, StreamingEncoder):
        raise CheckSkippedError("declares no streaming")
    try:
        encoder.open(bucket.height_px, bucket.width_px)
    except EncoderError as error:
        return f"refuses streams: {error}"
    raise CheckFailedError("open() must be refused where streaming = 'none', was not")


def _require_tail_refusal(encoder: StreamingEncoder, frames: torch.Tensor) -> None:
    stream = encoder.open(frames.shape[-2], frames.shape[-1])
    stream.push(frames)
    try:
        stream.close()
    except (LatentCacheError, ValueError):
        return
    raise CheckFailedError("close() must refuse a clip that ends within a latent frame")


def check_threads(trial: Trial) -> str:
    """11: two threads on one encoder get what each alone gets, if it declares so."""
    if not trial.spec.is_reentrant:
        raise CheckSkippedError("declares that one thread uses it")
    pixels = [trial.pixels(trial.buckets()[0], seed=seed) for seed in range(2)]
    expected = [trial.encode(one) for one in pixels]
    got: list[Batch | Exception | None] = [None, None]
    start = threading.Barrier(2)

    def encode(index: int) -> None:
        start.wait()
        try:
            rows = trial.encoder.encode(pixels[index], make_metas(1))
            got[index] = {name: values[None].cpu() for name, values in rows[0].items()}
        except Exception as error:  # noqa: BLE001  judged by the main thread
            got[index] = error

    threads = [threading.Thread(target=encode, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, one in enumerate(got):
        if not isinstance(one, dict):
            raise CheckFailedError(f"is_reentrant: two threads at once must work, got {one!r}")
        require_same_bits(one, expected[index], what="is_reentrant: two threads at once")
    return "two threads at once get what each alone gets"
