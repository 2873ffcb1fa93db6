"""Single files of weights, as ``ae.safetensors``: read by diffusers' own single-file path.

Such a file has no config beside it, and diffusers would fetch one from a hub. Here it is given
(``FILE?config=FOLDER``, or a config.json of the same class beside the file), read off the shapes
of the tensors, or that of the class where every tensor finds its place in it.
"""

import inspect
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentcache.core.errors import EncoderError
from latentcache.encoders.checkpoint.safetensors_header import read_shapes

SUFFIX = ".safetensors"

_PREFIXES = ("first_stage_model.", "vae.", "")
"""Of an autoencoder's tensors in a file; whole checkpoints hold other parts too."""

READABLE = (
    *("AutoencoderKL", "AutoencoderDC", "AutoencoderKLWan"),
    *("AutoencoderKLLTXVideo", "AutoencoderKLLTX2Video"),
)
"""Classes of which diffusers reads single files; of others it reads folders only."""

_AS_RELEASED = frozenset({"AutoencoderKLWan", "AutoencoderKLLTXVideo", "AutoencoderKLLTX2Video"})
"""Classes whose defaults are the config of the model they were written for."""

Shapes = Mapping[str, tuple[int, ...]]


def split_location(location: str) -> tuple[Path, Path | None]:
    """Return the file, and the config that is given after a question mark, if any."""
    if Path(location).expanduser().exists():
        return Path(location).expanduser(), None
    path, _, config = location.partition("?config=")
    return Path(path).expanduser(), Path(config).expanduser() if config else None


def is_single_file(location: str) -> bool:
    """Return whether ``location`` names a file."""
    return split_location(location)[0].is_file()


def check_single_file(location: str, class_name: str) -> None:
    """Refuse a file by its header, its config and its class; loads nothing.

    Raises:
        EncoderError: It is no safetensors file, is cut off, or needs a config.
    """
    path, given = split_location(location)
    shapes = _shapes(path, class_name, label=location)
    _config(path, given, class_name, shapes, label=location)


