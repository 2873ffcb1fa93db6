"""Secrets that people put into URLs: found, so that no URL with one is ever written or shown.

URLs end up in plans, logs and messages. A password and a signature are refused there; they belong
into the environment, a profile, or fsspec's configuration files.
"""

import re

_PASSWORD = re.compile(r"://[^/@:]*:[^/@]+@")
_USER_INFO = re.compile(r"://[^/@]*@")
_QUERY = re.compile(r"[?#].*$", re.DOTALL)
_NAMES = re.compile(
    r"[?&;]([^=&;#]*(?:signature|sig\b|token|secret|passw|credential|access_?key|api_?key"
    r"|x-amz-|x-goog-)[^=&;#]*)=[^&;#]",
    re.IGNORECASE,
)


def secret_in(url: str) -> str:
    """Return what kind of secret ``url`` holds, never its value; "" if it holds none.

    Args:
        url: An fsspec URL, chained ones (``a::b``) included.
    """
    if _PASSWORD.search(url):
        return "a password"
    named = _NAMES.search(url)
    return f"a value of {named[1]!r}" if named else ""


def without_secrets(url: str) -> str:
    """Return ``url`` as it may be shown: without user, password, query and fragment."""
    return _QUERY.sub("", _USER_INFO.sub("://", url))
