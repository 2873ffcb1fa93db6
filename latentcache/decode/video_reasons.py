"""What FFmpeg's errors mean for a file, in the words that quarantine keeps."""

from av.error import FFmpegError, InvalidDataError
from av.error import MemoryError as FFmpegMemoryError

from latentcache.core.errors import MediaError
from latentcache.core.rejects import RejectCode
from latentcache.decode.sniff import find_other_content


def video_error(error: FFmpegError, *, head: bytes, size_bytes: int) -> MediaError:
    """Return the ``MediaError`` that says what ``error`` means for this file.

    Args:
        error: What opening, reading or decoding raised.
        head: The first bytes of the file.
        size_bytes: Of the whole file.
    """
    if isinstance(error, FFmpegMemoryError):
        reason = "the video needs more memory than was free"
        return MediaError(RejectCode.UNREADABLE.word, reason, is_transient=True)
    finding = find_other_content(head, size_bytes=size_bytes)
    is_video = finding is not None and finding.code is RejectCode.NOT_AN_IMAGE
    if finding is not None and not is_video:
        return MediaError(finding.code.word, finding.reason.replace("the picture", "the video"))
    if not is_video:
        return MediaError(RejectCode.NOT_MEDIA.word, "no video decoder recognises the file")
    if isinstance(error, InvalidDataError):
        return MediaError(
            RejectCode.CORRUPT.word, "the video's data are damaged; copy or download it again"
        )
    kind = (error.strerror or type(error).__name__).lower()
    return MediaError(RejectCode.CORRUPT.word, f"the video cannot be read ({kind})")
