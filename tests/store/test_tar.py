"""A shard is a tar that anybody can read, and equal content gives equal bytes."""

import gc
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from latentcache.core.errors import ShardCorruptError
from latentcache.store.format.tar import (
    END_OF_ARCHIVE,
    MemberHeader,
    TarWriter,
    iter_members,
    member_bytes,
    member_layout,
)
from latentcache.store.format.tensor_file import layout_of, read_tensors, write_tensors
from latentcache.store.format.tensors import (
    RAW_DTYPES,
    SAFETENSORS_NAMES,
    TensorBytes,
    as_tensor_bytes,
)

KEYS = [f"{number:020x}" for number in (7, 3, 0xFFFFFFFFFFFFFFFFFFFF)]


def sample(seed: int, shape: tuple[int, ...] = (4, 3, 5)) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "mean": draw.normal(size=shape).astype(np.float16),
        "logvar": draw.normal(size=shape).astype(np.float32),
    }


def tar_of(samples: list[dict[str, np.ndarray]], column: str = "latents") -> bytes:
    sink = io.BytesIO()
    writer = TarWriter(sink, column=column)
    for key, fields in zip(KEYS, samples, strict=False):
        writer.add(key, as_tensor_bytes(fields))
    writer.finish()
    assert writer.num_bytes == len(sink.getvalue())
    return sink.getvalue()


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "shard.tar"
    path.write_bytes(tar_of([sample(0), sample(1), sample(2)]))
    return path


def test_header_is_what_python_writes_for_a_file_without_attributes() -> None:
    info = tarfile.TarInfo(f"{KEYS[0]}.latents.safetensors")
    info.size = 123_456
    header = MemberHeader("latents", 123_456).for_key(KEYS[0])
    assert header == info.tobuf(format=tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("shape", [(), (1,), (4, 3, 5), (7, 11, 13)])
def test_how_much_a_member_takes_is_known_before_it_is_written(shape: tuple[int, ...]) -> None:
    fields = sample(0, shape)
    expected = len(tar_of([fields])) - len(END_OF_ARCHIVE)
    assert member_bytes(layout_of(as_tensor_bytes(fields))) == expected


def test_tarfile_and_safetensors_read_every_member(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        names = tar.getnames()
        assert names == [f"{key}.latents.safetensors" for key in KEYS]
        for number, member in enumerate(tar):
            data = tar.extractfile(member).read()
            loaded = safetensors.numpy.load(data)
            for name, values in sample(number).items():
                np.testing.assert_array_equal(loaded[name], values)


def test_gnu_tar_reads_it_without_a_word(shard: Path, tmp_path: Path) -> None:
    gnu_tar = shutil.which("tar")
    if gnu_tar is None:
        pytest.skip("no tar on this machine")
    done = subprocess.run(
        [gnu_tar, "-xf", shard, "-C", tmp_path], check=True, capture_output=True, text=True
    )
    assert done.stdout + done.stderr == ""
    extracted = (tmp_path / f"{KEYS[1]}.latents.safetensors").read_bytes()
    np.testing.assert_array_equal(safetensors.numpy.load(extracted)["mean"], sample(1)["mean"])


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its file open
def test_webdataset_reads_it(shard: Path) -> None:
    found = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    gc.collect()
    assert [row["__key__"] for row in found] == KEYS
    loaded = safetensors.numpy.load(found[2]["latents.safetensors"])
    np.testing.assert_array_equal(loaded["mean"], sample(2)["mean"])


def test_payloads_lie_at_a_fixed_stride_and_are_aligned(shard: Path) -> None:
    data = shard.read_bytes()
    layout = member_layout("latents", as_tensor_bytes(sample(0)))
    assert layout.first_payload % 8 == 0
    assert layout.stride % 512 == 0
    for slot in range(3):
        start = layout.first_payload + slot * layout.stride
        # float32 comes first: the widest element leads.
        values = np.frombuffer(data, np.float32, 60, start).reshape(4, 3, 5)
        np.testing.assert_array_equal(values, sample(slot)["logvar"])


def test_field_order_of_the_caller_does_not_matter() -> None:
    forward = sample(0)
    backward = dict(reversed(forward.items()))
    assert tar_of([forward]) == tar_of([backward])


def test_a_strided_array_gives_the_bytes_of_its_copy() -> None:
    wide = np.arange(48, dtype=np.float32).reshape(6, 8)
    assert tar_of([{"z": wide[::2, ::-2]}]) == tar_of([{"z": wide[::2, ::-2].copy()}])


def test_varying_shapes_are_noticed_and_offsets_kept() -> None:
    sink = io.BytesIO()
    writer = TarWriter(sink, column="caption_embeds")
    for key, width in zip(KEYS, (5, 9, 5), strict=True):
        writer.add(key, as_tensor_bytes(sample(width, (1, 2, width))))
    writer.finish()
    assert not writer.is_fixed
    for (start, size), width in zip(writer.offsets, (5, 9, 5), strict=True):
        member = sink.getvalue()[start : start + size]
        loaded = safetensors.numpy.load(member)
        np.testing.assert_array_equal(loaded["mean"], sample(width, (1, 2, width))["mean"])


def test_same_size_but_another_shape_is_not_fixed() -> None:
    writer = TarWriter(io.BytesIO(), column="latents")
    for key, shape in zip(KEYS, ((2, 8), (8, 2)), strict=False):
        writer.add(key, as_tensor_bytes(sample(0, shape)))
    assert not writer.is_fixed


def test_own_reader_finds_what_was_written(shard: Path) -> None:
    data = memoryview(shard.read_bytes())
    members = list(iter_members(data, column="latents", where="t"))
    assert [member.key for member in members] == KEYS
    for number, member in enumerate(members):
        body = data[member.start : member.start + member.size_bytes]
        tensors = read_tensors(body, where="t")
        np.testing.assert_array_equal(tensors["mean"].to_numpy(), sample(number)["mean"])


@pytest.mark.parametrize("keep", [0, 1, 511, 512, 600, 1024, -1, -512, -1024, -1500])
def test_a_truncated_tar_is_refused(shard: Path, keep: int) -> None:
    data = memoryview(shard.read_bytes()[:keep])
    with pytest.raises(ShardCorruptError, match=r"must be .*, got .* \(t\)"):
        list(iter_members(data, column="latents", where="t"))


@given(position=st.integers(0, 511), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_header_is_refused_or_changes_the_key(position: int, bit: int) -> None:
    data = bytearray(tar_of([sample(0)]))
    data[position] ^= 1 << bit
    with pytest.raises(ShardCorruptError):
        # The header's own checksum guards the key too.
        list(iter_members(memoryview(data), column="latents", where="t"))


@pytest.mark.parametrize("key", ["", "0" * 19, "0" * 21, "G" * 20, "A" * 20, "é" * 10])
def test_a_key_must_be_twenty_hex_digits(key: str) -> None:
    with pytest.raises(ValueError, match="key must be 20 lower-case hex digits"):
        MemberHeader("latents", 8).for_key(key)


def test_a_member_that_ustar_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="8 GiB"):
        MemberHeader("latents", 8**11)
    with pytest.raises(ValueError, match="column must be at most 67 bytes"):
        MemberHeader("c" * 68, 8)


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", min_codepoint=97, max_codepoint=122), min_size=1),
        npst.arrays(
            st.sampled_from(sorted(set(SAFETENSORS_NAMES) - set(RAW_DTYPES))),
            npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
        ),
        max_size=4,
    )
)
def test_any_fields_survive_and_the_library_reads_them(fields: dict[str, np.ndarray]) -> None:
    data = write_tensors(as_tensor_bytes(fields))
    tensors = read_tensors(data, where="t")
    library = safetensors.numpy.load(data) if fields else {}
    for name, values in fields.items():
        assert tensors[name].shape == values.shape
        assert tensors[name].to_numpy().tobytes() == values.tobytes() == library[name].tobytes()


