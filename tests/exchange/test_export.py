"""What is exported is accepted by the other tools' own rules: names, keys, dtypes, values."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from safetensors.torch import load, load_file

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.exchange import ExportRequest, export_samples, import_cache
from latentcache.exchange.imported_encoding import ImportRequest
from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.store import Snapshot, Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.exchange import foreign_caches as foreign

OPS = {
    "ops": [
        {"op": "subtract", "values": [0.5]},
        {"op": "divide", "values": [2.0]},
    ],
    "source": "drawn",
}


def quiet(done: int, total: int) -> None:
    assert done <= total


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A store of six samples with names of pictures, captions and published figures."""
    root = tmp_path_factory.mktemp("export")
    foreign.automodel(root / "cache", foreign.drawn((16, 8, 8), torch.bfloat16))
    request = ImportRequest(
        layout="automodel", encoder="flux", kind="mean", values="scaled", is_checked=False,
        corpus=str(foreign.pictures(root / "pictures")),
    )  # fmt: skip
    import_cache(root / "cache", root / "store", request, on_progress=quiet)
    return Store.open(root / "store").snapshot()


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A store of clips and pictures whose encoder publishes figures."""
    root = tmp_path_factory.mktemp("scaled")
    column = SyntheticColumn(channels=16, is_video=True, has_logvar=True, normalizer=OPS)
    store = Store.create(root / "store")
    add_generation(store, [(Bucket(1, 64, 64), 3, 8), (Bucket(9, 64, 64), 2, 8)])
    return add_column(store, column)


def by_path(snapshot: Snapshot) -> dict[str, torch.Tensor]:
    paths = {}
    store = Store(snapshot.folder, snapshot.record.store_id)
    for unit in snapshot.generations[0].units(rows_per_unit=1 << 20):
        for row in store.read_rows(unit, ["key", "path"]).to_pylist():
            paths[row["key"]] = row["path"]
    return {
        paths[key]: torch.from_numpy(next(iter(fields.values())).to_numpy_float32())
        for key, _, _, fields in snapshot.column("latents").iter_samples()
    }


# webdataset leaves closing the tars it reads to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tars_hold_latents_captions_and_facts_for_webdataset(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    done = export_samples(
        snapshot, tmp_path / "tars", ExportRequest(format="webdataset"), on_progress=quiet
    )
    assert done.num_samples == 6
    tars = sorted(str(path) for path in (tmp_path / "tars").glob("*.tar"))
    wanted = by_path(snapshot)
    seen = set()
    for sample in webdataset.WebDataset(tars, shardshuffle=False):
        facts = json.loads(sample["json"])
        seen.add(facts["path"])
        stored = load(sample["latents.safetensors"])
        assert torch.equal(stored["mean"].float(), wanted[facts["path"]])
        stem = facts["path"].removesuffix(".jpg")
        assert sample["txt"].decode() == f"a picture {stem}"
    assert seen == set(wanted)
    before = {path: Path(path).stat().st_mtime_ns for path in tars}
    export_samples(
        snapshot, tmp_path / "tars", ExportRequest(format="webdataset"), on_progress=quiet
    )
    assert before == {path: Path(path).stat().st_mtime_ns for path in tars}
    other = ExportRequest(format="webdataset", filter_text="row == 0")
    with pytest.raises(ConfigError, match="same snapshot, columns and filter"):
        export_samples(snapshot, tmp_path / "tars", other, on_progress=quiet)


def read_mds(folder: Path) -> list[dict[str, Any]]:
    """Return samples by the rules of mosaicml-streaming's ``MDSReader`` and ``mds_decode``."""
    index = json.loads((folder / "index.json").read_text())
    assert index["version"] == 2
    found = []
    for shard in index["shards"]:
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        assert np.frombuffer(data[:4], np.uint32)[0] == shard["samples"]
        for number in range(shard["samples"]):
            begin, end = np.frombuffer(data[(1 + number) * 4 :][:8], np.uint32)
            found.append(decode_sample(shard, data[begin:end]))
    return found


def decode_sample(shard: dict[str, Any], data: bytes) -> dict[str, Any]:
    sizes, at = [], 0
    for size in shard["column_sizes"]:
        if size:
            sizes.append(size)
        else:
            (given,) = np.frombuffer(data[at : at + 4], np.uint32)
            sizes.append(int(given))
            at += 4
    sample: dict[str, Any] = {}
    triples = zip(shard["column_names"], shard["column_encodings"], sizes, strict=True)
    for name, encoding, size in triples:
        value, at = data[at : at + size], at + size
        if encoding == "str":
            sample[name] = value.decode()
        elif encoding == "json":
            sample[name] = json.loads(value)
        else:
            dtype = encoding.split(":")[1]
            axes, width = value[0] >> 2, 1 << (value[0] % 4)
            shape = np.frombuffer(value[1 : 1 + axes * width], f"uint{8 * width}")
            sample[name] = np.frombuffer(value[1 + axes * width :], dtype).reshape(shape)
    return sample


