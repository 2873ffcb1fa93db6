"""Storage errors: which are worth another try, and one sentence for those that are not."""

import errno
import sys

from latentcache.core.errors import LatentCacheError

PERMANENT = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.ENAMETOOLONG,
        errno.EXDEV,
        errno.EFBIG,
        errno.ELOOP,
        errno.EMSGSIZE,
        getattr(errno, "EREMCHG", errno.EINVAL),  # s3fs for a bucket of another region
    }
)
"""Trying again cannot help; s3fs maps most S3 refusals to EINVAL."""

_PERMANENT_TYPES = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)


_PERMANENT_NAMES = frozenset(
    {
        "NoCredentialsError",
        "ParamValidationError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "ConfigParseError",
        "InvalidRegionError",
    }
)
"""Of botocore's: no request was made."""


class StorageError(LatentCacheError, OSError):
    """A destination cannot be written or a backend cannot be reached; the message is whole."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.errno = code

    def __str__(self) -> str:
        return str(self.args[0])


_BACKEND_ERRORS = (
    ("botocore.exceptions", ("BotoCoreError", "ClientError")),
    ("aiohttp.client_exceptions", ("ClientError",)),
    ("gcsfs.retry", ("HttpError",)),
    ("google.auth.exceptions", ("GoogleAuthError",)),
    ("azure.core.exceptions", ("AzureError",)),
)
"""What clients let through fsspec that is no ``OSError``: no credentials, no such endpoint."""


def backend_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that mean "the storage failed", for an ``except`` clause.

    Looked up, not imported: a client that is not loaded raises nothing.
    """
    found: list[type[Exception]] = [OSError]
    for module, names in _BACKEND_ERRORS:
        if module in sys.modules:
            found += [getattr(sys.modules[module], name) for name in names]
    return tuple(found)


def is_transient(error: Exception) -> bool:
    """Return whether another try may succeed."""
    if isinstance(error, _PERMANENT_TYPES):
        return False
    if isinstance(error, OSError):
        return error.errno not in PERMANENT
    return type(error).__name__ not in _PERMANENT_NAMES and not _is_endless(error)


def _is_endless(error: Exception) -> bool:
    """Whether redirects led nowhere: botocore keeps what its HTTP client has raised."""
    below = getattr(error, "kwargs", None)
    inside = below.get("error") if isinstance(below, dict) else None
    return type(inside).__name__ == "TooManyRedirects"


_KEYS = (
    "know who asks",
    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE",
)
_ALLOWED = (
    "allow it",
    "s3:ListBucket, s3:GetObject and s3:PutObject are needed (s3:DeleteObject for gc), of the "
    "credentials that this process has",
)
_REGION = ("be asked in its own region", "set AWS_DEFAULT_REGION, or AWS_ENDPOINT_URL")
_CLOCK = ("be asked with the right time", "set this machine's clock (timedatectl set-ntp true)")
_BUCKET = ("exist", "create the bucket, or correct its name, AWS_ENDPOINT_URL or region")

_OF_S3 = {
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken",
         "TokenRefreshRequired", "InvalidSecurity", "InvalidClientTokenId"),
        _KEYS,
    ),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "403"), _ALLOWED),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
         "TemporaryRedirect", "301", "307"),
        _REGION,
    ),
    "RequestTimeTooSkewed": _CLOCK,
    "NoSuchBucket": _BUCKET,
}  # fmt: skip
"""What storage must do, and the way out, by S3's code of a refusal; on HEAD it is a number."""


_WITHOUT_KEYS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")


def _status(answer: object) -> int:
    told = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    return int(told.get("HTTPStatusCode", 0))


def refusal(error: Exception, *, where: str) -> StorageError | None:
    """Return what to say of a refusal that S3 has a code for, else None.

    Args:
        error: Of the client, or what s3fs made of it.
        where: The URL as it may be shown.
    """
    for each in (error, error.__cause__):
        if isinstance(each, Exception) and _is_endless(each):
            return StorageError(
                f"storage must answer itself, got redirects without end ({where}); correct "
                "AWS_ENDPOINT_URL, its http:// or https:// too",
                errno.EIO,
            )
        answer = getattr(each, "response", None)
        told = answer.get("Error", {}) if isinstance(answer, dict) else {}
        code = str(told.get("Code", ""))
        if type(each).__name__ in _WITHOUT_KEYS:
            rule, advice = _KEYS
            words = _first_line(Exception(each))
            return StorageError(
                f"storage must {rule}, got {words} ({where}); {advice}", errno.EACCES
            )
        if not code and _status(answer) == 403:
            code = "403"  # not every server names its refusals
        if code in _OF_S3:
            rule, advice = _OF_S3[code]
            number = error.errno if isinstance(error, OSError) and error.errno else errno.EACCES
            words = _first_line(Exception(told.get("Message") or code)).rstrip(".")
            return StorageError(
                f"storage must {rule}, got {code}: {words} ({where}); {advice}", number
            )
    return None


def read_failure(error: Exception, *, where: str) -> OSError:
    """Return what to raise when a read failed for good: the original if it is Python's own.

    Clients have errors of their own that are OSErrors too, such as a timeout.
    """
    if (refused := refusal(error, where=where)) is not None:
        return refused
    if isinstance(error, OSError) and type(error).__module__ in ("builtins", __name__):
        return error
    return StorageError(
        f"storage must be reachable, got {_first_line(error)} ({where}); "
        f"check the URL, the endpoint and the credentials",
        errno.EIO,
    )


def write_failure(error: Exception, *, where: str) -> OSError:
    """Return what to raise when a write failed for good: one sentence with what to do."""
    if isinstance(error, StorageError):
        return error
    if (refused := refusal(error, where=where)) is not None:
        return refused
    code = error.errno if isinstance(error, OSError) else errno.EIO
    if code in (errno.ENOSPC, errno.EDQUOT):
        rule, advice = "have room", "free some space and run it again; what was done is kept"
    elif isinstance(error, PermissionError) or code in (errno.EROFS, errno.EPERM, errno.EACCES):
        rule, advice = "be writable", "choose another folder or change its permissions"
    elif isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
        rule, advice = "be a folder", "choose another"
    elif isinstance(error, FileNotFoundError):
        rule, advice = "exist", "create the bucket or mount the disk first"
    else:
        rule, advice = "accept writes", "check the URL, the credentials and the storage, then retry"
    return StorageError(
        f"destination must {rule}, got {_first_line(error)} ({where}); {advice}", code
    )


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{str(error.strerror).splitlines()[0].lower()!r}"
    text = str(error).splitlines()
    return f"{text[0] if text else type(error).__name__!r}"
