"""Caches as other trainers write them, by the names, keys and types of their own code."""

import hashlib
import io
import json
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

NUM = 6
STEMS = [f"cats/{number}" for number in range(3)] + [f"dogs/{number}" for number in range(3)]
Latents = dict[str, torch.Tensor]


def drawn(shape: tuple[int, ...] = (4, 8, 8), dtype: torch.dtype = torch.float16) -> Latents:
    """Return latents of about unit variance by stem."""
    return {
        stem: torch.randn(shape, generator=torch.Generator().manual_seed(number)).to(dtype)
        for number, stem in enumerate(STEMS)
    }


def pictures(root: Path) -> Path:
    for stem in STEMS:
        path = root / f"{stem}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a picture")
    return root


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def simpletuner(root: Path, latents: Latents) -> None:
    for stem, latent in latents.items():
        folder, name = stem.split("/")
        torch.save(latent, _made(root / folder / f"{hashlib.sha256(name.encode()).hexdigest()}.pt"))


def musubi(root: Path, latents: Latents) -> None:
    for stem, latent in latents.items():
        frames, height, width = latent.shape[1:] if latent.ndim == 4 else (1, *latent.shape[1:])
        kind = str(latent.dtype).removeprefix("torch.")
        tensors = {
            f"latents_{frames}x{height}x{width}_{kind}": latent,
            f"latents_image_{frames}x{height}x{width}_{kind}": latent + 1,
        }
        name = f"{stem.replace('/', '_')}_0640x0480_wan.safetensors"
        metadata = {"architecture": "wan", "width": "640", "height": "480"}
        save_file(tensors, _made(root / name), metadata=metadata)
        save_file(
            {"varlen_t5_bfloat16": latent}, root / f"{stem.replace('/', '_')}_wan_te.safetensors"
        )


def sd_scripts(root: Path, latents: Latents) -> None:
    for stem, latent in latents.items():
        array = latent.float().numpy()
        np.savez(
            _made(root / f"{stem}_0640x0480_sdxl.npz"),
            latents=array,
            latents_flipped=array[..., ::-1],
            original_size=np.array([640, 480]),
            crop_ltrb=np.array([3, 5, 0, 0]),
        )


def ai_toolkit(root: Path, latents: Latents) -> None:
    for stem, latent in latents.items():
        folder, name = stem.split("/")
        path = _made(root / folder / "_latent_cache" / f"{name}_Zm9vYmFy.safetensors")
        save_file(
            {"latent": latent}, path, metadata={"info": json.dumps({"crop_x": 3, "crop_y": 5})}
        )


def onetrainer(root: Path, latents: Latents) -> None:
    folder = root / "image" / ("a" * 64) / "variation-0"
    rows = []
    for number, (stem, latent) in enumerate(latents.items()):
        torch.save({"latent_image": latent}, _made(folder / f"{number}.pt"))
        rows.append({"image_path": f"/data/pictures/{stem}.jpg", "crop_resolution": (64, 64)})
    torch.save(rows, folder / "aggregate.pt")


def ltx2(root: Path, latents: Latents) -> None:
    for stem, latent in latents.items():
        _, frames, height, width = latent.shape
        told = {"latents": latent, "num_frames": frames, "height": height, "width": width}
        torch.save({**told, "fps": 24.0}, _made(root / "latents" / f"{stem}.pt"))
        torch.save({"video_prompt_embeds": latent}, _made(root / "conditions" / f"{stem}.pt"))


def automodel(root: Path, latents: Latents) -> None:
    for stem, latent in latents.items():
        name = hashlib.md5(stem.encode()).hexdigest()
        told = {"latent": latent, "prompt": f"a picture {stem}", "image_path": f"/x/{stem}.jpg"}
        torch.save(told, _made(root / "64x64" / f"{name}.pt"))


def lightningdit(root: Path, latents: Latents) -> None:
    stacked = torch.stack(list(latents.values()))
    tensors = {
        "latents": stacked,
        "latents_flip": stacked.flip(-1).contiguous(),
        "labels": torch.arange(len(stacked)),
    }
    save_file(tensors, _made(root / "latents_rank00_shard000.safetensors"))
    stats = {"mean": torch.zeros(1, 4, 1, 1), "std": torch.ones(1, 4, 1, 1)}
    torch.save(stats, root / "latents_stats.pt")


def edm2(root: Path, latents: Latents) -> None:
    labels = []
    for number, latent in enumerate(latents.values()):
        name = f"{number:05d}/img-mean-std-{number:08d}.npy"
        moments = np.concatenate([latent.float().numpy(), np.full((4, 8, 8), 0.5, np.float32)])
        np.save(_made(root / name), moments)
        labels.append([name, number % 3])
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))


