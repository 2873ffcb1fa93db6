"""What FFmpeg's errors mean for a file, in the words that quarantine keeps."""

from typing import BinaryIO

from av.error import FFmpegError, InvalidDataError
from av.error import MemoryError as FFmpegMemoryError

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.sniff import HEAD_BYTES, find_other_content
from latentcache.decode.video.video_size import outer_boxes


def video_error(error: FFmpegError, file: BinaryIO, *, size_bytes: int) -> MediaError:
    """Return the ``MediaError`` that says what ``error`` means for this file.

    Args:
        error: What opening, reading or decoding raised.
        file: Seekable; its beginning is looked at again.
        size_bytes: Of the whole file.
    """
    if isinstance(error, FFmpegMemoryError):
        reason = "the video needs more memory than was free"
        return MediaError(RejectCode.UNREADABLE.word, reason, is_transient=True)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    finding = find_other_content(head, size_bytes=size_bytes)
    is_video = finding is not None and finding.code is RejectCode.NOT_AN_IMAGE
    if finding is not None and not is_video:
        return MediaError(finding.code.word, finding.reason.replace("the picture", "the video"))
    if not is_video:
        return MediaError(RejectCode.NOT_MEDIA.word, "no video decoder recognises the file")
    missing = _missing_index(file, size_bytes)
    if missing:
        return MediaError(RejectCode.TRUNCATED.word, missing)
    if isinstance(error, InvalidDataError):
        return MediaError(
            RejectCode.CORRUPT.word, "the video's data are damaged; copy or download it again"
        )
    kind = (error.strerror or type(error).__name__).lower()
    return MediaError(RejectCode.CORRUPT.word, f"the video cannot be read ({kind})")


def _missing_index(file: BinaryIO, size_bytes: int) -> str:
    """Return what is wrong with an ISO media file (mp4, mov) that has pictures and no index."""
    kinds = {kind for kind, _ in outer_boxes(file, size_bytes)}
    if b"moov" in kinds:
        return ""
    if b"moof" in kinds:
        return (
            "the file is one segment of a stream and lacks the stream's header (moov); "
            "join it to its init segment"
        )
    if b"mdat" in kinds:
        return (
            "the file lacks its index (moov), as after an interrupted recording; "
            "copy it again or recover it"
        )
    return ""