def test_mds_is_read_by_the_rules_of_streaming(snapshot: Snapshot, tmp_path: Path) -> None:
    export_samples(snapshot, tmp_path / "mds", ExportRequest(format="mds"), on_progress=quiet)
    wanted = by_path(snapshot)
    samples = read_mds(tmp_path / "mds")
    assert {sample["path"] for sample in samples} == set(wanted)
    for sample in samples:
        assert np.array_equal(sample["latents.mean"], wanted[sample["path"]].numpy())
        assert sample["caption"].startswith("a picture ")
    request = ImportRequest(
        layout="mds", encoder="flux", values="raw", kind="mean", is_checked=False
    )
    import_cache(tmp_path / "mds", tmp_path / "back", request, on_progress=quiet)
    assert by_path_float(Store.open(tmp_path / "back").snapshot()).keys() == wanted.keys()
    with pytest.raises(ConfigError, match="must be empty"):
        export_samples(snapshot, tmp_path / "mds", ExportRequest(format="mds"), on_progress=quiet)


def by_path_float(snapshot: Snapshot) -> dict[str, np.ndarray]:
    paths = {}
    store = Store(snapshot.folder, snapshot.record.store_id)
    for unit in snapshot.generations[0].units(rows_per_unit=1 << 20):
        for row in store.read_rows(unit, ["key", "path"]).to_pylist():
            paths[row["key"]] = row["path"]
    samples = snapshot.column("latents").iter_samples()
    return {paths[key]: np.asarray(next(iter(fields.values()))) for key, _, _, fields in samples}


def test_simpletuner_finds_its_tensors_by_its_own_names(snapshot: Snapshot, tmp_path: Path) -> None:
    export_samples(
        snapshot, tmp_path / "vae", ExportRequest(format="simpletuner"), on_progress=quiet
    )
    instance_data_dir, cache_dir = "/data/pictures", str(tmp_path / "vae")
    for path in by_path(snapshot):
        # VAECache.generate_vae_cache_filename
        filepath = Path(f"{instance_data_dir}/{path}")
        base = hashlib.sha256(filepath.stem.encode()).hexdigest() + ".pt"
        subfolders = str(filepath.parent).replace(instance_data_dir, "").lstrip(os.sep)
        latent = torch.load(Path(cache_dir) / subfolders / base, weights_only=True)
        assert isinstance(latent, torch.Tensor)
        assert latent.shape == (16, 8, 8)
        assert latent.dtype == torch.bfloat16
        assert latent.untyped_storage().nbytes() == latent.numel() * 2


def test_values_are_scaled_as_the_loader_scales_them(scaled: Snapshot, tmp_path: Path) -> None:
    request = ExportRequest(
        format="simpletuner", dtype="float32", filter_text="bucket == '1x64x64'"
    )
    export_samples(scaled, tmp_path / "vae", request, on_progress=quiet)
    loader = LatentLoader(
        Source(store=scaled.folder.url, filter="bucket == '1x64x64'"),
        columns=["latents"], global_batch_size=1, seed=0, one_pass=True,
        options=LoaderOptions(posterior="mode"),
    )  # fmt: skip
    wanted = sorted(batch["latents"][0].numpy().tobytes() for batch in loader)
    found = [torch.load(path, weights_only=True) for path in (tmp_path / "vae").rglob("*.pt")]
    assert sorted(each.numpy().tobytes() for each in found) == wanted


