"""The device under an encoder: what it is called, and how large a batch it takes."""

import platform

import numpy as np
import torch

from latentcache.core.media import Bucket
from latentcache.runner.forward.batch_encoder import BatchEncoder, EncodeBatch
from latentcache.runner.versions import RECORDED, version_of

CPU_PIXELS_PER_BATCH = 8 * 256 * 256
"""On a CPU larger batches only cost memory: eight images of 256 px (docs/benchmarks)."""

_DEVICE_MEMORY_SHARE = 0.5
"""Headroom for fragmentation and for the smallest device of a mixed cluster."""

_MAX_DEVICE_BATCH = 64


def fitting_pixels(encoder: BatchEncoder, bucket: Bucket) -> int:
    """Return how many pixels of a batch fit half the device, by doubling the largest bucket."""
    total = torch.cuda.get_device_properties(encoder.encoder.device).total_memory
    fitting, size = 1, 1
    while size <= _MAX_DEVICE_BATCH:
        torch.cuda.reset_peak_memory_stats()
        shape = (size, bucket.num_frames, bucket.height_px, bucket.width_px, 3)
        pixels = np.full(shape, 128, dtype=np.uint8)
        try:
            encoder.submit(EncodeBatch(pixels_BTHWC=pixels, keys=("probe",) * size)).result()
        except Exception:  # noqa: BLE001  whatever a too large batch raises, the last one fitted
            break
        if torch.cuda.max_memory_reserved() > _DEVICE_MEMORY_SHARE * total:
            break
        fitting, size = size, size * 2
    return fitting * bucket.num_pixels


def device_name(device: torch.device) -> str:
    """Return what people call ``device``."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()


def software_facts(device: torch.device, threads: int) -> dict[str, str]:
    """Return the versions, device and threads that every commit records."""
    facts = {"device": device_name(device), "threads": str(threads)}
    return facts | {name: version_of(name) for name in RECORDED}
