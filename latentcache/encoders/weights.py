"""Weights: from a folder or hub id to a checked diffusers model and its digest.

diffusers fills what a checkpoint lacks with random or default values and only logs it; so
everything that could be wrong with a folder is refused here, in one sentence.
"""

import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentcache.core.errors import EncoderError, first_line
from latentcache.core.fingerprint import canonical_json
from latentcache.encoders.checkpoint.safetensors_header import read_shapes
from latentcache.encoders.checkpoint.single_file import (
    check_single_file,
    is_single_file,
    load_single_file,
)

if TYPE_CHECKING:  # a folder is checked where torch is not wanted yet
    import torch

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WEIGHTS_GLOB = "diffusion_pytorch_model*.safetensors"

_ENCODING_HALF = ("encoder.", "quant_conv.", "quantize.", "bn.")
"""What names of its tensors begin with, in all classes that there are presets for."""

_CONFIG_WITHOUT_EFFECT = frozenset(
    {
        # Normalization happens when loading; it is recorded, not hashed.
        *("scaling_factor", "shift_factor", "latents_mean", "latents_std"),
        *("batch_norm_eps", "batch_norm_momentum", "invert_scale_latents"),
        # Advice on dtypes, the threshold of tiling (pinned off), a helper's constants.
        *("force_upcast", "sample_size", "sample_height", "sample_width"),
        *("latent_magnitude", "latent_shift"),
    }
)


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where diffusers is to look.

    Attributes:
        location: A folder, or a hub id.
        subfolder: ``vae`` where the location is a whole pipeline, else "".
        revision: Of a hub id, or None.
        is_offline: Files on this machine only.
        label: As the user wrote it, for messages.
    """

    location: str
    subfolder: str
    revision: str | None
    is_offline: bool
    label: str

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments diffusers' loaders share."""
        return {
            "subfolder": self.subfolder or None,
            "revision": self.revision,
            "local_files_only": self.is_offline,
        }


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in float32 on the CPU, in eval mode, every value finite.

    Attributes:
        module: The diffusers model.
        config: What ``config.json`` says, without the defaults of its class.
        digest: Of the state dict and of the config that changes values, defaults filled in.
        former_digests: By the rule of earlier releases, the config as it is written.
        notes: What a folder holds that has no effect, a sentence each.
    """

    module: Any
    config: Mapping[str, Any]
    digest: str
    former_digests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def load_model(class_name: str, location: str, *, is_offline: bool) -> LoadedModel:
    """Return the diffusers model of class ``class_name`` at ``location``.

    Args:
        class_name: For example ``AutoencoderKL``.
        location: A folder, a pipeline's folder, a single file (see ``single_file``), or a hub id,
            optionally ``ID@REVISION``.
        is_offline: Files on this machine only.

    Raises:
        EncoderError: There is nothing there, or not what was promised.
    """
    notes: tuple[str, ...] = ()
    if is_single_file(location):
        module, config = load_single_file(class_name, location)
    else:
        module, config, notes = _load_folder(class_name, location, is_offline=is_offline)
    module.eval().requires_grad_(False)
    # Saved with the defaults of its class written out or left out, a model is the same.
    filled = _counted({**module.config, **config})
    written = _counted(config)
    digest, *former = weights_digests(
        module, [filled] if filled == written else [filled, written], label=location
    )
    return LoadedModel(module, config, digest, tuple(former), notes)


def asks_no_hub(is_offline: bool) -> bool:
    """Return whether files of this machine alone count, by the option or the environment."""
    said = os.environ.get("HF_HUB_OFFLINE", "0").upper()
    return is_offline or said in {"1", "ON", "YES", "TRUE"}


def _load_folder(
    class_name: str, location: str, *, is_offline: bool
) -> tuple[Any, Mapping[str, Any], tuple[str, ...]]:
    import diffusers  # noqa: PLC0415  takes seconds, and dct does without

    model_class = getattr(diffusers, class_name)
    source = find_weights(location, is_offline=asks_no_hub(is_offline))
    source, config = read_config(model_class, source)
    _check_class(config, class_name, source)
    module, unexpected = _load_module(model_class, source)
    notes = (*_unknown_keys(model_class, config), *_unused_tensors(unexpected, class_name, source))
    return module, config, notes


def _unknown_keys(model_class: Any, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is to be said of a config's keys that diffusers passes over without a word."""
    known = inspect.signature(model_class.__init__).parameters
    unknown = [key for key in config if key not in known and not key.startswith("_")]
    if unknown:
        yield (
            f"config.json has {len(unknown)} keys that {model_class.__name__} does not know (e.g. "
            f"{unknown[0]}): they have no effect"
        )


def _unused_tensors(names: Sequence[str], class_name: str, source: WeightsSource) -> Iterator[str]:
    """Yield what is to be said of tensors that the model has no place for.

    Raises:
        EncoderError: They are of the half that encodes: the latents would be another model's.
    """
    of_encoder = [name for name in names if name.startswith(_ENCODING_HALF)]
    if of_encoder:
        raise EncoderError(
            f"weights must be those of the model that config.json describes, got {len(of_encoder)} "
            f"tensors that it has no place for in the half that encodes ({source.label}: "
            f"{of_encoder[0]}); correct config.json, or download the folder again"
        )
    if names:
        yield (
            f"weights hold {len(names)} tensors that {class_name} has no place for (e.g. "
            f"{names[0]}): they are not used"
        )


def check_folder(location: str, *, class_name: str) -> None:
    """Refuse weights by their config and the headers of their files; loads nothing.

    Raises:
        EncoderError: They are no folder, file or hub id, or not what was promised.
    """
    if is_single_file(location):
        check_single_file(location, class_name)
        return
    source = find_weights(location, is_offline=True)
    folder = Path(source.location)
    if not folder.is_dir():
        return
    _check_class(_local_config(source), class_name, source)
    for path in sorted(folder.glob(_WEIGHTS_GLOB)):
        read_shapes(path, label=location)