def load_single_file(class_name: str, location: str) -> tuple[Any, Mapping[str, Any]]:
    """Return the model in float32 on the CPU, and its config; asks no network.

    Args:
        class_name: In the ``diffusers`` package.
        location: ``FILE.safetensors``, optionally with ``?config=FOLDER``.

    Raises:
        EncoderError: It cannot be read, lacks tensors, or diffusers has no way to read it.
    """
    import diffusers  # noqa: PLC0415  takes seconds

    path, given = split_location(location)
    shapes = _shapes(path, class_name, label=location)
    model_class: Any = getattr(diffusers, class_name)
    config = _config(path, given, class_name, shapes, label=location)
    is_guessed = given is None and class_name in _AS_RELEASED
    filled = {**_defaults(model_class), **config} if is_guessed else config
    with tempfile.TemporaryDirectory(prefix="latentcache-config-") as folder:
        written = Path(folder) / "config.json"
        written.write_text(json.dumps({"_class_name": class_name, **filled}), encoding="utf-8")
        try:
            module = _whole(model_class).from_single_file(
                str(path),
                config=folder,
                low_cpu_mem_usage=False,
                local_files_only=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise EncoderError(_refusal(class_name, location, error, is_guessed=is_guessed)) from (
                error
            )
    module.__class__ = model_class
    return module, filled


def _whole(model_class: Any) -> Any:
    """Return the class, which refuses to load a part: diffusers would leave the rest random."""

    def load_state_dict(self: Any, state: Any, *_: Any, **__: Any) -> Any:
        return model_class.load_state_dict(self, state, strict=True)

    return type(model_class.__name__, (model_class,), {"load_state_dict": load_state_dict})


def _refusal(class_name: str, location: str, error: Exception, *, is_guessed: bool) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    reason = " ".join(lines[:2])[:300] or type(error).__name__
    way = (
        f"say which config it has, {location}?config=FOLDER"
        if is_guessed
        else "use the preset and the config of these weights, or download them again"
    )
    return f"weights must load into {class_name}, got a failure ({location}: {reason}); {way}"


def _shapes(path: Path, class_name: str, *, label: str) -> Shapes:
    if class_name not in READABLE:
        raise EncoderError(
            f"weights of {class_name} must be a folder, got the file {label} (diffusers reads "
            f"single files of {', '.join(READABLE)} only); give the folder that save_pretrained "
            "wrote"
        )
    if path.suffix != SUFFIX:
        raise EncoderError(
            f"weights file must be FILE{SUFFIX}, got {label}; convert it to safetensors (pickles "
            "are never opened), or give a folder"
        )
    return read_shapes(path, label=label)


def _config(
    path: Path, given: Path | None, class_name: str, shapes: Shapes, *, label: str
) -> dict[str, Any]:
    """Return the config as given or as the shapes tell; {} for that of the class."""
    if given is not None:
        found = given / "config.json" if given.is_dir() else given
        if not found.is_file():
            raise EncoderError(
                f"config must be a folder with config.json, got {given} ({label}); give the one "
                f"of a {class_name}"
            )
        config = _read_config(found)
        if config.get("_class_name") != class_name:
            raise EncoderError(
                f"config must be that of a {class_name}, got {config.get('_class_name')} "
                f"({found}); give another, or the encoder name that fits"
            )
        return config
    beside = path.with_name("config.json")
    if beside.is_file():
        config = _read_config(beside)
        if config.get("_class_name") == class_name:
            return config
    if class_name not in _BY_SHAPE:
        if class_name in _AS_RELEASED:
            return {}
        raise EncoderError(
            f"weights of {class_name} must come with their config, got a file alone ({label}); say "
            f"which, {label}?config=FOLDER, or give the folder that save_pretrained wrote"
        )
    config = _BY_SHAPE[class_name](shapes)
    if not config:
        raise EncoderError(
            f"weights must be those of a {class_name} as released, got {len(shapes)} tensors of "
            f"something else ({label}, e.g. {next(iter(shapes), 'none')}); use the preset of these "
            f"weights, or say which config they have, {label}?config=FOLDER"
        )
    return config


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise EncoderError(f"config must be JSON, got {error} ({path}); correct it") from None


def _defaults(model_class: Any) -> dict[str, Any]:
    """Return what the class is made with if nothing is said: the first release's config."""
    parameters = inspect.signature(model_class.__init__).parameters
    empty = inspect.Parameter.empty
    return {
        name: each.default
        for name, each in parameters.items()
        if each.default is not empty and each.default is not None
    }


def _kl_config(shapes: Shapes) -> dict[str, Any]:
    """Return the config of an ``AutoencoderKL``, by the names of LDM or of diffusers."""
    for prefix in _PREFIXES:
        for down, block in (("down", "block"), ("down_blocks", "resnets")):
            blocks = _blocks(shapes, rf"{re.escape(prefix)}encoder\.{down}\.(\d+)\.{block}\.(\d+)")
            if blocks:
                return _kl_of_blocks(shapes, prefix, blocks)
    return {}


def _blocks(shapes: Shapes, stem: str) -> dict[int, list[int]]:
    """Return the channels of each block's layers, by number of the block."""
    found: dict[int, list[int]] = {}
    pattern = re.compile(stem + r"\.conv1\.weight")
    for name, shape in sorted(shapes.items()):
        match = pattern.fullmatch(name)
        if match is not None:
            found.setdefault(int(match[1]), []).append(shape[0])
    return found


def _kl_of_blocks(shapes: Shapes, prefix: str, blocks: dict[int, list[int]]) -> dict[str, Any]:
    def edge(name: str, axis: int) -> int:
        shape = shapes.get(f"{prefix}{name}", ())
        return shape[axis] if axis < len(shape) else 0

    attention = rf"{re.escape(prefix)}encoder\.(mid\.attn_1|mid_block\.attentions)\."
    return {
        "in_channels": edge("encoder.conv_in.weight", 1),
        "out_channels": edge("decoder.conv_out.weight", 0),
        "latent_channels": edge("decoder.conv_in.weight", 1),
        "block_out_channels": [blocks[number][0] for number in sorted(blocks)],
        "layers_per_block": len(blocks[0]) if 0 in blocks else 1,
        "down_block_types": ["DownEncoderBlock2D"] * len(blocks),
        "up_block_types": ["UpDecoderBlock2D"] * len(blocks),
        "use_quant_conv": f"{prefix}quant_conv.weight" in shapes,
        "use_post_quant_conv": f"{prefix}post_quant_conv.weight" in shapes,
        "mid_block_add_attention": any(re.match(attention, name) for name in shapes),
    }


def _wan_config(shapes: Shapes) -> dict[str, Any]:
    """Return what the shapes tell of the config of a Wan 2.1, whatever its width."""
    for first in ("conv1", "conv_in"):
        encoder, decoder = (shapes.get(f"{half}.{first}.weight") for half in ("encoder", "decoder"))
        if encoder and decoder and encoder[1] == 3 and decoder[1] == 16:
            return {"base_dim": encoder[0]}
    return {}


_BY_SHAPE = {"AutoencoderKL": _kl_config, "AutoencoderKLWan": _wan_config}
