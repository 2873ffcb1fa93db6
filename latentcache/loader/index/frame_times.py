"""Which pixel frames each latent frame of a clip holds: what times for RoPE are made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from latentcache.core.frames import FrameRule
from latentcache.core.inputs import encoded_bucket, recorded_input
from latentcache.core.media import Bucket
from latentcache.store import EncodingRecord
from latentcache.store.format import TensorEntry

Array = np.ndarray[Any, np.dtype[np.float64]]


def latent_frame_spans(
    record: EncodingRecord, fields: Mapping[str, TensorEntry], bucket: Bucket
) -> Array:
    """Return the pixel frames that each latent frame holds, float64 [T, 2]: from, up to.

    A causal encoder of factor 4 gives (0, 1), (1, 5), (5, 9) ...: its first latent frame holds
    the first pixel frame alone, each further one the next four. One that takes four at a time
    from the start gives (0, 4), (4, 8) ...; one that takes frames as images, (0, 1), (1, 2) ...

    Args:
        record: Of the encoding; its spec's frame rule says how frames are grouped.
        fields: Of a sample: how many latent frames there are.
        bucket: How many pixel frames there are.
    """
    num_latents = num_latent_frames(record, fields)
    bucket = encoded_bucket(bucket, recorded_input(record.transform))
    rule = FrameRule.from_spec(record.spec)
    if rule is not None and rule.admits(bucket.num_frames):
        spans = np.array(rule.latent_spans(bucket.num_frames), np.float64)
        if len(spans) == num_latents:
            return spans
    if num_latents == 1:
        return np.array([[0.0, bucket.num_frames]])
    # No rule is known: evenly, the first frame alone, as most encoders do.
    ends = 1.0 + np.linspace(0, bucket.num_frames - 1, num_latents)
    return np.stack([np.append(0.0, ends[:-1]), ends], axis=1)


def num_latent_frames(record: EncodingRecord, fields: Mapping[str, TensorEntry]) -> int:
    """Return how many latent frames a sample has; 1 where it has no such axis."""
    field = record.fields[0]
    return fields[field.name].shape[field.axes.index("T")] if "T" in field.axes else 1


def seconds_of_spans(spans: Array, *, start_s: Array, frame_rate_fps: Array) -> Array:
    """Return spans of frames as seconds in the medium, float64 [B, T, 2]; 0 for images.

    Args:
        spans: Frames of the clips, [B, T, 2].
        start_s: Of each clip, [B].
        frame_rate_fps: Of each clip, [B]; 0 for images.
    """
    is_clip = frame_rate_fps > 0
    frame_s = np.where(is_clip, 1 / np.where(is_clip, frame_rate_fps, 1), 0)
    found: Array = start_s[:, None, None] + frame_s[:, None, None] * spans
    return found
