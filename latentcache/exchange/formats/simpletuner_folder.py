"""A cache folder of SimpleTuner: a bare tensor per picture, by the SHA-256 of its name.

``CACHE/SUBFOLDER/SHA256(stem).pt``, in the model's space. Source: bghira/SimpleTuner,
``helpers/caching/vae.py``, ``generate_vae_cache_filename`` (``hash_filenames``, its default).
"""

import hashlib
import io
import posixpath
from collections.abc import Mapping
from typing import Any

import torch

from latentcache.exchange.chosen_rows import LiveSample
from latentcache.exchange.model_space import LatentMaker
from latentcache.storage import Folder


def simpletuner_name(path: str) -> str:
    """Return where SimpleTuner looks for the latents of a picture, relative to its cache folder."""
    folder, name = posixpath.split(path)
    stem = posixpath.splitext(name)[0]
    return posixpath.join(folder, f"{hashlib.sha256(stem.encode()).hexdigest()}.pt")


class SimpleTunerFolder:
    """Writes one file a sample; one that is there is written again with the same content."""

    def __init__(self, dest: Folder, maker: LatentMaker) -> None:
        """Prepare; writes nothing.

        Args:
            dest: The ``cache_dir_vae`` of a data set.
            maker: Of tensors, scaled.
        """
        self._dest, self._maker = dest, maker

    @staticmethod
    def name_of(planned: Mapping[str, Any]) -> str:
        """Return the file of a sample, by its row of the plan."""
        return simpletuner_name(planned["member"] or planned["path"])

    def add(self, sample: LiveSample) -> None:
        """Write one sample."""
        (fields,) = sample.fields.values()
        buffer = io.BytesIO()
        torch.save(self._maker.make(sample.planned["key"], fields), buffer)
        self._dest.write(self.name_of(sample.planned), buffer.getvalue())

    def finish(self) -> None:
        """Nothing is left to do."""
