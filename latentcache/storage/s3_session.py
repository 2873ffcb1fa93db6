"""S3 through s3fs, with few tries below ours and no redirect without an end."""

from typing import Any

from fsspec.core import url_to_fs

_TRIES_OF_S3FS = 3
"""Of each request, 15 s long if nothing comes; parts of a large upload are tried alone so."""
_REDIRECTS = (301, 302, 307)


def open_s3(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """Return s3fs's file system for ``url``, and the path in it.

    Args:
        url: Of S3.
        options: Of ``S3FileSystem``.
    """
    from aiobotocore.session import AioSession  # noqa: PLC0415  comes with s3fs alone

    options = dict(options)
    profile = options.pop("profile", None)
    session = AioSession(profile=profile)
    session.register("response-received.s3", _end_redirect)
    # Tries of the client, of s3fs and of ours multiply: with each layer's defaults an endpoint
    # that never answers kept an operation busy for half an hour.
    config = {**options.pop("config_kwargs", {}), "retries": {"total_max_attempts": 1}}
    file_system, root = url_to_fs(url, session=session, config_kwargs=config, **options)
    file_system.retries = _TRIES_OF_S3FS
    return file_system, root


def _end_redirect(
    response_dict: dict[str, Any] | None, parsed_response: Any, context: dict[str, Any], **_: Any
) -> None:
    """Keep botocore from asking an endpoint for the region of a redirect that names none.

    It asks by a request whose answer is such a redirect too, and asks again, until Python's stack
    is full (botocore 1.43, ``S3RegionRedirectorv2``).
    """
    if response_dict is None or response_dict.get("status_code") not in _REDIRECTS:
        return
    told = (parsed_response or {}).get("Error", {})
    names_region = "x-amz-bucket-region" in response_dict.get("headers", {}) or "Region" in told
    if not names_region and "s3_redirect" in context:
        context["s3_redirect"]["redirected"] = True
