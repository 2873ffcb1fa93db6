"""Identity: what an encoding's fingerprint covers, and nothing else."""

from collections.abc import Mapping
from typing import Any

from latentcache.encoders.policy import effective_policy, stored_fields
from latentcache.encoders.spec import EncoderSpec, PosteriorPolicy


def encoding_identity(
    spec: EncoderSpec,
    *,
    policy: PosteriorPolicy,
    storage_dtype: str | None,
    transform_identity: Mapping[str, Any],
    seed: int,
    batch: Mapping[str, int],
) -> dict[str, Any]:
    """Return what was asked and can change a stored value; plain data, to be hashed.

    Library versions, the device and the normalizer are recorded elsewhere. What has no
    effect is left out, so that it cannot split one encoding in two: the policy where there
    is no Gaussian posterior, the seed where nothing is drawn.

    Args:
        spec: Of the loaded encoder.
        policy: What is stored of a posterior.
        storage_dtype: For float fields; None is the encoder's own choice.
        transform_identity: Of the pixels' transform, with its version.
        seed: Of the posterior noise.
        batch: The pinned batch rule; batch shape changes last bits.
    """
    effective = effective_policy(spec, policy)
    fields = stored_fields(spec, policy, storage_dtype)
    identity: dict[str, Any] = {
        "encoder": spec.identity(),
        "fields": [[field.name, field.axes, field.dtype, field.broadcast] for field in fields],
        "policy": effective,
        "transform": dict(transform_identity),
        "batch": dict(batch),
    }
    if effective == "sample":
        identity["seed"] = seed
    return identity