def test_musubi_groups_and_stacks_what_is_exported(scaled: Snapshot, tmp_path: Path) -> None:
    request = ExportRequest(format="musubi", architecture="wan", dtype="bfloat16")
    done = export_samples(scaled, tmp_path / "cache", request, on_progress=quiet)
    assert done.num_samples == 5
    assert "cache_text_encoder_outputs" in done.notes[0]
    buckets: dict[Any, list[torch.Tensor]] = {}
    for cache_file in (tmp_path / "cache").glob("*_wan.safetensors"):
        # ImageDataset.prepare_for_training and VideoDataset.prepare_for_training
        tokens = cache_file.name.split("_")
        width, height = map(int, tokens[-2].split("x"))
        frames = tokens[-3].split("-")[1] if "-" in tokens[-3] else ""
        (tensors,) = load_file(cache_file).items()
        key, latent = tensors
        # BucketBatchManager.__getitem__
        content = key.rsplit("_", 1)[0]
        assert content.startswith("latents_")
        assert content.rsplit("_", 1)[0] == "latents"
        assert key.endswith("_bfloat16")
        sizes = "x".join(map(str, latent.shape[1:]))
        assert key == f"latents_{sizes}_bfloat16"
        buckets.setdefault((width, height, frames), []).append(latent)
    stacked = {bucket: torch.stack(found).shape for bucket, found in buckets.items()}
    assert stacked == {(64, 64, ""): (3, 16, 1, 8, 8), (64, 64, "009"): (2, 16, 3, 8, 8)}


def test_a_column_that_is_not_the_models_is_refused(scaled: Snapshot, tmp_path: Path) -> None:
    for name, words in (("f2d", "must have 128 channels"), ("zi", "must have 3 dimensions")):
        request = ExportRequest(format="musubi", architecture=name)
        with pytest.raises(ConfigError, match=words):
            export_samples(scaled, tmp_path / name, request, on_progress=quiet)
    with pytest.raises(ConfigError, match="architecture must be"):
        ExportRequest(format="musubi")
    with pytest.raises(ConfigError, match="format must be one of"):
        ExportRequest(format="zip")


def test_a_draw_is_keyed_by_the_sample(scaled: Snapshot, tmp_path: Path) -> None:
    sizes = []
    for name in ("one", "two"):
        request = ExportRequest(format="simpletuner", draw="sample")
        export_samples(scaled, tmp_path / name, request, on_progress=quiet)
        files = sorted((tmp_path / name).rglob("*.pt"))
        sizes.append([torch.load(path, weights_only=True) for path in files])
    assert all(torch.equal(*pair) for pair in zip(*sizes, strict=True))
    export_samples(
        scaled, tmp_path / "mode", ExportRequest(format="simpletuner"), on_progress=quiet
    )
    modes = [
        torch.load(each, weights_only=True) for each in sorted((tmp_path / "mode").rglob("*.pt"))
    ]
    assert not any(torch.equal(*pair) for pair in zip(sizes[0], modes, strict=True))


def test_tars_are_plain(snapshot: Snapshot, tmp_path: Path) -> None:
    export_samples(
        snapshot, tmp_path / "tars", ExportRequest(format="webdataset"), on_progress=quiet
    )
    (path,) = (tmp_path / "tars").glob("*.tar")
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        assert all(each.isfile() for each in tar.getmembers())


def test_what_leaves_for_a_trainer_comes_back_the_same(
    snapshot: Snapshot, scaled: Snapshot, tmp_path: Path
) -> None:
    export_samples(
        snapshot, tmp_path / "simpletuner", ExportRequest(format="simpletuner"), on_progress=quiet
    )
    request = ImportRequest(
        layout="simpletuner", encoder="flux", kind="mean", values="scaled", is_checked=False,
        column="back",
    )  # fmt: skip
    store = Store(snapshot.folder, snapshot.record.store_id)
    import_cache(tmp_path / "simpletuner", store.folder.url, request, on_progress=quiet)
    back = store.snapshot().column("back")
    assert _values(back) == _values(snapshot.column("latents"))
    asked = ExportRequest(format="musubi", architecture="wan", dtype="float32")
    export_samples(scaled, tmp_path / "musubi", asked, on_progress=quiet)
    request = ImportRequest(
        layout="musubi", encoder="wan", kind="mean", values="scaled", is_checked=False
    )
    done = import_cache(tmp_path / "musubi", tmp_path / "store", request, on_progress=quiet)
    assert done.num_samples == 5
    again = ExportRequest(format="musubi", architecture="wan", dtype="float32")
    export_samples(
        Store.open(tmp_path / "store").snapshot(), tmp_path / "again", again, on_progress=quiet
    )
    first = sorted(load_all(tmp_path / "musubi"))
    assert first == sorted(load_all(tmp_path / "again"))


def _values(view: Any) -> dict[str, bytes]:
    samples = view.iter_samples()
    return {key: bytes(next(iter(fields.values())).data) for key, _, _, fields in samples}


def load_all(folder: Path) -> list[bytes]:
    """Return the latents of a musubi folder, as bytes."""
    found = (load_file(path) for path in folder.glob("*.safetensors"))
    return [next(iter(tensors.values())).numpy().tobytes() for tensors in found]
