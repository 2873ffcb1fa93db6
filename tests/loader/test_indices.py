"""Columns of indices: numbers to index with, as stored, or the vectors of the kept codebook."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.encoders import EncoderOptions, load_encoder
from latentcache.encoders.discrete.token_encoder import CodebookEncoder
from latentcache.exchange import copy_store, copy_subset
from latentcache.loader import LatentLoader, LoaderOptions
from latentcache.store import collect_garbage, open_store, verify_snapshot
from latentcache.store.format import read_tensors
from tests.index_store import make_index_store

SHAPE = (8, 8)
NUM_VECTORS, DIM = 300, 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("indices")
    make_index_store(home)
    return home


def first_batch(home: Path, **options: object) -> torch.Tensor:
    chosen = LoaderOptions(**options)  # type: ignore[arg-type]
    loader = LatentLoader(home / "store", global_batch_size=8, options=chosen)
    batch = next(iter(loader))
    found: torch.Tensor = batch["latents"]
    assert tuple(found.shape) == next(iter(loader.shapes().values()))["latents"]
    return found


def codebook_file(store: Path) -> Path:
    (found,) = store.glob("encodings/latents/*/codebook.safetensors")
    return found


def test_indices_come_as_asked_for(home: Path) -> None:
    indices = first_batch(home)
    assert (indices.dtype, tuple(indices.shape)) == (torch.int64, (8, *SHAPE))
    stored = first_batch(home, indices="stored")
    assert stored.dtype == torch.uint16
    assert torch.equal(stored.long(), indices)
    vectors = first_batch(home, indices={"latents": "vectors"})
    assert (vectors.dtype, tuple(vectors.shape)) == (torch.float32, (8, DIM, *SHAPE))
    encoder = load_encoder(f"vq:{home / 'vq'}", EncoderOptions(device="cpu", is_offline=True))
    assert isinstance(encoder, CodebookEncoder)
    assert torch.equal(vectors, encoder.codebook_table()[indices].movedim(-1, 1))


def test_kept_table_is_the_one_that_the_encoding_names(home: Path) -> None:
    view = open_store(home / "store").snapshot().columns["latents"]
    table = view.codebook()
    assert table is not None
    assert (table.shape, table.dtype) == ((NUM_VECTORS, DIM), np.float32)
    told = view.record.spec["codebook"]
    assert (told["size"], told["dim"], len(told["digest"])) == (NUM_VECTORS, DIM, 64)


def test_another_table_is_damage_and_no_table_is_a_way_out(home: Path, tmp_path: Path) -> None:
    store = open_store(home / "store")
    copy_store(store, tmp_path / "copy", on_progress=lambda *_: None)
    copy = open_store(tmp_path / "copy")
    assert verify_snapshot(copy.snapshot()).ok
    path = codebook_file(tmp_path / "copy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    (damage,) = verify_snapshot(copy.snapshot()).damaged
    assert damage.what.startswith("codebook must be the 300 x 4 vectors that encoding")
    with pytest.raises(ShardCorruptError, match="run the same latentcache encode again"):
        LatentLoader(
            tmp_path / "copy", global_batch_size=8, options=LoaderOptions(indices="vectors")
        )
    path.unlink()
    assert verify_snapshot(copy.snapshot()).ok
    with pytest.raises(ConfigError, match="must be int64 or stored for latents, as the store has"):
        LatentLoader(
            tmp_path / "copy", global_batch_size=8, options=LoaderOptions(indices="vectors")
        )


def test_a_subset_has_the_table_and_gc_leaves_it(home: Path, tmp_path: Path) -> None:
    snapshot = open_store(home / "store").snapshot()
    copy_subset(
        snapshot, tmp_path / "some", filter_text="source_width_px > 0", on_progress=lambda *_: None
    )
    some = open_store(tmp_path / "some")
    collect_garbage(some, grace_s=-1.0, dry_run=False)
    read = read_tensors(codebook_file(tmp_path / "some").read_bytes(), where="here")
    assert read["codebook"].shape == (NUM_VECTORS, DIM)


def test_a_table_is_left_out_where_it_is_asked_to_be(tmp_path: Path) -> None:
    store = make_index_store(tmp_path, codebook_mib=0)
    assert list(store.glob("encodings/latents/*/codebook.safetensors")) == []
    assert open_store(store).snapshot().columns["latents"].codebook() is None


def test_what_is_no_form_or_no_column_of_indices_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="indices must be one of int64, stored, vectors"):
        LoaderOptions(indices="int32")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"columns of indices that are asked for \(latents\)"):
        first_batch(home, indices={"dino": "vectors"})


def test_a_run_goes_on_with_the_form_that_it_began_with(home: Path) -> None:
    vectors = LatentLoader(
        home / "store", global_batch_size=8, options=LoaderOptions(indices="vectors")
    )
    next(iter(vectors))
    with pytest.raises(ConfigError, match="indices must be those of the run"):
        LatentLoader(home / "store", global_batch_size=8).load_state_dict(vectors.state)
