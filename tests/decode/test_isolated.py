"""A file that kills or hangs its decoder costs a child process, never the caller."""

import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.decode import (
    ImageLimits,
    ImageTransform,
    IsolatedSample,
    MediaTransform,
    VideoTransform,
    classify,
    decode_clip,
    decode_image,
    decode_isolated,
)
from latentcache.decode.isolated import run_child
from latentcache.storage import FileSpan
from tests.decode.clips import encode_clip, whole_clip

HANG_IN_C = "import re; re.match(r'(a+)+$', 'a' * 64 + 'b')"
"""Backtracks for ever inside one C call, holding the GIL."""

IMAGE = ImageTransform(background=(3, 2, 1))
LIMITS = ImageLimits()


def isolated(data: bytes, bucket: Bucket, geometry: Geometry) -> NDArray[np.uint8]:
    return decode_isolated(
        data,
        IsolatedSample(bucket=bucket, geometry=geometry),
        transform=MediaTransform(image=IMAGE),
        limits=LIMITS,
        time_limit_s=60,
    )


def here(data: bytes, bucket: Bucket, geometry: Geometry) -> NDArray[np.uint8]:
    return decode_image(data, bucket, geometry, transform=IMAGE, limits=LIMITS)


def test_the_child_gives_the_same_pixels(draw, encode, geometry_of) -> None:
    data = encode(draw(96, 64).convert("RGBA"), "PNG")
    arguments = (data, Bucket(1, 32, 48), geometry_of(96, 64, resized=(48, 32)))
    pixels = isolated(*arguments)
    assert np.array_equal(pixels, here(*arguments))
    assert pixels.flags.writeable


def test_the_child_gives_the_same_refusal(draw, encode, geometry_of) -> None:
    data = encode(draw(96, 64), "JPEG")[:-300]
    arguments = (data, Bucket(1, 64, 96), geometry_of(96, 64))
    rejects = []
    for decode in (here, isolated):
        with pytest.raises(MediaError) as caught:
            decode(*arguments)
        rejects.append(classify(caught.value, stage="decode"))
    assert rejects[0] == rejects[1]
    assert rejects[0].code == "truncated"


@pytest.mark.parametrize("is_within_a_tar", [False, True])
def test_the_child_gives_the_same_clip(is_within_a_tar: bool, tmp_path: Path) -> None:
    data, clip = encode_clip(12), whole_clip(5, start_s=0.2)
    sample = IsolatedSample(
        bucket=clip.bucket,
        geometry=clip.geometry,
        start_s=clip.start_s,
        frame_rate_fps=clip.frame_rate_fps,
    )
    rules = VideoTransform()
    settings = {"transform": MediaTransform(image=IMAGE, video=rules), "limits": LIMITS}
    here = decode_clip(io.BytesIO(data), clip, size_bytes=len(data), transform=rules)
    if not is_within_a_tar:
        pixels = decode_isolated(data, sample, **settings, time_limit_s=60)
    else:
        (tmp_path / "a.tar").write_bytes(b"x" * 700 + data + b"y" * 99)
        with FileSpan((tmp_path / "a.tar").open("rb"), start=700, size_bytes=len(data)) as file:
            file.seek(123)  # the child has a position of its own
            pixels = decode_isolated(file, sample, **settings, time_limit_s=60)
            assert file.tell() == 123
    assert np.array_equal(pixels, here)


def test_a_crash_names_the_signal() -> None:
    command = (sys.executable, "-c", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(MediaError, match="SIGSEGV") as caught:
        run_child(command, b"x" * 10_000_000, time_limit_s=60)
    assert (caught.value.code, caught.value.is_transient) == ("crashed", True)


def test_an_exit_status_is_a_crash_too() -> None:
    with pytest.raises(MediaError, match="exit status 7") as caught:
        run_child((sys.executable, "-c", "raise SystemExit(7)"), b"", time_limit_s=60)
    assert caught.value.code == "crashed"


def test_a_hang_in_c_code_ends_at_the_limit() -> None:
    program = (
        "import sys\nfrom latentcache.decode import time_limit\n"
        f"with time_limit(0.2, dump_fd=sys.stderr.fileno()):\n    {HANG_IN_C}\n"
    )
    started = time.monotonic()
    with pytest.raises(MediaError, match=r"longer than 0\.2 s") as caught:
        run_child((sys.executable, "-c", program), b"", time_limit_s=0.2)
    assert (caught.value.code, caught.value.is_transient) == ("timed_out", True)
    assert time.monotonic() - started < 20


def test_the_limit_is_armed_again_for_each_sample_and_says_nothing() -> None:
    program = (
        "from latentcache.decode import time_limit\n"
        "for _ in range(1000):\n    with time_limit(5):\n        pass\n"
        "print('alive', flush=True)\n"
        f"with time_limit(0.2):\n    {HANG_IN_C}\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", program), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout == b"alive\n"
    assert done.stderr == b""
