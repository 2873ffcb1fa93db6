"""A sample is opened as a file whose digest is that of its bytes, however large and wherever."""

import io
import os
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import MediaError
from latentcache.core.media import SourceRef
from latentcache.plan import open_samples as opening
from latentcache.plan import open_source, peek_source
from latentcache.storage import FileSpan, Folder, ObjectSpan, span
from tests.plan.conftest import tar_bytes

DATA = bytes(range(256)) * 41
MEMBER = SourceRef(path="a.tar", member="x.mp4", offset_bytes=512, size_bytes=len(DATA))
FILE = SourceRef(path="b.mp4")


def digest_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    url = str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
    folder = Folder.open(url)
    folder.write("a.tar", tar_bytes([("x.mp4", DATA)]))
    folder.write("b.mp4", DATA[1:])
    return folder


@pytest.mark.parametrize(("source", "data"), [(MEMBER, DATA), (FILE, DATA[1:])])
def test_a_sample_is_a_local_file_with_its_digest(
    root: Folder, source: SourceRef, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_BLOCK_BYTES", 1000)  # several blocks, the last one short
    told: list[None] = []
    with open_source(root, source, on_progress=lambda: told.append(None)) as opened:
        file, size_bytes, digest = opened
        assert (file.read(), size_bytes, digest) == (data, len(data), digest_of(data))
        assert isinstance(file, FileSpan)
    assert file.closed
    assert len(told) == 11


def test_what_was_opened_last_is_not_copied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    plain = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **o: copies.append(o) or plain(**o))
    folder = Folder.open("memory://copied-once")
    folder.write("b.mp4", DATA)
    for _ in range(2):
        with open_source(folder, FILE) as (first, _, _), open_source(folder, FILE) as (file, _, _):
            assert (file.read(10), first.read(), file.read()) == (DATA[:10], DATA, DATA[10:])
    assert len(copies) == 1
    folder.write("b.mp4", DATA[::-1])  # other bytes of the same size
    with open_source(folder, FILE) as (file, _, digest):
        assert (file.read(), digest) == (DATA[::-1], digest_of(DATA[::-1]))
    assert len(copies) == 2


def test_a_file_that_is_replaced_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "b.mp4"
    for data in (DATA, DATA[::-1]):
        path.write_bytes(data)
        os.utime(path, (1, 1))  # clocks and copies may leave old times
        with open_source(Folder.open(tmp_path), FILE) as (_, _, digest):
            assert digest == digest_of(data)


def test_an_empty_and_a_missing_sample_are_refused(root: Folder) -> None:
    root.write("b.mp4", b"")
    for opened in (open_source, peek_source):
        with pytest.raises(MediaError, match="no bytes"), opened(root, FILE):
            pass
        with pytest.raises(MediaError, match="missing"), opened(root, SourceRef(path="c")):
            pass


def test_a_tar_that_ends_within_a_member_is_refused(root: Folder) -> None:
    root.write("a.tar", tar_bytes([("x.mp4", DATA)])[:1000])
    with pytest.raises(MediaError) as caught, open_source(root, MEMBER):
        pass
    assert caught.value.code in ("truncated", "unreadable")


def as_file_span(data: bytes, start: int, size_bytes: int) -> FileSpan:
    file = tempfile.TemporaryFile()  # noqa: SIM115  the span closes it
    file.write(data)
    file.flush()
    return FileSpan(file, start=start, size_bytes=size_bytes)


def as_object_span(data: bytes, start: int, size_bytes: int) -> ObjectSpan:
    fsspec.filesystem("memory").pipe_file("/span/x", data)
    return ObjectSpan(Folder.open("memory://span"), "x", start=start, size_bytes=size_bytes)


@pytest.mark.parametrize("make", [as_file_span, as_object_span])
@given(
    place=st.tuples(st.integers(0, 40), st.integers(1, 60)),
    moves=st.lists(
        st.tuples(st.sampled_from([0, 1, 2]), st.integers(-70, 70), st.integers(-1, 70))
    ),
)
def test_a_span_reads_like_the_bytes_it_covers(
    make: Callable[[bytes, int, int], io.RawIOBase],
    place: tuple[int, int],
    moves: list[tuple[int, int, int]],
) -> None:
    start, size_bytes = place
    plain = io.BytesIO(DATA[start : start + size_bytes])
    with make(DATA, start, size_bytes) as file:
        for whence, offset, size in moves:
            origin = (0, plain.tell(), size_bytes)[whence]
            if origin + offset >= 0:
                assert file.seek(offset, whence) == plain.seek(offset, whence)
            assert file.read(size) == plain.read(size)
            assert file.tell() == plain.tell()


def test_reading_on_makes_requests_larger_and_tells_of_new_bytes_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(span, "PROGRESS_BYTES", 1000)
    monkeypatch.setattr(span, "_FIRST_BLOCK_BYTES", 64)
    monkeypatch.setattr(span, "_LARGEST_BLOCK_BYTES", 512)
    folder = Folder.open("memory://growing")
    folder.write("x", DATA)
    asked, plain = [], Folder.read
    monkeypatch.setattr(
        Folder,
        "read",
        lambda s, n, *, start, end: asked.append(end - start) or plain(s, n, start=start, end=end),
    )
    told: list[int] = []
    file = ObjectSpan(folder, "x", size_bytes=4000, on_progress=lambda: told.append(file.tell()))
    for _ in range(2):
        file.seek(0)
        while file.read(16):
            pass
    assert asked[:5] == [64, 128, 256, 512, 512]
    assert told == [1008, 2016, 3024]
