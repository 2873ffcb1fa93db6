"""What the bare install leaves out, and how a missing package is told.

A training node needs numpy, pyarrow, torch, fsspec and safetensors. What makes latents,
and what reaches an object store, comes by an extra.
"""

from latentcache.core.errors import ConfigError

EXTRA_OF = {
    "av": "encode",
    "braceexpand": "encode",
    "diffusers": "encode",
    "jinja2": "encode",
    "markupsafe": "encode",
    "PIL": "encode",
    "prometheus_client": "encode",
    "ray": "encode",
    "simplejpeg": "encode",
    "s3fs": "s3",
    "sentencepiece": "text",
    "tokenizers": "text",
    "transformers": "text",
}
"""Each package that may be absent, by the name it is imported under."""


def missing_package(error: BaseException | None) -> ConfigError | None:
    """Return what to tell a user of an import that failed; None if no extra would mend it."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(package)
    if extra is None:
        return None
    return ConfigError(
        f"package {package} must be installed for this, got a bare install; "
        f"run pip install 'latentcache[{extra}]'"
    )
