"""Which options the file system of a URL is given: those that it knows, and ours."""

import difflib
import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec
from fsspec.utils import get_protocol

from latentcache.core.errors import ConfigError
from latentcache.storage.url_secrets import without_secrets

OURS = ("asynchronous", "loop", "session", "skip_instance_cache", "use_listings_cache")
"""A cached listing hides commits, and an instance that crossed a fork hangs."""
_PASSED_ON = {
    "s3": ("profile",),
    "http": ("auth", "cookies", "headers", "proxy", "ssl", "timeout", "trust_env"),
}
"""Options that a file system hands to what is below it, and has no parameter for."""
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_SAME = {"s3a": "s3", "https": "http", "gcs": "gs", "az": "abfs", "abfss": "abfs"}


def client_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file system of ``url`` is given of ``options``.

    A table under a protocol's name is for URLs of that protocol; all else is for every URL.

    Raises:
        ConfigError: The file system has no such option, or it is ours to set.
    """
    protocols = {_SAME.get(each, each) for each in fsspec.available_protocols()}
    mine, tables = {}, {}
    for key, value in options.items():
        if isinstance(value, Mapping) and _SAME.get(key, key) in protocols:
            tables[_SAME.get(key, key)] = dict(value)
        else:
            mine[key] = value
    if "::" in url:
        if mine:
            raise ConfigError(
                f"storage_options must name a protocol for a URL of several, got "
                f"{', '.join(mine)} for {without_secrets(url)}; write for instance s3.profile=NAME"
            )
        named = {part.partition("://")[0] for part in url.split("::")}
        return {
            each: tables[_SAME.get(each, each)] for each in named if _SAME.get(each, each) in tables
        }
    protocol = get_protocol(url)
    mine |= tables.get(_SAME.get(protocol, protocol), {})
    known = set(_known(protocol))
    for key in mine:
        if key in OURS or key not in known:
            raise ConfigError(_refused(key, sorted(known - set(OURS)), protocol, url))
    _check_endpoint(protocol, mine)
    return mine


def _known(protocol: str) -> Iterator[str]:
    for cls in fsspec.get_filesystem_class(protocol).__mro__:
        if cls is object or "__init__" not in vars(cls):
            continue
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if name not in ("self", "args", "kwargs") and parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            ):
                yield name
    yield from _PASSED_ON.get(_SAME.get(protocol, protocol), ())


def _refused(key: str, known: list[str], protocol: str, url: str) -> str:
    where = without_secrets(url)
    if key in OURS:
        return f"storage_options must leave {key} alone, got it for {where}; leave it out"
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"for another protocol write PROTOCOL.{key}="
    return (
        f"storage_options must be known to the file system of {protocol}://, got {key!r} "
        f"({where}); {hint}"
    )


def _check_endpoint(protocol: str, options: Mapping[str, Any]) -> None:
    """Refuse an endpoint that botocore would not take, wherever it was given."""
    given = {"storage_options": options.get("endpoint_url")}
    if _SAME.get(protocol, protocol) == "s3":
        given |= {name: os.environ.get(name) for name in _ENDPOINTS}
    for where, endpoint in given.items():
        if endpoint and not str(endpoint).startswith(("http://", "https://")):
            raise ConfigError(
                "an endpoint must begin with http:// or https://, got "
                f"{without_secrets(str(endpoint))!r} ({where}); write for instance "
                "http://127.0.0.1:9000"
            )
