"""Loading a vision model for its features: files checked, knobs read, the spec made whole."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from latentcache.core.errors import EncoderError
from latentcache.encoders.declared import EncoderFacts
from latentcache.encoders.features.feature_presets import (
    FeatureFamily,
    FeatureKnobs,
    feature_families,
    feature_field,
    feature_knobs,
)
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.saved_model import (
    SavedModel,
    check_layers,
    find_model,
    load_saved,
    saved_digest,
)
from latentcache.encoders.spec import Encoder


def check_files(facts: EncoderFacts, options: EncoderOptions) -> None:
    """Refuse knobs and files that ``load_preset`` would refuse; opens no weights.

    Raises:
        ConfigError: A knob is wrong.
        EncoderError: The folder holds another model, or not all of it.
    """
    family = feature_families()[facts.name]
    feature_knobs(dict(options.knobs), family.name)
    if Path(options.location).expanduser().is_dir():  # a hub is asked once, by the load
        find_model(options.location, classes=family.classes, is_offline=True)


def load_preset(facts: EncoderFacts, options: EncoderOptions) -> Encoder:
    """Return the vision model that ``options`` locates, loaded and ready.

    Raises:
        ConfigError: A knob, the device or the dtype is wrong.
        EncoderError: The weights cannot be loaded.
    """
    from latentcache.encoders.features.vision_features import (  # noqa: PLC0415  torch
        ModelFacts,
        VisionFeatures,
    )

    family = feature_families()[facts.name]
    knobs = feature_knobs(dict(options.knobs), family.name)
    found = find_model(options.location, classes=family.classes, is_offline=options.is_offline)
    device = choose_device(options.device)
    default = "float32" if device.type == "cpu" else "bfloat16"
    dtype = choose_dtype(options.dtype, name=family.name, default=default, forbidden=frozenset())
    model = load_saved(found, dtype=dtype)
    config = model.config
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0
    check_layers(knobs.layer_numbers, config.num_hidden_layers, found.label)
    mean, std = _mean_std(family, found)
    model_facts = ModelFacts(
        patch=int(config.patch_size),
        mean=mean,
        std=std,
        norm_eps=float(getattr(model, family.norm_name).eps),
    )
    channels = config.hidden_size * max(1, len(knobs.layer_numbers))
    spec = replace(
        facts.spec,
        impl=f"transformers.{type(model).__name__}",
        fields=(feature_field(channels, knobs.layout),),
        spatial_factor=(knobs.cell, knobs.cell),
        multiple_of=(knobs.cell, knobs.cell),
        compute_dtype=dtype,
        weights_digest=saved_digest(found),
        knobs=_hashed(knobs, model_facts),
    )
    return VisionFeatures(model.to(device), spec, knobs, model_facts)


def _mean_std(
    family: FeatureFamily, found: SavedModel
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what pixels are normalized by: as the folder says, else as the family does."""
    path = found.folder / "preprocessor_config.json"
    if not path.is_file():
        return family.mean_std
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (tuple(map(float, told[name])) for name in ("image_mean", "image_std"))
    except (ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"preprocessor_config.json must have image_mean and image_std, got {error!r} "
            f"({found.label}); download it again, or leave it away for the family's own"
        ) from None
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise EncoderError(
            f"image_mean and image_std must be three numbers each, std above 0, got {mean} and "
            f"{std} ({found.label}); correct preprocessor_config.json"
        )
    return mean, std


def _hashed(knobs: FeatureKnobs, facts: Any) -> dict[str, Any]:
    """Return what changes values besides the weights, for the fingerprint."""
    return {
        **asdict(knobs),
        "resize": "bicubic, antialiased",
        "mean": ",".join(map(repr, facts.mean)),
        "std": ",".join(map(repr, facts.std)),
    }
