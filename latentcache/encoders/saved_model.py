"""A model that transformers has saved: from a folder or hub id to checked weights, digested."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.core.fingerprint import canonical_json

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

_CONFIG_WITHOUT_EFFECT = frozenset(
    {
        *("architectures", "transformers_version", "torch_dtype", "dtype", "use_cache"),
        *("model_type", "id2label", "label2id", "task_specific_params", "torchscript"),
        *("dropout_rate", "attention_dropout", "output_past", "output_hidden_states"),
    }
)
"""What a config says of dtypes, training and tasks; a model in ``eval`` computes the same."""


@dataclass(frozen=True, slots=True)
class SavedModel:
    """Where a model lies.

    Attributes:
        folder: With ``config.json`` and safetensors.
        config: What the former says.
        label: As the user wrote it, for messages.
    """

    folder: Path
    config: Mapping[str, Any]
    label: str

    @property
    def class_name(self) -> str:
        """Class of transformers that the weights were saved from, "" where none is told."""
        names = self.config.get("architectures") or [""]
        return str(names[0])


def find_model(location: str, *, classes: tuple[str, ...], is_offline: bool) -> SavedModel:
    """Return the model at ``location``; opens no weights.

    Args:
        location: A folder, or a hub id, optionally ``ID@REVISION``.
        classes: That fit.
        is_offline: Files on this machine only.

    Raises:
        EncoderError: There is nothing there, or not what was promised.
    """
    folder = Path(location).expanduser()
    if not folder.is_dir():
        folder = from_hub(location, lambda _: ["model*.safetensors"], is_offline=is_offline)
    found = SavedModel(folder, read_config(folder, location), location)
    check_classes([found], classes, location)
    check_weights(folder)
    return found


def read_config(folder: Path, label: str) -> Mapping[str, Any]:
    """Return what ``config.json`` says.

    Raises:
        EncoderError: There is none, or it is no JSON.
    """
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EncoderError(
            f"weights folder must hold a config.json that is JSON, got none or another in {folder} "
            f"({label}: {type(error).__name__}); give the folder that save_pretrained wrote"
        ) from None


def check_classes(
    found: Sequence[SavedModel], classes: tuple[str, ...], location: str
) -> list[SavedModel]:
    """Return those models that are of one of ``classes``.

    Raises:
        EncoderError: None is; says what there is.
    """
    fitting = [each for each in found if each.class_name in classes]
    if not fitting:
        got = ", ".join(sorted({each.class_name or "no class" for each in found})) or "no config"
        raise EncoderError(
            f"weights must be of class {' or '.join(classes)}, got {got} ({location}); use the "
            "encoder name that fits, `latentcache encoders` lists them"
        )
    return fitting


def check_weights(folder: Path) -> None:
    """Refuse a folder without safetensors.

    Raises:
        EncoderError: It has none.
    """
    if not any(folder.glob("*.safetensors")):
        raise EncoderError(
            f"weights folder must hold safetensors, got {folder} without any; download them, "
            "or convert a .bin to safetensors (pickles are never opened)"
        )


def from_hub(location: str, weights: Callable[[Path], list[str]], *, is_offline: bool) -> Path:
    """Return the folder of a hub id on this machine, downloaded if need be.

    Args:
        location: The id, optionally ``ID@REVISION``.
        weights: Which files of weights are wanted, once the small ones are there.
        is_offline: Files on this machine only.

    Raises:
        EncoderError: It is no id, or not within reach.
    """
    hub_id, _, revision = location.partition("@")
    if Path(location).exists() or not _HUB_ID.fullmatch(hub_id):
        raise EncoderError(
            f"weights must be a folder or a hub id owner/name, got {location} (no such folder); "
            "give the folder that holds config.json"
        )
    from huggingface_hub import snapshot_download  # noqa: PLC0415  comes with transformers

    offline = is_offline or os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "ON", "YES"}
    options: dict[str, Any] = {"revision": revision or None, "local_files_only": offline}
    small = [f"{home}*.{kind}" for home in ("", "*/") for kind in ("json", "model", "txt", "jinja")]
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=small, **options))
        snapshot_download(hub_id, allow_patterns=weights(folder), **options)
    except (OSError, ValueError) as error:
        how = "no network was asked" if offline else "the hub was asked"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EncoderError(
            f"weights must be a folder or a hub id within reach, got {location} ({how}: "
            f"{reason}); download them first and give the folder"
        ) from error
    return folder


def load_saved(found: SavedModel, *, loaded_as: str = "", dtype: str) -> Any:
    """Return the model, in ``eval`` and of ``dtype``.

    Args:
        found: Where it lies.
        loaded_as: Class to load; "" for the one that was saved.
        dtype: Of the weights.

    Raises:
        EncoderError: It does not load, or tensors are missing.
    """
    import torch  # noqa: PLC0415  a folder is checked where torch is not wanted yet
    import transformers  # noqa: PLC0415  takes seconds
    from safetensors import SafetensorError  # noqa: PLC0415

    logging: Any = transformers.utils.logging
    logging.disable_progress_bar()
    model_class = getattr(transformers, loaded_as or found.class_name)
    try:
        model, report = model_class.from_pretrained(
            found.folder,
            # T5 keeps some weights in float32 if loaded so, and not if cast later.
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise does_not_load(found, error) from error
    lacking = sorted({*report["missing_keys"], *(str(k) for k in report["mismatched_keys"])})
    if lacking:
        raise EncoderError(
            f"weights must be complete, got {len(lacking)} tensors missing ({found.label}: "
            f"{lacking[0]} ...); they would be random, download the weights again"
        )
    return model.eval().requires_grad_(False)


def does_not_load(found: SavedModel, error: Exception) -> EncoderError:
    """Return what to raise where transformers fails."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return EncoderError(
        f"weights must load into {found.class_name}, got a failure ({found.label}: {reason}); "
        "download them again"
    )