def fastvideo(root: Path, latents: Latents) -> None:
    rows = [
        {
            "id": stem,
            "file_name": f"{stem}.mp4",
            "caption": f"a clip {stem}",
            "fps": 16.0,
            "vae_latent_bytes": latent.float().numpy().tobytes(),
            "vae_latent_shape": list(latent.shape),
            "vae_latent_dtype": "float32",
        }
        for stem, latent in latents.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), _made(root / "data_00000.parquet"), row_group_size=4)


def mlperf_flux(root: Path, latents: Latents) -> None:
    """As ``Dataset.save_to_disk`` does: streams of nested lists, two files, and empty encodings."""
    folder = root / "cc12m_preprocessed" / "part_0"
    rows = [
        {
            "mean": latent.float().numpy().tolist(),
            "logvar": np.full(latent.shape, -2.0, np.float32).tolist(),
            "t5_encodings": [[0.5] * 8] * 4,
            "clip_encodings": [0.5] * 8,
        }
        for latent in latents.values()
    ]
    grid = pa.list_(pa.list_(pa.list_(pa.float32())))
    schema = pa.schema(
        {
            "mean": grid,
            "logvar": grid,
            "t5_encodings": pa.list_(pa.list_(pa.float32())),
            "clip_encodings": pa.list_(pa.float32()),
        }
    )
    for number, part in enumerate((rows[:4], rows[4:])):
        path = _made(folder / f"data-{number:05d}-of-00002.arrow")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for row in part:
                writer.write_table(pa.Table.from_pylist([row], schema))
    (folder / "state.json").write_text(json.dumps({"_data_files": []}))
    np.save(_made(root / "empty_encodings" / "t5_empty.npy"), np.zeros((1, 4, 8)))


def mds(root: Path, latents: Latents) -> None:
    """As ``MDSWriter`` does, with columns ``caption`` and ``latents``."""
    names, encodings = ["caption", "latents"], ["str", "ndarray:float16"]
    config: dict[str, Any] = {
        "version": 2, "format": "mds", "compression": None, "hashes": [], "size_limit": 1 << 26,
        "column_names": names, "column_encodings": encodings, "column_sizes": [None, None],
    }  # fmt: skip
    header = json.dumps(config, sort_keys=True).encode()
    samples = []
    for stem, latent in latents.items():
        array = latent.numpy()
        shape = bytes([(array.ndim << 2) | 0]) + np.array(array.shape, np.uint8).tobytes()
        data = [f"a picture {stem}".encode(), shape + array.tobytes()]
        samples.append(np.array([len(each) for each in data], np.uint32).tobytes() + b"".join(data))
    offsets = np.array([0, *map(len, samples)]).cumsum() + 4 + 4 * (len(samples) + 1) + len(header)
    data = struct.pack("<I", len(samples)) + offsets.astype(np.uint32).tobytes() + header
    data += b"".join(samples)
    _made(root / "shard.00000.mds").write_bytes(data)
    raw = {"basename": "shard.00000.mds", "bytes": len(data), "hashes": {}}
    shard = {"samples": len(samples), "raw_data": raw, "zip_data": None, **config}
    (root / "index.json").write_text(json.dumps({"version": 2, "shards": [shard]}))


def diffusion_pipe(root: Path, latents: Latents) -> None:
    """As ``Cache.add`` does, two items a shard."""
    folder = root / "flux" / "cache_1.0x64x64x1" / "latents"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "metadata.db")) as database:
        database.execute("CREATE TABLE fingerprint(value)")
        database.execute("CREATE TABLE items(shard, shard_index)")
        for number, (stem, latent) in enumerate(latents.items()):
            shard, index = divmod(number, 2)
            path = folder / f"shard_{shard}.bin"
            if not index:
                database.execute(f"CREATE TABLE shard_{shard}(offset, size)")
                path.write_bytes(b"")
            buffer = io.BytesIO()
            spec = (None, f"/data/pictures/{stem}.jpg")
            item = {"latents": latent, "mask": None, "image_spec": spec, "caption": f"a {stem}"}
            torch.save(item, buffer)
            entry = (path.stat().st_size, len(buffer.getvalue()))
            path.write_bytes(path.read_bytes() + buffer.getvalue())
            database.execute("INSERT INTO items VALUES(?, ?)", (shard, index))
            database.execute(f"INSERT INTO shard_{shard} VALUES (?, ?)", entry)
        database.commit()


def pickled(path: Path) -> None:
    """Write a .pt that would run code when it is unpickled."""

    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            import os  # noqa: PLC0415

            return os.system, (f"touch {path}.was_run",)

    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    _made(path).write_bytes(buffer.getvalue())
