"""The fingerprint covers what changes values, and nothing that does not."""

from dataclasses import replace
from typing import Any

import pytest

from latentcache.core.fingerprint import fingerprint
from latentcache.encoders import encoding_identity, list_encoders
from latentcache.encoders.spec import Normalizer

SPECS = {facts.name: facts.spec for facts in list_encoders()}


def digest(
    spec_name: str = "sdxl", *, spec_changes: dict[str, Any] | None = None, **changes: Any
) -> str:
    arguments: dict[str, Any] = {
        "policy": "moments",
        "storage_dtype": None,
        "transform_identity": {"version": 1},
        "seed": 0,
        "batch": {"pixels": 1 << 20, "max": 8},
        **changes,
    }
    spec = replace(SPECS[spec_name], **(spec_changes or {}))
    return fingerprint(encoding_identity(spec, **arguments))


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": "mode"},
        {"storage_dtype": "bfloat16"},
        {"transform_identity": {"version": 2}},
        {"batch": {"pixels": 1 << 20, "max": 4}},
        {"spec_changes": {"weights_digest": "other"}},
        {"spec_changes": {"compute_dtype": "bfloat16"}},
        {"spec_changes": {"knobs": {"tiling": True}}},
        {"spec_changes": {"impl_version": 2}},
        {"spec_changes": {"input_range": (0.0, 1.0)}},
    ],
)
def test_what_changes_values_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"storage_dtype": "float16"},
        {"spec_changes": {"name": "kl"}},
        {"spec_changes": {"normalizer": Normalizer(ops=(), source="preset")}},
        {"spec_changes": {"weights_licence": "another"}},
        {"spec_changes": {"is_reentrant": True}},
    ],
)
def test_what_changes_no_value_keeps_the_fingerprint(changes: dict[str, Any]) -> None:
    assert digest(**changes) == digest()


def test_seed_counts_where_something_is_drawn() -> None:
    assert digest(policy="sample", seed=0) != digest(policy="sample", seed=1)


def test_policy_of_a_point_encoder_does_not_count() -> None:
    assert digest("dct", policy="moments") == digest("dct", policy="sample", seed=9)