def saved_digest(found: SavedModel) -> str:
    """Return the SHA-256 over the stored tensors, however they are divided, and the config.

    Raises:
        EncoderError: A file is damaged, or a value is not finite.
    """
    import torch  # noqa: PLC0415  see above
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    digest = hashlib.sha256(canonical_json(_counted(found.config)).encode())
    where: dict[str, Path] = {}
    try:
        for path in sorted(found.folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                where.update(dict.fromkeys(file.keys(), path))
        opened: dict[Path, Any] = {
            path: safe_open(path, framework="pt") for path in {*where.values()}
        }
        for name, path in sorted(where.items()):
            tensor = opened[path].get_tensor(name)
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise EncoderError(
                    f"weights must be finite, got NaN or infinity in {name} ({found.label}); "
                    "download them again"
                )
            digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    except (OSError, SafetensorError) as error:
        raise EncoderError(
            f"weights must be whole safetensors files, got {error} ({found.label}); download them "
            "again"
        ) from error
    return digest.hexdigest()


def _counted(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in config.items()
        if value is not None and not key.startswith("_") and key not in _CONFIG_WITHOUT_EFFECT
    }


def layer_numbers(layers: object) -> tuple[int, ...]:
    """Return numbers of hidden states; () for ``last``, what the model itself returns.

    Raises:
        ConfigError: They are no numbers.
    """
    if layers == "last":
        return ()
    try:
        return tuple(int(each) for each in str(layers).split("+"))
    except ValueError:
        raise ConfigError(
            f"layers must be last, or numbers of hidden states joined by +, got {layers!r}; write "
            "for instance layers=-2"
        ) from None


def check_layers(numbers: Sequence[int], num_layers: int, label: str) -> None:
    """Refuse numbers of hidden states that a model does not have.

    Args:
        numbers: From ``layer_numbers``.
        num_layers: Of the model; it has one hidden state more.
        label: Where the model lies.

    Raises:
        ConfigError: One is outside.
    """
    wrong = [each for each in numbers if not -num_layers - 1 <= each <= num_layers]
    if wrong:
        raise ConfigError(
            f"layers must be hidden states {-num_layers - 1} to {num_layers}, got {wrong[0]} "
            f"({label}); the model has {num_layers} layers"
        )
