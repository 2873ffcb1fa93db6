"""Decoding in a child process, for a sample that may take the process down with it.

``python -m latentcache.decode.isolated`` reads one JSON line from stdin and the file's bytes
behind it, or from a descriptor that it inherits, and writes one JSON line and the pixels to
stdout.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, Geometry
from latentcache.core.rejects import RejectCode
from latentcache.decode.media_options import MediaTransform
from latentcache.decode.picture.decode_image import decode_image
from latentcache.decode.pixel_options import ImageLimits
from latentcache.decode.pixels.resize import check_torch
from latentcache.decode.reject_reasons import classify
from latentcache.decode.watchdog import extend_time_limit, time_limit
from latentcache.storage import FileSpan

CHILD_COMMAND = (sys.executable, "-P", "-m", "latentcache.decode.isolated")
_START_ALLOWANCE_S = 30.0
"""For the interpreter and the imports on a busy machine (2 s on a quiet one, torch most of it)."""
_SLOWEST_READ_BYTES_PER_S = 20 * 2**20


class _IsolatedError(MediaError):
    """A child's refusal; its traceback stayed there, so the digest travels along."""

    trace_digest = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedSample:
    """A picture, or a clip of a video, to be decoded alone.

    Attributes:
        bucket: Size to return.
        geometry: How frames are resized and cropped.
        start_s: Of a clip; None for a picture.
        frame_rate_fps: Of a clip; None for a picture.
        frame_numbers: See ``ClipRequest``.
    """

    bucket: Bucket
    geometry: Geometry
    start_s: float | None = None
    frame_rate_fps: float | None = None
    frame_numbers: tuple[int, ...] = ()


def decode_isolated(
    source: bytes | BinaryIO,
    sample: IsolatedSample,
    *,
    transform: MediaTransform,
    limits: ImageLimits,
    time_limit_s: float,
) -> NDArray[np.uint8]:
    """Return what ``decode_image`` or ``decode_clip`` returns, computed in a child process.

    Args:
        source: The whole file, as bytes or as ``open_source`` opens it.
        sample: What of it.
        transform: Colour and resize rules.
        limits: What is refused.
        time_limit_s: For the child, once it has started; reading on through a long file
            begins it anew.

    Raises:
        MediaError: As those; and ``crashed`` or ``timed_out`` (both transient) where the
            child died or took longer than ``time_limit_s``.
    """
    request = {
        "sample": {**asdict(sample), "bucket": str(sample.bucket)},
        "transform": transform.identity(),
        "limits": asdict(limits),
        "time_limit_s": time_limit_s,
        "span": None,
    }
    allowed_s, data = time_limit_s, b""
    descriptors: tuple[int, ...] = ()
    if isinstance(source, FileSpan):
        request["span"] = (source.fileno(), source.start, source.size_bytes)
        descriptors = (source.fileno(),)
        allowed_s += source.size_bytes / _SLOWEST_READ_BYTES_PER_S
    else:
        data = source if isinstance(source, bytes) else source.read()
    payload = json.dumps(request).encode() + b"\n" + data
    reply = run_child(CHILD_COMMAND, payload, time_limit_s=allowed_s, descriptors=descriptors)
    header, _, body = reply.partition(b"\n")
    refusal = json.loads(header)
    if refusal:
        error = _IsolatedError(
            refusal["code"], refusal["reason"], is_transient=refusal["is_transient"]
        )
        error.trace_digest = refusal["trace_digest"]
        raise error
    bucket = sample.bucket
    shape = (bucket.height_px, bucket.width_px, 3)
    frames = (bucket.num_frames,) if sample.start_s is not None else ()
    return np.frombuffer(bytearray(body), np.uint8).reshape(*frames, *shape)


def run_child(
    command: Sequence[str], payload: bytes, *, time_limit_s: float, descriptors: Sequence[int] = ()
) -> bytes:
    """Return what ``command`` wrote to stdout for ``payload`` on stdin.

    Args:
        command: Program and arguments.
        payload: All of its input.
        time_limit_s: After it has started.
        descriptors: Of open files that it inherits.

    Raises:
        MediaError: ``timed_out`` or ``crashed``, naming the signal; both transient.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_child_environment(),
        pass_fds=tuple(descriptors),
    )
    try:
        output, errors = child.communicate(payload, timeout=time_limit_s + _START_ALLOWANCE_S)
    except subprocess.TimeoutExpired:
        raise _timed_out(time_limit_s) from None
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode and b"Timeout (" in errors:
        raise _timed_out(time_limit_s)
    if child.returncode:
        raise _crashed(child.returncode)
    return output


def _timed_out(time_limit_s: float) -> MediaError:
    reason = f"decoding took longer than {time_limit_s:g} s and was stopped"
    return MediaError(RejectCode.TIMED_OUT.word, reason, is_transient=True)


def _crashed(returncode: int) -> MediaError:
    how = f"exit status {returncode}"
    if returncode < 0:
        how = signal.Signals(-returncode).name
    hint = ", perhaps for lack of memory" if returncode == -signal.SIGKILL else ""
    reason = f"the decoder process died on the file ({how}{hint})"
    return MediaError(RejectCode.CRASHED.word, reason, is_transient=True)


def _child_environment() -> dict[str, str]:
    # A worker may have been given its import path by its launcher; the child needs the same.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
    return {**os.environ, "PYTHONPATH": path}


def _serve() -> None:
    request = json.loads(sys.stdin.buffer.readline())
    # Loading torch may take longer than the limit, which is the sample's alone.
    check_torch()
    refusal: dict[str, object] = {}
    pixels = b""
    # A copy, since descriptor 2 is closed to libtiff while it decodes.
    with time_limit(request["time_limit_s"], dump_fd=os.dup(sys.stderr.fileno())):
        try:
            pixels = _decode(request).tobytes()
        except MediaError as error:
            refusal = asdict(classify(error, stage="decode"))
    sys.stdout.buffer.write(json.dumps(refusal).encode() + b"\n" + pixels)


def _decode(request: dict[str, Any]) -> NDArray[np.uint8]:
    told = request["sample"]
    bucket, geometry = Bucket.parse(told["bucket"]), Geometry(**told["geometry"])
    transform = MediaTransform.from_identity(request["transform"])
    file, size_bytes = _given_file(request["span"])
    if told["start_s"] is None:
        limits = ImageLimits(**request["limits"])
        data = file.read()
        return decode_image(
            data,
            bucket,
            geometry,
            transform=transform.image,
            limits=limits,
            reading=transform.reading,
        )
    # PyAV takes a moment to load, and pictures do without.
    from latentcache.decode.clips.clip import ClipRequest, decode_clip  # noqa: PLC0415

    assert transform.video is not None, "who decodes clips has rules for them"
    clip = ClipRequest(
        bucket=bucket,
        geometry=geometry,
        start_s=told["start_s"],
        frame_rate_fps=told["frame_rate_fps"],
        numbers=tuple(told["frame_numbers"]),
    )
    return decode_clip(file, clip, size_bytes=size_bytes, transform=transform.video)


def _given_file(span: tuple[int, int, int] | None) -> tuple[BinaryIO, int]:
    """Return the file to decode and its size in bytes."""
    if span is None:
        data = sys.stdin.buffer.read()
        return BytesIO(data), len(data)
    descriptor, start, size_bytes = span
    file = FileSpan(
        os.fdopen(descriptor, "rb"),
        start=start,
        size_bytes=size_bytes,
        on_progress=extend_time_limit,
    )
    return cast(BinaryIO, file), size_bytes


if __name__ == "__main__":
    _serve()
