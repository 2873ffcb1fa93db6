"""Loading a tokenizer: files checked, pixels' rule read, codebook and factor measured."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import EncoderError
from latentcache.core.fingerprint import sha256_hex
from latentcache.encoders.declared import EncoderFacts
from latentcache.encoders.discrete.part_of_model import (
    find_whole,
    load_part,
    part_config,
    prefix_of,
)
from latentcache.encoders.discrete.token_knobs import TokenKnobs
from latentcache.encoders.discrete.token_rows import TokenRow, index_field, token_rows
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.saved_model import SavedModel
from latentcache.encoders.spec import PLAIN_SCALAR, Codebook, Encoder, SampleMeta
from latentcache.encoders.weights import check_folder, load_model, weights_digest

if TYPE_CHECKING:
    from latentcache.encoders.discrete.token_encoder import PixelRule, TokenEncoder

_PROBE_PX = (64, 96)
_CHAMELEON_RESCALE = 0.0078
"""``rescale_factor`` of Chameleon's image processor: 255 becomes 0.989, not 1."""


def check_files(facts: EncoderFacts, options: EncoderOptions) -> None:
    """Refuse knobs and files that ``load_preset`` would refuse; opens no weights.

    Raises:
        ConfigError: A knob is wrong.
        EncoderError: The folder holds another model, or not all of it.
    """
    row = token_rows()[facts.name]
    config_from_mapping(TokenKnobs, options.knobs, where=f"encoder {row.name}")
    if row.is_diffusers:
        check_folder(options.location, class_name=row.class_name)
    elif Path(options.location).expanduser().is_dir():  # a hub is asked once, by the load
        prefix_of(find_whole(options.location, is_offline=True), row.anchor, row.class_name)


def load_preset(facts: EncoderFacts, options: EncoderOptions) -> Encoder:
    """Return the tokenizer that ``options`` locates, loaded and ready.

    Raises:
        ConfigError: A knob, the device or the dtype is wrong.
        EncoderError: The weights cannot be loaded.
    """
    from latentcache.encoders.discrete.token_encoder import (  # noqa: PLC0415  torch
        CodebookEncoder,
        PixelRule,
        TokenEncoder,
    )
    from latentcache.encoders.discrete.token_models import MODELS  # noqa: PLC0415

    row = token_rows()[facts.name]
    config_from_mapping(TokenKnobs, options.knobs, where=f"encoder {row.name}")
    device = choose_device(options.device)
    choose_dtype(
        options.dtype, name=row.name, default="float32", forbidden=facts.spec.forbidden_dtypes
    )
    notes: tuple[str, ...] = ()
    if row.is_diffusers:
        found = load_model(row.class_name, options.location, is_offline=options.is_offline)
        _check_regularizer(row, found.module, options.location)
        module, digest, rule, notes = found.module, found.digest, PixelRule(), found.notes
    else:
        whole = find_whole(options.location, is_offline=options.is_offline)
        module, digest = _loaded_part(row, whole)
        rule, notes = _pixel_rule(row, whole)
    model = MODELS[row.class_name](module.to(device))
    size = model.codebook.size
    table = model.table()
    codebook = identified(model.codebook, table)
    spec = replace(
        facts.spec,
        fields=(index_field(codebook, is_video=row.frame_rule is not None),),
        codebook=codebook,
        weights_digest=digest,
        notes=notes,
        knobs=_hashed(rule, size),
    )
    kind = TokenEncoder if table is None else CodebookEncoder
    encoder = kind(model, spec, device, rule)
    factor = measured_factor(encoder, options.location)
    encoder.spec = replace(spec, spatial_factor=factor, multiple_of=factor)
    return encoder


def identified(codebook: Codebook, table: Any) -> Codebook:
    """Return the codebook with what its table of vectors is recognised by."""
    if table is None:
        return codebook
    plain = table.detach().float().cpu().contiguous().numpy()
    return replace(
        codebook, dim=int(plain.shape[1]), digest=sha256_hex(memoryview(plain).cast("B"))
    )


def _check_regularizer(row: TokenRow, module: Any, label: str) -> None:
    if row.name != "vidtok-fsq":
        return
    config = module.config
    if config.regularizer != "fsq" or not config.is_causal:
        got = "one that looks ahead" if config.regularizer == "fsq" else repr(config.regularizer)
        raise EncoderError(
            f"weights must be a causal VidTok with regularizer fsq, got {got} ({label}); use "
            "vidtok for kl, and write an adapter for others"
        )


