"""Loading a text tower: files checked, knobs laid over the family's own, the spec made whole."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import ConfigError
from latentcache.encoders.declared import EncoderFacts
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.saved_model import check_layers, saved_digest
from latentcache.encoders.spec import Encoder
from latentcache.encoders.text.templates import Template, find_template
from latentcache.encoders.text.text_knobs import TextKnobs
from latentcache.encoders.text.text_presets import TowerFamily, text_fields, tower_families
from latentcache.encoders.text.tower_files import TowerFolder, find_tower, load_tower


def check_files(facts: EncoderFacts, options: EncoderOptions) -> None:
    """Refuse knobs and files that ``load_preset`` would refuse; opens no weights.

    Raises:
        ConfigError: A knob is wrong.
        EncoderError: The folder holds another model, or not all of it.
    """
    family = tower_families()[facts.name]
    knobs, _ = _knobs(family, options)
    if Path(options.location).expanduser().is_dir():  # a hub is asked once, by the load
        _found(family, knobs, options)


def load_preset(facts: EncoderFacts, options: EncoderOptions) -> Encoder:
    """Return the tower that ``options`` locates, loaded and ready.

    Raises:
        ConfigError: A knob, the device or the dtype is wrong.
        EncoderError: The weights or the tokenizer cannot be loaded, or do not fit each other.
    """
    from latentcache.encoders.text.text_tokens import TextTokenizer, check_tokenizer  # noqa: PLC0415
    from latentcache.encoders.text.text_tower import TextTower  # noqa: PLC0415  torch

    family = tower_families()[facts.name]
    knobs, template = _knobs(family, options)
    found = _found(family, knobs, options)
    device = choose_device(options.device)
    default = "float32" if device.type == "cpu" else "bfloat16"
    dtype = choose_dtype(
        options.dtype, name=family.name, default=default, forbidden=family.forbidden
    )
    model, tokenizer = load_tower(found, loaded_as=family.loaded_as, dtype=dtype)
    tower = model.base_model if "For" in type(model).__name__ else model
    config = model.config.get_text_config()
    check_tokenizer(
        tokenizer,
        num_embeddings=model.get_input_embeddings().num_embeddings,
        is_chat=template.is_chat,
        label=found.label,
    )
    _check_layers(knobs, config, found.label)
    tokens = TextTokenizer(tokenizer, knobs, template)
    channels = config.hidden_size * max(1, len(knobs.layer_numbers))
    spec = replace(
        facts.spec,
        impl=f"transformers.{type(model).__name__}",
        fields=text_fields(
            channels,
            dtype=family.dtype,
            has_pooled=family.has_pooled and knobs.pooled,
            pooled_channels=getattr(config, "projection_dim", None)
            if type(model).__name__.endswith("WithProjection")
            else config.hidden_size,
        ),
        compute_dtype=dtype,
        weights_digest=saved_digest(found.model),
        knobs={
            **_hashed(knobs),
            "template_text": template.text or template.system,
            "tokenizer": tokens.digest(),
        },
    )
    encoder: Any = TextTower(tower.to(device), tokens, spec, knobs)
    return encoder  # type: ignore[no-any-return]  # who gives it texts asks for a TextEncoder


def _knobs(family: TowerFamily, options: EncoderOptions) -> tuple[TextKnobs, Template]:
    """Return the family's knobs with what was asked, and the template that they name."""
    given = dict(options.knobs)
    if "layers" in given:
        given["layers"] = str(given["layers"])
    if "template" in given:
        template = find_template(str(given["template"]))
        given = {"drop": template.drop, **given}
    else:
        template = find_template("")
    knobs = config_from_mapping(
        TextKnobs, {**asdict(family.knobs), **given}, where=f"encoder {family.name}"
    )
    if knobs.keep_padding and knobs.side == "left":
        raise ConfigError(
            "side must be right where padding is kept, got left; leave out keep_padding or side"
        )
    return knobs, template


def _found(family: TowerFamily, knobs: TextKnobs, options: EncoderOptions) -> TowerFolder:
    return find_tower(
        options.location, classes=family.classes, part=knobs.part, is_offline=options.is_offline
    )


def _check_layers(knobs: TextKnobs, config: Any, label: str) -> None:
    check_layers(knobs.layer_numbers, config.num_hidden_layers, label)
    most = getattr(config, "max_position_embeddings", None)
    total = knobs.max_length + knobs.drop
    if most is not None and total > most:
        raise ConfigError(
            f"max_length must be at most the model's {most}, got {total} ({label}); write "
            f"max_length={most - knobs.drop}"
        )


def _hashed(knobs: TextKnobs) -> dict[str, Any]:
    """Return the knobs for the fingerprint: where in a pipeline a tower lies is none of it."""
    values = asdict(knobs)
    del values["part"], values["template"]
    return values
