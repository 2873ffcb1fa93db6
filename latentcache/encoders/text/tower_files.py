"""Files of a text tower: a folder or pipeline, the tower in it, and the tokenizer beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentcache.core.errors import EncoderError
from latentcache.encoders.saved_model import (
    SavedModel,
    check_classes,
    check_weights,
    does_not_load,
    from_hub,
    load_saved,
    read_config,
)

_TOWERS = "text_encoder*"


@dataclass(frozen=True, slots=True)
class TowerFolder:
    """Where a tower and its tokenizer lie.

    Attributes:
        model: The tower.
        tokenizer: Folder with the tokenizer's files.
    """

    model: SavedModel
    tokenizer: Path

    @property
    def label(self) -> str:
        """The location as the user wrote it, for messages."""
        return self.model.label


def find_tower(
    location: str, *, classes: tuple[str, ...], part: str, is_offline: bool
) -> TowerFolder:
    """Return where the tower at ``location`` lies; opens no weights.

    Args:
        location: A folder, a pipeline's folder, or a hub id, optionally ``ID@REVISION``.
        classes: That fit.
        part: Folder within a pipeline, "" finds the one that fits.
        is_offline: Files on this machine only.

    Raises:
        EncoderError: There is nothing there, or not what was promised.
    """
    folder = Path(location).expanduser()
    if not folder.is_dir():
        folder = from_hub(location, lambda home: _weights_in(home, part), is_offline=is_offline)
    towers = [folder / part] if part else _towers_in(folder)
    found = [SavedModel(each, read_config(each, location), location) for each in towers]
    fitting = check_classes(found, classes, location)
    if len(fitting) > 1:
        names = ", ".join(each.folder.name for each in fitting)
        raise EncoderError(
            f"text tower must be one, got {names} ({location}); name it, for instance "
            f"{location}?part={fitting[0].folder.name}"
        )
    tower = TowerFolder(fitting[0], _tokenizer_of(fitting[0].folder, folder))
    check_weights(tower.model.folder)
    _check_tokenizer(tower.tokenizer)
    return tower


def load_tower(found: TowerFolder, *, loaded_as: str, dtype: str) -> tuple[Any, Any]:
    """Return the model, in ``eval`` and of ``dtype``, and the tokenizer.

    Args:
        found: Where they lie.
        loaded_as: Class to load; "" for the one that was saved.
        dtype: Of the weights.

    Raises:
        EncoderError: They do not load, or tensors are missing.
    """
    import transformers  # noqa: PLC0415  takes seconds

    model = load_saved(found.model, loaded_as=loaded_as, dtype=dtype)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            found.tokenizer, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise does_not_load(found.model, error) from error
    return model, tokenizer


def _towers_in(folder: Path) -> list[Path]:
    if (folder / "config.json").is_file():
        return [folder]
    return sorted(each for each in folder.glob(_TOWERS) if (each / "config.json").is_file())


def _weights_in(folder: Path, part: str) -> list[str]:
    """Return which files of a hub's folder hold the weights of its towers."""
    towers = [part] if part else [each.name for each in _towers_in(folder)]
    return [
        f"{name}/*.safetensors" if name != folder.name else "model*.safetensors" for name in towers
    ]


def _tokenizer_of(tower: Path, folder: Path) -> Path:
    """Return the tokenizer's folder: a pipeline has ``tokenizer_2`` beside ``text_encoder_2``."""
    beside = folder / tower.name.replace("text_encoder", "tokenizer")
    return beside if tower != folder and beside.is_dir() else tower


def _check_tokenizer(folder: Path) -> None:
    names = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "tekken.json")
    if not any((folder / name).is_file() for name in names):
        raise EncoderError(
            f"tokenizer must lie beside its model, got {folder} without one; put its files there, "
            "or give the pipeline's folder"
        )