def _loaded_part(row: TokenRow, whole: SavedModel) -> tuple[Any, str]:
    """Return the tokenizer of a model of transformers, and its digest."""
    import torch  # noqa: PLC0415  see load_tokens
    import transformers  # noqa: PLC0415  takes seconds

    prefix = prefix_of(whole, row.anchor, row.class_name)
    model_class = getattr(transformers, row.class_name)
    config = part_config(whole.config, row.config_key, model_class.config_class)
    module: Any = model_class(config)
    load_part(whole, module, prefix)
    counted = _own_values(config)
    if row.name == "glm-image-vq":
        tower_class = transformers.GlmImageVisionModel
        tower_config = part_config(whole.config, "vision_config", tower_class.config_class)
        tower = tower_class(tower_config)
        anchor = "patch_embed.proj.weight"
        load_part(whole, tower, prefix_of(whole, anchor, "GlmImageVisionModel"))
        module = torch.nn.ModuleDict({"visual": tower, "vqmodel": module})
        counted = {**counted, **_own_values(tower_config)}
    module.eval().requires_grad_(False)
    return module, weights_digest(module, counted, label=whole.label)


def _own_values(config: Any) -> dict[str, Any]:
    """Return what a config's own class declares: no versions, dtypes or names of tasks."""
    own = set(type(config).__annotations__) - {"dropout", "attention_dropout", "initializer_range"}
    values: dict[str, Any] = json.loads(json.dumps(config.to_dict(), default=str))
    return {key: values[key] for key in sorted(own & values.keys())}


def _pixel_rule(row: TokenRow, whole: SavedModel) -> tuple["PixelRule", tuple[str, ...]]:
    """Return what the image processor does to pixels, as the folder says or as the class does."""
    from latentcache.encoders.discrete.token_encoder import PixelRule  # noqa: PLC0415  torch

    if row.name == "flava-codebook":
        return PixelRule(), ()
    if row.name == "chameleon-vq":
        return PixelRule(scale=255 * _CHAMELEON_RESCALE, mean=(1.0,) * 3), ()
    path = whole.folder / "preprocessor_config.json"
    half = PixelRule(mean=(0.5,) * 3, std=(0.5,) * 3)
    if not path.is_file():
        said = (
            "there is no preprocessor_config.json beside the weights: pixels are given from -1 to "
            "1, which is what its decoder was trained to give"
        )
        return half, (said,)
    try:
        told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (tuple(map(float, told[name])) for name in ("image_mean", "image_std"))
        scale = 255 * float(told.get("rescale_factor", 1 / 255))
    except (ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"preprocessor_config.json must have image_mean and image_std, got {error!r} "
            f"({whole.label}); download it again, or leave it away for pixels from -1 to 1"
        ) from None
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or scale <= 0:
        raise EncoderError(
            f"image_mean and image_std must be three numbers each, std above 0, got {mean} and "
            f"{std} ({whole.label}); correct preprocessor_config.json"
        )
    return PixelRule(scale=scale, mean=mean, std=std), ()


def _hashed(rule: "PixelRule", size: int) -> dict[str, PLAIN_SCALAR]:
    """Return what changes values besides the weights, for the fingerprint."""
    return {
        "codebook": size,
        "scale": rule.scale,
        "mean": ",".join(map(repr, rule.mean)),
        "std": ",".join(map(repr, rule.std)),
    }


def measured_factor(encoder: "TokenEncoder", label: str) -> tuple[int, int]:
    """Return the pixels per index that encoding grey shows.

    Raises:
        EncoderError: The model fails, or its indices are not on the declared grid.
    """
    import torch  # noqa: PLC0415

    spec, rule = encoder.spec, encoder.spec.frame_rule
    times = (rule.first + rule.step,) if spec.modality == "video" else ()
    low, high = spec.input_range
    grey = torch.full((1, 3, *times, *_PROBE_PX), (low + high) / 2)
    try:
        indices = encoder.encode(grey, [SampleMeta(key="")])[0]["indices"]
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise EncoderError(
            f"weights must encode {_PROBE_PX[0]} x {_PROBE_PX[1]} px for {spec.name}, got a "
            f"failure ({label}: {error}); use the preset of these weights"
        ) from error
    grid = indices.shape[-2:]
    expected = (rule.num_latent_frames(times[0]),) if times else ()
    if indices.shape[:-2] != expected or any(
        edge % cells for edge, cells in zip(_PROBE_PX, grid, strict=True)
    ):
        raise EncoderError(
            f"indices must be a grid for {spec.name}, got {tuple(indices.shape)} of "
            f"{_PROBE_PX[0]} x {_PROBE_PX[1]} px ({label}); write an adapter"
        )
    return (_PROBE_PX[0] // grid[0], _PROBE_PX[1] // grid[1])
