"""A part of a model of transformers, read out of the whole: its tensors, by their prefix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentcache.core.errors import EncoderError, first_line
from latentcache.encoders.saved_model import SavedModel, check_weights, from_hub, read_config


def find_whole(location: str, *, is_offline: bool) -> SavedModel:
    """Return the model at ``location``, whole or a part that was saved alone; opens no weights.

    Raises:
        EncoderError: There is nothing there.
    """
    folder = Path(location).expanduser()
    if not folder.is_dir():
        folder = from_hub(location, lambda _: ["*.safetensors"], is_offline=is_offline)
    found = SavedModel(folder, read_config(folder, location), location)
    check_weights(folder)
    return found


def prefix_of(found: SavedModel, anchor: str, class_name: str) -> str:
    """Return what the names of a part's tensors begin with; opens headers alone.

    Args:
        found: Where the model lies.
        anchor: A tensor that the part has.
        class_name: Of the part, for the sentence.

    Raises:
        EncoderError: There is no such tensor, or it is there more than once.
    """
    names = [name for name in tensor_files(found) if name == anchor or name.endswith(f".{anchor}")]
    if len(names) != 1:
        got = "none of its tensors" if not names else " and ".join(sorted(names))
        raise EncoderError(
            f"weights must hold a {class_name}, got {got} ({found.label}: {anchor}); give its own "
            "folder, or that of the model it is a part of"
        )
    return names[0].removesuffix(anchor)


def tensor_files(found: SavedModel) -> dict[str, Path]:
    """Return the file of each stored tensor, by name.

    Raises:
        EncoderError: A file is damaged.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415  comes with transformers

    files: dict[str, Path] = {}
    try:
        for path in sorted(found.folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as opened:
                files.update(dict.fromkeys(opened.keys(), path))
    except (OSError, SafetensorError) as error:
        raise EncoderError(
            f"weights must be whole safetensors files, got {first_line(error)} ({found.label}); "
            "download them again"
        ) from error
    return files


def load_part(found: SavedModel, module: Any, prefix: str) -> None:
    """Fill ``module`` with the tensors whose names begin with ``prefix``, as float32.

    Raises:
        EncoderError: One is missing, is of another shape, or has no place.
    """
    import torch  # noqa: PLC0415  a folder is checked where torch is not wanted yet
    from safetensors import safe_open  # noqa: PLC0415

    state: dict[str, Any] = {}
    for name, path in tensor_files(found).items():
        if name.startswith(prefix):
            with safe_open(path, framework="pt") as opened:
                tensor = opened.get_tensor(name)
            is_float = tensor.is_floating_point()
            state[name.removeprefix(prefix)] = tensor.to(torch.float32) if is_float else tensor
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise EncoderError(
            f"weights must be those of the model that config.json describes, got other shapes "
            f"({found.label}: {first_line(error)}); correct config.json"
        ) from error
    check_complete(found, missing)
    # A part that was saved alone has no prefix; what is beside it is then of the same model.
    if prefix and unexpected:
        raise EncoderError(
            f"weights must be those of the model that config.json describes, got "
            f"{len(unexpected)} tensors that it has no place for ({found.label}: {unexpected[0]}); "
            "correct config.json"
        )


def check_complete(found: SavedModel, missing: Sequence[str]) -> None:
    """Refuse weights that lack tensors, which would be random.

    Raises:
        EncoderError: They do.
    """
    if missing:
        raise EncoderError(
            f"weights must be complete, got {len(missing)} tensors missing ({found.label}: "
            f"{missing[0]} ...); they would be random, download the weights again"
        )


def part_config(config: Mapping[str, Any], key: str, config_class: Any) -> Any:
    """Return the config of a part, from that of the whole model or its own."""
    values = config.get(key, config)
    return config_class(**values)
