"""What can go wrong, by who has to act on it.

Every message reads ``<name> must be <rule>, got <value> (<where>); <what to do>``:
lower case, no full stop. The command line prints it as it is, without a traceback.
"""


class LatentCacheError(Exception):
    """Anything this package raises on purpose; the message is for the user."""


class ConfigError(LatentCacheError, ValueError):
    """An argument, option or recipe is wrong; raised before any work starts."""


class MediaError(LatentCacheError):
    """One input cannot be turned into pixels; costs its own sample, nothing else.

    Attributes:
        code: A stable word for the reason, e.g. ``truncated``; see ``core.rejects``.
        is_transient: Trying again later may help (I/O error, time limit, dead worker).
    """

    def __init__(self, code: str, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_transient = is_transient

    def __reduce__(self) -> tuple[object, ...]:
        return (_media_error, (self.code, str(self), self.is_transient))


def _media_error(code: str, message: str, is_transient: bool) -> MediaError:
    return MediaError(code, message, is_transient=is_transient)


class StoreError(LatentCacheError):
    """A store is not what the operation needs (missing, another format, other options)."""


class NoStoreError(StoreError, ConfigError):
    """There is no store where one was named."""


class ShardCorruptError(StoreError):
    """Bytes differ from what the commit recorded; nothing handles this, the job stops."""


class EncoderError(LatentCacheError):
    """An encoder cannot be loaded, or does not fit the plan or the device."""


class RunError(LatentCacheError):
    """A run ended without finishing its work; what it committed is kept."""


class QuarantineLimitError(RunError):
    """More samples were rejected than ``--max-quarantine`` allows; exit code 3."""


def first_line(error: BaseException, *, limit: int = 200) -> str:
    """Return the first line of what an error says, its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:limit] if lines else type(error).__name__