def find_weights(location: str, *, is_offline: bool) -> WeightsSource:
    """Return where to look for ``location``; asks the file system only.

    Raises:
        EncoderError: It is neither a folder nor a hub id, or a folder without weights.
    """
    folder = Path(location).expanduser()
    if folder.is_dir():
        is_pipeline = (folder / "model_index.json").is_file() or (
            not (folder / "config.json").is_file() and (folder / "vae").is_dir()
        )
        home = folder / "vae" if is_pipeline else folder
        _check_folder(home, label=location)
        return WeightsSource(str(home), "", None, True, location)
    hub_id, _, revision = location.partition("@")
    if folder.exists() or not _HUB_ID.fullmatch(hub_id):
        raise EncoderError(
            f"weights must be a folder, a .safetensors file or a hub id owner/name, got {location} "
            "(no such folder or file); give the folder that holds config.json"
        )
    return WeightsSource(hub_id, "", revision or None, is_offline, location)


def _check_folder(folder: Path, *, label: str) -> None:
    if not (folder / "config.json").is_file():
        raise EncoderError(
            f"weights folder must hold config.json, got {label} without one; give the folder "
            "that save_pretrained wrote, or its pipeline's"
        )
    if not any(folder.glob(_WEIGHTS_GLOB)):
        raise EncoderError(
            f"weights folder must hold {_WEIGHTS_GLOB}, got {label} without weights; download "
            "them, or convert a .bin or .ckpt to safetensors (pickles are never opened)"
        )


def read_config(model_class: Any, source: WeightsSource) -> tuple[WeightsSource, Mapping[str, Any]]:
    """Return the config, and the source with the subfolder that holds it.

    Raises:
        EncoderError: No config could be read.
    """
    if Path(source.location).is_dir():
        return source, _local_config(source)
    failure: OSError = FileNotFoundError("nothing there")
    for subfolder in ("vae", ""):
        found = WeightsSource(
            source.location, subfolder, source.revision, source.is_offline, source.label
        )
        try:
            config, _ = model_class.load_config(
                found.location, return_unused_kwargs=True, **found.arguments()
            )
            return found, dict(config)
        except OSError as error:
            failure = error
    how = "no network was asked" if source.is_offline else "the hub was asked"
    raise EncoderError(
        f"weights must be a folder or a hub id within reach, got {source.label} ({how}: "
        f"{first_line(failure)}); download them first and give the folder"
    ) from failure


def _local_config(source: WeightsSource) -> Mapping[str, Any]:
    text = (Path(source.location) / "config.json").read_text(encoding="utf-8")
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise EncoderError(
            f"config.json must be JSON, got something else ({source.label}: {error}); "
            "download the folder again"
        ) from None


def _check_class(config: Mapping[str, Any], class_name: str, source: WeightsSource) -> None:
    found = config.get("_class_name")
    if found != class_name:
        raise EncoderError(
            f"weights must be of class {class_name}, got {found} ({source.label}); "
            "use the encoder name that fits, `latentcache encoders` lists them"
        )


def _load_module(model_class: Any, source: WeightsSource) -> tuple[Any, list[str]]:
    """Return the model, and the names of tensors that it has no place for."""
    import torch  # noqa: PLC0415  see above
    from safetensors import SafetensorError  # noqa: PLC0415  comes with diffusers

    if getattr(model_class, "_keep_in_fp32_modules", None):
        # All is loaded in float32, and such a pin asks for another way of loading (accelerate's).
        unpinned = {"_keep_in_fp32_modules": None}
        model_class = type(model_class.__name__, (model_class,), unpinned)
    try:
        module, report = model_class.from_pretrained(
            source.location,
            torch_dtype=torch.float32,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            **source.arguments(),
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise EncoderError(
            f"weights must load into {model_class.__name__}, got a failure ({source.label}: "
            f"{first_line(error)}); download them again"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise EncoderError(
            f"weights must be complete, got {len(missing)} tensors missing ({source.label}: "
            f"{missing[0]} ...); they would be random, download the weights again"
        )
    return module, sorted(report["unexpected_keys"])


def weights_digest(module: "torch.nn.Module", config: Mapping[str, Any], *, label: str) -> str:
    """Return the SHA-256 over the state dict, buffers included, and the config that counts.

    Raises:
        EncoderError: A value is not finite.
    """
    return weights_digests(module, [_counted(config)], label=label)[0]


def weights_digests(
    module: "torch.nn.Module", configs: Sequence[Mapping[str, Any]], *, label: str
) -> list[str]:
    """Return one SHA-256 per config, over it and the state dict; reads the weights once.

    Names, dtypes, shapes and bytes, in the order of names.

    Raises:
        EncoderError: A value is not finite.
    """
    import torch  # noqa: PLC0415  see above

    digests = [hashlib.sha256(canonical_json(config).encode()) for config in configs]
    for name, tensor in sorted(module.state_dict().items()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise EncoderError(
                f"weights must be finite, got NaN or infinity in {name} ({label}); "
                "download them again"
            )
        head = f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode()
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for digest in digests:
            digest.update(head)
            digest.update(data)
    return [digest.hexdigest() for digest in digests]


def _counted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a config can change a value, as plain data."""
    counted = {
        key: value
        for key, value in config.items()
        if value is not None and not key.startswith("_") and key not in _CONFIG_WITHOUT_EFFECT
    }
    plain: dict[str, Any] = json.loads(canonical_json(counted))
    return plain