def test_bytes_are_those_of_the_library_where_it_leaves_no_choice() -> None:
    fields = {**sample(0), "indices": np.arange(7, dtype=np.uint8)}
    assert write_tensors(as_tensor_bytes(fields)) == safetensors.numpy.save(fields)


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"a":{}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,5]}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,-4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}}',
        b"[" * 5000,
        b"\xff\xfe",
    ],
)
def test_a_hostile_header_is_one_sentence(text: bytes) -> None:
    with pytest.raises(ShardCorruptError):
        read_tensors(len(text).to_bytes(8, "little") + text + bytes(8), where="t")


def test_a_header_longer_than_the_file_is_refused() -> None:
    with pytest.raises(ShardCorruptError):
        read_tensors(b"\xff" * 8 + b"{}", where="t")


def test_float8_and_bfloat16_decode_exactly() -> None:
    torch = pytest.importorskip("torch")
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        raw_dtype = np.uint16 if name == "bfloat16" else np.uint8
        raw = np.arange(np.iinfo(raw_dtype).max + 1, dtype=raw_dtype)
        expected = torch.from_numpy(raw.copy()).view(getattr(torch, name)).float().numpy()
        values = TensorBytes(name, raw.shape, raw.tobytes()).to_numpy_float32()
        np.testing.assert_array_equal(values, expected)


def test_data_of_another_size_than_the_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="data must be 12 bytes for float32"):
        TensorBytes("float32", (3,), bytes(8))
