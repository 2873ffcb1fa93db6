"""Encoders: pixels to latents; one file per family, found by name.

Names load when first used, so that importing this package loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from latentcache.core.frames import FrameRule

if TYPE_CHECKING:
    from latentcache.encoders.facts import EncoderFacts
    from latentcache.encoders.identity import encoding_identity
    from latentcache.encoders.options import EncoderOptions, choose_device
    from latentcache.encoders.posterior import (
        apply_policy,
        effective_policy,
        stack_fields,
        stored_fields,
    )
    from latentcache.encoders.registry import check_encoder_name, list_encoders, load_encoder
    from latentcache.encoders.shapes import check_batch, field_shape, sample_bytes
    from latentcache.encoders.spec import (
        DecodingEncoder,
        Encoder,
        EncoderSpec,
        EncoderStream,
        Normalizer,
        NormalizerOp,
        SampleMeta,
        StreamingEncoder,
    )

__all__ = [
    "DecodingEncoder",
    "Encoder",
    "EncoderFacts",
    "EncoderOptions",
    "EncoderSpec",
    "EncoderStream",
    "FrameRule",
    "Normalizer",
    "NormalizerOp",
    "SampleMeta",
    "StreamingEncoder",
    "apply_policy",
    "check_batch",
    "check_encoder_name",
    "choose_device",
    "effective_policy",
    "encoding_identity",
    "field_shape",
    "list_encoders",
    "load_encoder",
    "sample_bytes",
    "stack_fields",
    "stored_fields",
]

_HOMES = {
    "identity": ["encoding_identity"],
    "options": ["EncoderOptions", "choose_device"],
    "posterior": ["apply_policy", "effective_policy", "stack_fields", "stored_fields"],
    "facts": ["EncoderFacts"],
    "registry": ["check_encoder_name", "list_encoders", "load_encoder"],
    "shapes": ["check_batch", "field_shape", "sample_bytes"],
    "spec": [
        "DecodingEncoder",
        "Encoder",
        "EncoderSpec",
        "EncoderStream",
        "Normalizer",
        "NormalizerOp",
        "SampleMeta",
        "StreamingEncoder",
    ],
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"latentcache.encoders.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
