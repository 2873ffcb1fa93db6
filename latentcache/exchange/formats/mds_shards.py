"""MDS, what mosaicml-streaming reads: shards of up to 64 MB and an ``index.json``.

A shard is ``num_samples``, offsets (both uint32), its configuration as JSON, and the samples: of
each the sizes of its columns of no fixed size (uint32), then the columns, by name. Source:
mosaicml/streaming, ``base/format/mds/writer.py`` and ``encodings.py``, version 2 of the format.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from latentcache.exchange.chosen_rows import LiveSample
from latentcache.exchange.formats.webdataset_tars import captions_of
from latentcache.storage import Folder
from latentcache.store import ColumnView, TensorBytes
from latentcache.store.format import as_tensor_bytes, write_tensors

SIZE_LIMIT = 2**26
_NUMPY_HAS = ("float64", "float32", "float16", "int8", "int16", "int32", "int64", "uint8")
_FIXED = None
"""All our columns are of sizes that vary."""


class MdsShards:
    """Collects samples and writes a shard whenever one is full; the index comes last."""

    def __init__(self, dest: Folder, views: Mapping[str, ColumnView]) -> None:
        """Prepare; writes nothing.

        Args:
            dest: An empty folder.
            views: Columns to be written.
        """
        self._dest = dest
        self._encodings = {"key": "str", "path": "str", "caption": "str", "annotations": "json"}
        for name, view in views.items():
            self._encodings |= _encodings_of(name, view)
        self._names = sorted(self._encodings)
        self._config = {
            "version": 2,
            "format": "mds",
            "compression": None,
            "hashes": [],
            "size_limit": SIZE_LIMIT,
            "column_names": self._names,
            "column_encodings": [self._encodings[name] for name in self._names],
            "column_sizes": [_FIXED for _ in self._names],
        }
        self._config_data = json.dumps(self._config, sort_keys=True).encode()
        self._samples: list[bytes] = []
        self._num_bytes = 0
        self._shards: list[dict[str, Any]] = []

    def add(self, sample: LiveSample) -> None:
        """Add one sample."""
        data = self._encoded(sample)
        if self._samples and self._num_bytes + len(data) + 4 > SIZE_LIMIT:
            self._flush()
        self._samples.append(data)
        self._num_bytes += len(data) + 4

    def finish(self) -> None:
        """Write what is left, and the index that makes it a data set."""
        self._flush()
        index = {"version": 2, "shards": self._shards}
        self._dest.write("index.json", json.dumps(index, sort_keys=True).encode())

    def _encoded(self, sample: LiveSample) -> bytes:
        planned = sample.planned
        captions = captions_of(sample.annotations)
        values: dict[str, bytes] = {
            "key": planned["key"].encode(),
            "path": planned["path"].encode("utf-8", "surrogatepass"),
            "caption": (captions[0] if captions else "").encode("utf-8", "surrogatepass"),
            "annotations": json.dumps(sample.annotations, default=str).encode(),
        }
        for column, fields in sample.fields.items():
            if self._encodings.get(column) == "bytes":
                values[column] = write_tensors(as_tensor_bytes(fields))
                continue
            for name, value in fields.items():
                values[f"{column}.{name}"] = _array(value)
        data = [values[name] for name in self._names]
        return np.array([len(each) for each in data], np.uint32).tobytes() + b"".join(data)

    def _flush(self) -> None:
        if not self._samples:
            return
        count = len(self._samples)
        offsets = np.array([0, *map(len, self._samples)]).cumsum()
        offsets += 4 + 4 * (count + 1) + len(self._config_data)
        head = np.uint32(count).tobytes() + offsets.astype(np.uint32).tobytes()
        data = b"".join([head, self._config_data, *self._samples])
        name = f"shard.{len(self._shards):05d}.mds"
        self._dest.write(name, data)
        raw = {"basename": name, "bytes": len(data), "hashes": {}}
        self._shards.append({"samples": count, "raw_data": raw, "zip_data": None, **self._config})
        self._samples, self._num_bytes = [], 0


def _encodings_of(name: str, view: ColumnView) -> dict[str, str]:
    """Return the MDS columns of one of ours: an array a field, of texts one safetensors file."""
    if view.record.spec.get("modality") == "text":
        return {name: "bytes"}  # a sample without a text has arrays of no elements, which MDS lacks
    return {
        f"{name}.{field.name}": f"ndarray:{_dtype(field.dtype)}" for field in view.record.fields
    }


def _dtype(stored: str) -> str:
    return stored if stored in _NUMPY_HAS else "float32"


def _array(value: Any) -> bytes:
    """Return an array of a known dtype as MDS has it: number of axes, shape, values."""
    array = value.to_numpy_float32() if isinstance(value, TensorBytes) else value
    largest = max(array.shape, default=0)
    code = next(code for code in range(4) if largest < 1 << (8 << code))
    shape = np.array(array.shape, f"uint{8 << code}")
    return (
        bytes([(array.ndim << 2) | code]) + shape.tobytes() + np.ascontiguousarray(array).tobytes()
    )
