"""Arrays of any axes, brought to one: samples first, then channels, first frame apart.

Dimension letters: B batch, C channels (or Q codebooks), T latent frames, H height, W width,
N rows, P positions, G patch phases.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latentcache.core.fields import Field

FrameClass = Literal["first", "rest"]
FRAME_CLASSES: tuple[FrameClass, ...] = ("first", "rest")
"""A causal encoder makes the first latent frame from one frame and each other one from
several, so they are never pooled unseen. Images, and fields without T, are all ``first``."""


def split_frames(
    values: NDArray[np.generic], field: Field, *, is_continued: bool = False
) -> dict[FrameClass, NDArray[np.generic]]:
    """Return views (B, C, ...) of the first latent frame and of the rest.

    A field without a channel axis gets one of size 1.

    Args:
        values: A batch of the field (B, *field.axes).
        field: Names the axes.
        is_continued: Latent frames from the middle of a clip: all of them are of the rest.

    Raises:
        ValueError: ``values`` has another number of dimensions.
    """
    if values.ndim != 1 + len(field.axes):
        raise ValueError(
            f"{field.name} must have axes B{field.axes}, got shape {values.shape}; stack samples"
        )
    channel = next((axis for axis in "CQ" if axis in field.axes), None)
    order = [0] + [1 + field.axes.index(axis) for axis in field.axes if axis == channel]
    order += [1 + i for i, axis in enumerate(field.axes) if axis != channel]
    canonical = values.transpose(order)
    if channel is None:
        canonical = canonical[:, None]
    if "T" not in field.axes:
        return {"first": canonical}
    time = 2 + field.axes.replace(channel or "", "").index("T")
    canonical = np.moveaxis(canonical, time, 2)
    if is_continued:
        return {"rest": canonical}
    frames: dict[FrameClass, NDArray[np.generic]] = {"first": canonical[:, :, :1]}
    if canonical.shape[2] > 1:
        frames["rest"] = canonical[:, :, 1:]
    return frames


def num_latent_frames(values: NDArray[np.generic], field: Field) -> int:
    """Return the latent frames in one class of a batch; a sample without T counts as one."""
    frames_per_sample: int = values.shape[2] if "T" in field.axes else 1
    return len(values) * frames_per_sample


def as_rows(values: NDArray[np.generic], *, patch_size: int = 1) -> NDArray[np.float32]:
    """Return contiguous float32 (N, C, P), a row per sample and patch phase.

    With ``patch_size`` p each sample becomes p * p rows, row ``dy * p + dx`` holding the
    cells at ``(dy, dx)`` of every patch: the channels of ``pixel_unshuffle`` one by one.

    Raises:
        ValueError: The last two axes cannot be cut into patches.
    """
    num_samples, num_channels = values.shape[:2]
    dense = np.ascontiguousarray(values, dtype=np.float32)
    if patch_size == 1:
        return dense.reshape(num_samples, num_channels, -1)
    if values.ndim < 4 or values.shape[-2] % patch_size or values.shape[-1] % patch_size:
        raise ValueError(
            f"latent must have a height and width that are multiples of {patch_size}, "
            f"got {values.shape[2:]}; its normalizer patchifies"
        )
    height, width = values.shape[-2] // patch_size, values.shape[-1] // patch_size
    patches = dense.reshape(
        num_samples, num_channels, -1, height, patch_size, width, patch_size
    ).transpose(0, 4, 6, 1, 2, 3, 5)
    return np.ascontiguousarray(patches).reshape(num_samples * patch_size**2, num_channels, -1)
