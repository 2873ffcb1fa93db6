"""Posterior policy as declared: which fields are stored, in which dtype; needs no torch.

``moments`` keeps mean and log-variance, so the loader can draw anew at each step;
``mode`` keeps the mean alone, half the bytes; ``sample`` keeps one draw. Encoders without
a Gaussian posterior have nothing to choose and ignore the policy.
"""

from dataclasses import replace

from latentcache.core.errors import ConfigError
from latentcache.core.fields import DTYPE_BYTES, FLOAT_DTYPES, Field
from latentcache.encoders.indices import check_index_fields
from latentcache.encoders.spec import EncoderSpec, Posterior, PosteriorPolicy

POLICIES: tuple[PosteriorPolicy, ...] = ("moments", "mode", "sample")
GAUSSIAN: frozenset[Posterior] = frozenset({"gaussian", "gaussian_shared_logvar"})


def effective_policy(spec: EncoderSpec, policy: PosteriorPolicy) -> str:
    """Return ``policy`` where the encoder has a Gaussian posterior, else ``native``.

    Raises:
        ConfigError: ``policy`` is not one of the three.
    """
    if policy not in POLICIES:
        raise ConfigError(
            f"posterior must be one of {', '.join(POLICIES)}, got {policy!r} ({spec.name}); "
            "use moments to keep the choice for later"
        )
    return policy if spec.posterior in GAUSSIAN else "native"


def stored_fields(
    spec: EncoderSpec, policy: PosteriorPolicy, storage_dtype: str | None = None
) -> tuple[Field, ...]:
    """Return the fields that the store will hold.

    Args:
        spec: Of the encoder.
        policy: Without effect unless the posterior is Gaussian.
        storage_dtype: For the float fields; None leaves each at the encoder's own choice.
            Integer fields keep theirs.

    Raises:
        ConfigError: ``storage_dtype`` is not a float dtype of format 1.
        EncoderError: Indices are declared in a dtype that cannot hold them.
    """
    check_index_fields(spec)
    if storage_dtype is not None and storage_dtype not in FLOAT_DTYPES:
        known = [name for name in DTYPE_BYTES if name in FLOAT_DTYPES]
        raise ConfigError(
            f"storage dtype must be one of {', '.join(known)}, got {storage_dtype!r} "
            f"({spec.name}); use float16"
        )
    effective = effective_policy(spec, policy)
    fields = spec.fields
    if effective == "mode":
        fields = tuple(field for field in fields if field.kind not in ("logvar", "std"))
    elif effective == "sample":
        mean = next(field for field in fields if field.kind == "mean")
        fields = (replace(mean, name="sample", kind="sample"),)
    if storage_dtype is None:
        return fields
    return tuple(
        replace(field, dtype=storage_dtype) if field.dtype in FLOAT_DTYPES else field
        for field in fields
    )
