"""From an exception to the word, the sentence and the digest that quarantine keeps.

Sentences hold no path, address, time or library version, so equal files give equal rows.
"""

import hashlib
import re
import struct
import zlib
from types import TracebackType

from PIL import Image, UnidentifiedImageError

from latentcache.core.errors import MediaError
from latentcache.core.rejects import Reject, RejectCode
from latentcache.decode.sniff import declared_bytes, find_other_content, picture_name

#: What Pillow's plugins raise on bad bytes, as seen on fuzzed files.
DECODER_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    SyntaxError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_TRUNCATED = re.compile(
    r"truncated|not enough (image )?data|unexpected end|premature|ran out of|\bEOF\b", re.IGNORECASE
)
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|unknown (raw )?mode|not implemented"
    r"|unrecognized (image )?mode|cannot handle",
    re.IGNORECASE,
)
_PLAIN_WORDS = re.compile(r"(?!decoder error)[A-Za-z][\w ,.:'()-]{2,79}")


def media_error(
    error: BaseException, *, head: bytes = b"", size_bytes: int = -1, format: str = ""
) -> MediaError:
    """Return the ``MediaError`` that says what ``error`` means for this file.

    Args:
        error: What reading or decoding raised.
        head: The first bytes of the file, if they could be read.
        size_bytes: Size of the file; -1 if unknown.
        format: The decoder's name for the format; empty if none recognised it.
    """
    if isinstance(error, MediaError):
        return error
    if isinstance(error, OSError) and _is_input_output(error):
        return _reject(RejectCode.UNREADABLE, _input_output(error), is_transient=True)
    if isinstance(error, Image.DecompressionBombError):
        return _reject(RejectCode.BOMB, "the picture has more pixels than the limit")
    if isinstance(error, MemoryError):
        reason = "the picture needs more memory than was free"
        return _reject(RejectCode.UNREADABLE, reason, is_transient=True)
    if not format and head:
        finding = find_other_content(head, size_bytes=size_bytes)
        if finding:
            return _reject(*finding)
    if (declared_bytes(head) or 0) > size_bytes >= 0:
        error = EOFError()
    return _damage(error, format=format, looks_like=picture_name(head))


def classify(error: BaseException, *, stage: str) -> Reject:
    """Return the quarantine entry for what a scan or a decode raised.

    Args:
        error: A ``MediaError`` or whatever else reading the sample raised.
        stage: ``scan`` or ``decode``.
    """
    if isinstance(error, (MediaError, OSError, MemoryError)) or came_from_pillow(error):
        described = media_error(error)
    else:
        reason = f"reading the file failed in an unforeseen way ({type(error).__name__})"
        described = _reject(RejectCode.UNREADABLE, reason, is_transient=True)
    return Reject(
        code=described.code,
        stage=stage,
        reason=str(described),
        is_transient=described.is_transient,
        trace_digest=getattr(error, "trace_digest", "") or trace_digest(error),
    )


def trace_digest(error: BaseException) -> str:
    """Return 16 hex digits over the exception's type and the decoder functions it came from.

    Only functions of Pillow and of this package count, by name: who called us, line
    numbers and addresses do not change it.
    """
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    names = [type(error).__name__, type(root).__name__, *_decoder_functions(root.__traceback__)]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def came_from_pillow(error: BaseException) -> bool:
    """Return whether Pillow raised it: if not, it is our bug and no property of the file."""
    return any(name.startswith("PIL.") for name in _decoder_functions(error.__traceback__))


def _decoder_functions(traceback: TracebackType | None) -> list[str]:
    names = []
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        package = ".".join(module.split(".")[:2])
        # The child process adds a caller of its own; the digest must not show it.
        if package == "latentcache.decode" and not module.endswith(".isolated"):
            names.append(traceback.tb_frame.f_code.co_name)
        elif module == "PIL" or module.startswith("PIL."):
            names.append(f"PIL.{traceback.tb_frame.f_code.co_name}")
        traceback = traceback.tb_next
    return names


def _reject(code: RejectCode, reason: str, *, is_transient: bool = False) -> MediaError:
    return MediaError(code.word, reason, is_transient=is_transient)


def _is_input_output(error: OSError) -> bool:
    """Return whether storage failed; Pillow's own ``OSError`` about bad bytes has no errno."""
    if error.errno is not None or isinstance(error, (TimeoutError, ConnectionError)):
        return True
    return not came_from_pillow(error)


def _input_output(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is not there any more"
    if isinstance(error, PermissionError):
        return "there is no permission to read the file"
    if isinstance(error, IsADirectoryError):
        return "the file is a folder"
    return f"the file cannot be read ({error.strerror or type(error).__name__})"


def _damage(error: BaseException, *, format: str, looks_like: str) -> MediaError:
    name = f"{format or looks_like} ".lstrip()
    text = str(error)
    if isinstance(error, EOFError) or _TRUNCATED.search(text):
        reason = f"the {name}file ends before the picture does; copy or download it again"
        return _reject(RejectCode.TRUNCATED, reason)
    if isinstance(error, UnidentifiedImageError) and looks_like:
        reason = f"the file begins as {looks_like}, but its header is damaged or of a kind not read"
        return _reject(RejectCode.CORRUPT, reason)
    if isinstance(error, UnidentifiedImageError):
        return _reject(RejectCode.NOT_MEDIA, "no image decoder recognises the file")
    detail = f" ({text})" if _PLAIN_WORDS.fullmatch(text) else ""
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(text):
        return _reject(RejectCode.UNSUPPORTED, f"this kind of {name}file is not read{detail}")
    return _reject(RejectCode.CORRUPT, f"the {name}data is damaged{detail}")
