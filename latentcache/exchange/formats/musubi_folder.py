"""A cache folder of musubi-tuner: a safetensors file per picture or clip.

``STEM_WWWWxHHHH_ARCH.safetensors``, of a clip ``STEM_FFFFF-NNN_WWWWxHHHH_ARCH.safetensors``; in it
``latents_FxHxW_DTYPE`` (latent units). Source: kohya-ss/musubi-tuner, ``dataset/cache_io.py`` and
``dataset/image_video_dataset.py`` (``get_latent_cache_path``, ``prepare_for_training``).

The size in the name is that of the pixels that were encoded, not the picture's: the loader finds
the bucket of a file by it, and what it puts into one bucket it stacks.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.torch import save

from latentcache.core.media import Bucket
from latentcache.exchange.chosen_rows import LiveSample
from latentcache.exchange.model_space import LatentMaker, Space, with_frames
from latentcache.storage import Folder

_VERSION = "1.0.1"


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one model's latents are kept.

    Attributes:
        full: Its name in the metadata.
        num_axes: 4 with a frame axis, 3 without.
        space: Whether its trainer scales.
        has_frames_in_key: Whether the key says ``FxHxW``, and not ``HxW``.
        channels: Of its latents.
    """

    full: str
    num_axes: int
    space: Space
    channels: tuple[int, ...]
    has_frames_in_key: bool = True


ARCHITECTURES: Mapping[str, Architecture] = {
    "hv": Architecture("hunyuan_video", 4, "raw", (16,)),
    "hv15": Architecture("hunyuan_video_1_5", 4, "raw", (32,)),
    "wan": Architecture("wan", 4, "scaled", (16, 48)),
    "qi": Architecture("qwen_image", 4, "scaled", (16,)),
    "k5": Architecture("kandinsky5", 4, "scaled", (16,)),
    "zi": Architecture("z_image", 3, "raw", (16,)),
    "f2d": Architecture("flux_2_dev", 3, "scaled", (128,), has_frames_in_key=False),
    "f2k4b": Architecture("flux_2_klein_4b", 3, "scaled", (128,), has_frames_in_key=False),
    "f2k9b": Architecture("flux_2_klein_9b", 3, "scaled", (128,), has_frames_in_key=False),
}
"""Those whose latents need nothing beside them; the edit models want control latents too."""


class MusubiFolder:
    """Writes one file a sample; one that is there is written again with the same content."""

    def __init__(self, dest: Folder, maker: LatentMaker, name: str) -> None:
        """Prepare; writes nothing.

        Args:
            dest: The ``cache_directory`` of a data set.
            maker: Of tensors, in the space of the architecture.
            name: Of ``ARCHITECTURES``.
        """
        self._dest, self._maker, self._name = dest, maker, name
        self._architecture = ARCHITECTURES[name]

    def name_of(self, planned: Mapping[str, Any]) -> str:
        """Return the file of a sample, by its row of the plan."""
        name = posixpath.basename(planned["member"] or planned["path"])
        stem = posixpath.splitext(name)[0]
        bucket = Bucket.parse(planned["bucket"])
        if planned["start_s"] is not None:
            first = round(planned["start_s"] * (planned["frame_rate_fps"] or 0.0))
            stem = f"{stem}_{first:05d}-{bucket.num_frames:03d}"
        size = f"{bucket.width_px:04d}x{bucket.height_px:04d}"
        return f"{stem}_{size}_{self._name}.safetensors"

    def add(self, sample: LiveSample) -> None:
        """Write one sample."""
        (fields,) = sample.fields.values()
        planned, architecture = sample.planned, self._architecture
        latent = self._maker.make(planned["key"], fields)
        latent = with_frames(latent, wanted=architecture.num_axes, where=self._name)
        *_, height, width = latent.shape
        frames = latent.shape[1] if latent.ndim == 4 else 1
        size = (
            f"{frames}x{height}x{width}" if architecture.has_frames_in_key else f"{height}x{width}"
        )
        metadata = {
            "architecture": architecture.full,
            "width": str(planned["source_width_px"]),
            "height": str(planned["source_height_px"]),
            "format_version": _VERSION,
        }
        num_frames = Bucket.parse(planned["bucket"]).num_frames
        if planned["start_s"] is not None:
            metadata["frame_count"] = str(num_frames)
        dtype = str(latent.dtype).removeprefix("torch.")
        data = save({f"latents_{size}_{dtype}": latent}, metadata=metadata)
        self._dest.write(self.name_of(planned), data)

    def finish(self) -> None:
        """Nothing is left to do."""
