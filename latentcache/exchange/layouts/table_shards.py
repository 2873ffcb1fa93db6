"""MDS shards and FastVideo's Parquet: many samples a file, described in it.

Sources: mosaicml/streaming ``base/format/mds``; FastVideo ``dataset/dataloader/schema.py``.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from latentcache.core.errors import ConfigError, MediaError
from latentcache.exchange.layouts.foreign import (
    SAMPLES_PER_RUN,
    ForeignSample,
    Found,
    Reading,
    Unreadable,
    broken,
    checked,
    read_json,
    sample_of,
)
from latentcache.storage import Folder

_WHOLE = {"int": 8, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float16": 2, "uint32": 4,
          "int32": 4, "float32": 4, "uint64": 8, "int64": 8, "float64": 8}  # fmt: skip
"""Bytes of MDS encodings of one size."""

_Row = Mapping[str, bytes]


def read_mds(reading: Reading) -> Iterator[Found]:
    """Yield the samples of MDS shards that are not compressed.

    The column of latents is ``field``, else the first array or ``latents...``; one of plain bytes
    needs ``shape`` and ``dtype``, as mosaicml/diffusion's ``latents_256`` (4,32,32, float16).

    Raises:
        ConfigError: No column can be latents, or its shape is not told.
    """
    try:
        index = read_json(reading.root, "index.json")
    except MediaError as error:
        raise ConfigError(
            f"mds must have an index.json, got none ({error}); check the path"
        ) from None
    for shard in index["shards"]:
        name = shard["raw_data"]["basename"]
        if shard.get("compression") or shard["format"] != "mds":
            yield Unreadable(name, f"{name} is compressed, or no MDS; write it without compression")
            continue
        columns = dict(zip(shard["column_names"], shard["column_encodings"], strict=True))
        wanted = _latents_column(columns, reading.asked)
        if reading.root.stat(name) is None:
            yield Unreadable(name, f"{name} is missing")
            continue
        for number in range(int(shard["samples"])):
            told: dict[str, Any] = {}
            at = f"{name.removesuffix('.mds')}/{number:06d}"
            row = partial(_mds_row, reading.root, name, columns, number)
            try:
                found = row()
            except MediaError as error:
                yield Unreadable(at, str(error))
                continue
            for key in ("caption", "text", "prompt"):
                if columns.get(key) == "str" and found[key]:
                    told["caption"] = found[key].decode("utf-8", "replace")
                    break
            latents = partial(_mds_latents, columns[wanted], wanted, reading.asked)
            path = found["path"].decode() if columns.get("path") == "str" else ""
            told["run"] = f"{name}/{number // SAMPLES_PER_RUN}"
            yield sample_of(
                path or at,
                row,
                latents,
                opened=found,
                is_picture_known=bool(path),
                **told,
            )


def _latents_column(columns: Mapping[str, str], asked: Mapping[str, str]) -> str:
    if "field" in asked:
        found = asked["field"] if asked["field"] in columns else None
    else:
        named = [name for name in columns if "latent" in name]
        arrays = [name for name in columns if columns[name].startswith("ndarray")]
        best = [name for name in arrays if name in named] or named or arrays
        found = best[0] if best else None
    if found is None:
        raise ConfigError(
            f"a column of mds must be latents, got {', '.join(columns)}; name it with --tell "
            "field=NAME"
        )
    if columns[found] == "bytes" and "shape" not in asked:
        raise ConfigError(
            f"shape must be told of {found}, which is plain bytes; give --tell shape=4,32,32 "
            "and dtype=float16"
        )
    return found


def _mds_row(root: Folder, name: str, columns: Mapping[str, str], number: int) -> _Row:
    """Return the bytes of each column of one sample."""
    try:
        start, stop = np.frombuffer(
            root.read(name, start=4 * (1 + number), end=4 * (3 + number)), np.uint32
        ).tolist()
        data = root.read(name, start=start, end=stop)
        sizes, at = [], 0
        for encoding in columns.values():
            size = _fixed_size(encoding)
            if size is None:
                size, at = int(np.frombuffer(data[at : at + 4], np.uint32)[0]), at + 4
            sizes.append(size)
        found = {}
        for column, size in zip(columns, sizes, strict=True):
            found[column], at = data[at : at + size], at + size
    except (ValueError, OSError, IndexError) as error:
        raise broken(f"{name} sample {number}", error) from None
    if at != len(data):
        raise broken(f"{name} sample {number}", ValueError("its columns do not fill it"))
    return found


def _fixed_size(encoding: str) -> int | None:
    kind, _, rest = encoding.partition(":")
    if kind == "ndarray" and rest.count(":") == 1:
        dtype, shape = rest.split(":")
        return int(np.prod([int(edge) for edge in shape.split(",")])) * np.dtype(dtype).itemsize
    return _WHOLE.get(encoding)


def _mds_latents(encoding: str, column: str, asked: Mapping[str, str], row: _Row) -> torch.Tensor:
    data = row[column]
    try:
        if encoding == "bytes":
            shape = tuple(int(edge) for edge in asked["shape"].split(","))
            array = np.frombuffer(data, asked.get("dtype", "float16")).reshape(shape)
        else:
            array = _mds_array(data, encoding)
        return checked(torch.from_numpy(array.copy()), where=column)
    except (ValueError, TypeError, IndexError) as error:
        raise broken(column, error) from None


_DTYPE_OF_CODE = {18: "float16", 34: "float32", 66: "float64"}


def _mds_array(data: bytes, encoding: str) -> "np.ndarray[Any, Any]":
    _, _, rest = encoding.partition(":")
    dtype, _, fixed = rest.partition(":")
    at = 0
    if not dtype:
        dtype, at = _DTYPE_OF_CODE[data[0]], 1
    if fixed:
        shape = tuple(int(edge) for edge in fixed.split(","))
    else:
        num_axes, width = data[at] >> 2, 1 << (data[at] % 4)
        at += 1
        shape = tuple(np.frombuffer(data[at : at + num_axes * width], f"uint{8 * width}").tolist())
        at += num_axes * width
    return np.frombuffer(data[at:], dtype).reshape(shape)


def read_fastvideo(reading: Reading) -> Iterator[Found]:
    """Yield FastVideo's: Parquet rows with ``vae_latent_bytes``, ``_shape`` and ``_dtype``."""
    for name in reading.names(".parquet"):
        try:
            with reading.root.open_read(name) as file, pq.ParquetFile(file) as parquet:
                columns = [c for c in _FASTVIDEO if c in parquet.schema_arrow.names]
                for group in range(parquet.num_row_groups):
                    table = parquet.read_row_group(group, columns=columns)
                    for number, row in enumerate(table.to_pylist()):
                        yield _fastvideo_sample(reading, (name, group, number), row)
        except (pa.ArrowException, OSError) as error:
            yield Unreadable(name, str(broken(name, error)))


