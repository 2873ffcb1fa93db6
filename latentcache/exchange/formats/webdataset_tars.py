"""Tars for the ``webdataset`` library and whatever reads such: latents, caption and facts together.

A tar per plan shard. Each sample has ``KEY.COLUMN.safetensors`` with its stored fields, ``KEY.txt``
with its caption and ``KEY.json`` with everything else that is known of it.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentcache.exchange.chosen_rows import LiveSample
from latentcache.storage import Folder
from latentcache.store.format import as_tensor_bytes, write_tensors

CAPTION = "caption"


class WebDatasetTars:
    """Writes a tar per shard; one that is there is left as it is."""

    def __init__(self, dest: Folder, scratch: Path) -> None:
        """Prepare; writes nothing.

        Args:
            dest: Where tars go.
            scratch: A local folder for the one that grows.
        """
        self._dest, self._path = dest, scratch / "shard.tar"
        self._there = {info.name for info in dest.list()}

    def has(self, shard: int) -> bool:
        """Whether the tar of a shard is there already."""
        return self._name(shard) in self._there

    def write_shard(self, shard: int, samples: Iterator[LiveSample]) -> int:
        """Write the samples of one shard and return how many they are; of none there is no tar."""
        count = 0
        with tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                for name, data in _members(sample):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                count += 1
        if count:
            self._dest.upload(self._name(shard), self._path)
        self._path.unlink(missing_ok=True)
        return count

    @staticmethod
    def _name(shard: int) -> str:
        return f"{shard:08d}.tar"


def _members(sample: LiveSample) -> Iterator[tuple[str, bytes]]:
    key = sample.planned["key"]
    for column, fields in sample.fields.items():
        yield f"{key}.{column}.safetensors", write_tensors(as_tensor_bytes(fields))
    facts = {**sample.planned, **sample.annotations}
    captions = captions_of(sample.annotations)
    if captions:
        yield f"{key}.txt", captions[0].encode("utf-8", "surrogatepass")
    yield f"{key}.json", json.dumps(facts, default=str).encode()


def captions_of(annotations: Mapping[str, Any]) -> list[str]:
    """Return a sample's captions, the first one first; [] without."""
    found = annotations.get(CAPTION)
    if found is None:
        return []
    return [found] if isinstance(found, str) else [each for each in found if each]
