"""When each latent frame of a clip ends, in pixel frames: what times for RoPE are made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from latentcache.core.media import Bucket
from latentcache.store import EncodingRecord
from latentcache.store.tensor_file import TensorEntry

Array = np.ndarray[Any, np.dtype[np.float64]]


def latent_frame_ends(
    record: EncodingRecord, fields: Mapping[str, TensorEntry], bucket: Bucket
) -> Array:
    """Return the number of the last pixel frame that each latent frame holds, float64 [T].

    A causal encoder of factor 4 gives 0, 4, 8 ...: its first latent frame holds the first
    pixel frame alone, each further one the next four. One that takes four at a time from the
    start gives 3, 7, 11 ... So latent frames are ``factor / frame_rate_fps`` seconds apart,
    whatever the encoder.

    Args:
        record: Of the encoding; its spec's frame rule says how frames are grouped.
        fields: Of a sample: how many latent frames there are.
        bucket: How many pixel frames there are.
    """
    field = record.fields[0]
    if "T" not in field.axes:
        return np.zeros(1)
    num_latents = fields[field.name].shape[field.axes.index("T")]
    rule = record.spec.get("frame_rule")
    if not isinstance(rule, Mapping):
        return np.linspace(0, bucket.num_frames - 1, num_latents)
    first, latent_first = rule["first"], rule["latent_first"]
    number = np.arange(1, num_latents + 1)
    early = number * (first / latent_first)
    late = first + (number - latent_first) * (rule["step"] / rule["latent_step"])
    ends: Array = np.where(number <= latent_first, early, late) - 1.0
    return ends