_FASTVIDEO = ("id", "file_name", "caption", "fps", "vae_latent_shape", "vae_latent_dtype")


def _fastvideo_sample(
    reading: Reading, at: tuple[str, int, int], row: Mapping[str, Any]
) -> ForeignSample | Unreadable:
    file_name = row.get("file_name") or row.get("id") or f"{at[0]}/{at[1]}/{at[2]}"
    stem = file_name.rpartition(".")[0] or file_name
    shape = tuple(row.get("vae_latent_shape") or ())
    if len(shape) not in (3, 4) or not all(shape):
        return Unreadable(file_name, f"{file_name} has latents of shape {shape}")
    return ForeignSample(
        name=reading.pictures.get(stem, file_name),
        shape=shape,
        dtype=getattr(torch, row.get("vae_latent_dtype") or "float32", torch.float32),
        load=partial(_fastvideo_latents, reading.root, at),
        caption=row.get("caption") or None,
        frame_rate_fps=row.get("fps") or None,
        run=f"{at[0]}/{at[1]}/{at[2] // SAMPLES_PER_RUN}",
    )


def _fastvideo_latents(root: Folder, at: tuple[str, int, int]) -> torch.Tensor:
    name, group, number = at
    try:
        row = _fastvideo_group(root, name, group).slice(number, 1).to_pylist()[0]
        array = np.frombuffer(row["vae_latent_bytes"], row["vae_latent_dtype"] or "float32")
        return checked(torch.from_numpy(array.reshape(row["vae_latent_shape"]).copy()), where=name)
    except (pa.ArrowException, OSError, ValueError, TypeError, json.JSONDecodeError) as error:
        raise broken(name, error) from None


# Rows of a run are loaded one after the other, and a row group is read whole.
@lru_cache(maxsize=4)
def _fastvideo_group(root: Folder, name: str, group: int) -> pa.Table:
    names = ["vae_latent_bytes", "vae_latent_shape", "vae_latent_dtype"]
    with root.open_read(name) as file, pq.ParquetFile(file) as parquet:
        return parquet.read_row_group(group, columns=names)
