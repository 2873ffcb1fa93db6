"""A path or hub id alone, typed as the encoder: its config says which preset is meant.

``_class_name`` in config.json chooses, and the pipeline's in model_index.json where there is one:
normalization belongs to the DiT, and the pipeline names it. Where it is the VAE alone, several DiTs
may share its class; then what is assumed is said, with the strings for the others.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders.declared import EncoderFacts
from latentcache.encoders.presets import known_encoders, preset_of
from latentcache.encoders.weights import asks_no_hub, find_weights, read_config

PIPELINES: Mapping[str, str] = {
    "AnyFlow": "anyflow", "BriaFibo2": "bria-fibo2", "BriaFibo": "bria-fibo", "Bria": "bria",
    "ChromaPipe": "chroma", "ChromaI": "chroma", "ChronoEdit": "chronoedit",
    "CogVideoX": "cogvideox", "Cosmos2_5": "cosmos2.5", "Cosmos2": "cosmos2", "Cosmos3": "cosmos3",
    "Cosmos": "cosmos", "EasyAnimate": "easyanimate", "ErnieImage": "ernie-image",
    "Flux2": "flux2", "Flux": "flux",
    "GlmImage": "glm-image", "Helios": "helios", "HiDreamImage": "hidream",
    "HunyuanImage": "hunyuan-image", "HunyuanImageRefiner": "hunyuan-image-refiner",
    "HunyuanVideo15": "hunyuan15", "HunyuanVideo": "hunyuan", "HunyuanSkyreels": "hunyuan",
    "Ideogram4": "ideogram4", "JoyImage": "joyimage", "Kandinsky5T2I": "kandinsky5-image",
    "Kandinsky5I2I": "kandinsky5-image", "Kandinsky5": "kandinsky5-video",
    "Kandinsky6": "kandinsky6", "Kandinsky6SR": "kandinsky6-sr", "Kolors": "sdxl",
    "Krea2": "krea2", "LTX2": "ltx2", "LTX": "ltx",
    "LatentConsistency": "sd", "LongCatImage": "longcat-image", "LucyEdit": "lucy",
    "Lumina2": "lumina2", "MiniMaxH3": "minimax-h3", "Mochi": "mochi", "MotifVideo": "motif-video",
    "NucleusMoEImage": "nucleus", "OvisImage": "ovis-image", "PRX": "prx", "QwenImage": "qwen",
    "QwenImage21": "qwen21",
    "SanaSprint": "sana-sprint", "SanaVideo": "sana-video-dc",
    "SanaImageToVideo": "sana-video-dc", "SanaWM": "sana-wm", "Sana": "sana",
    "SkyReelsV2": "skyreels-v2", "StableDiffusion3": "sd3", "StableDiffusionXL": "sdxl",
    "StableDiffusion": "sd", "StableVideoDiffusion": "svd", "Wan": "wan", "ZImage": "z-image",
}  # fmt: skip
"""How the names of diffusers' pipelines begin, and the preset of each; the longest counts."""

_SCALES = {0.18215: "sd", 0.13025: "sdxl", 1.5305: "sd3", 0.3611: "flux"}
"""``scaling_factor`` in the config.json of an ``AutoencoderKL``, and whose it is."""

_FIRST = {"AutoencoderKLFlux2": "flux2", "AutoencoderDC": "dc", "AutoencoderKL": "kl"}
"""What is assumed of a class that several presets have, by nothing but its name."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_CLASS_OF_A_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*[:?].*", re.DOTALL)
"""``module:Class:LOCATION`` or with knobs: the location is for the class to read."""
_LOOKS_LIKE_A_PATH = re.compile(r"(\.{0,2}/|~).*|.*\.(safetensors|ckpt|pth?|bin)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NamedEncoder:
    """An encoder by name.

    Attributes:
        text: As ``load_encoder`` takes it, e.g. ``flux:PATH``.
        said: What was assumed, to be told; "" where it was named.
    """

    text: str
    said: str = ""


def name_of_path(text: str, *, is_offline: bool = False) -> NamedEncoder | None:
    """Return the encoder of a folder or hub id that stands alone; None where ``text`` is neither.

    Args:
        text: ``PATH``, ``owner/name`` or ``owner/name@revision``, with knobs after ``?``.
        is_offline: Ask no hub.

    Raises:
        ConfigError: A path that looks like one is not there, or a file names no model.
        EncoderError: What is there is no autoencoder that is known.
    """
    path = Path(text).expanduser()
    if not text or (_CLASS_OF_A_MODULE.fullmatch(text) and not path.exists()):
        return None
    bare, mark, knobs = (text, "", "") if path.exists() else text.partition("?")
    path = Path(bare).expanduser()
    if path.is_file():
        raise ConfigError(
            f"encoder must be NAME:{bare} for a single file, got it alone, and nothing in it says "
            f"which model trains on it; for instance flux:{bare}, sdxl:{bare} or wan:{bare}, see "
            "`latentcache encoders`"
        )
    if path.is_dir():
        pipeline, config = _folder_configs(path, label=bare)
    elif _LOOKS_LIKE_A_PATH.fullmatch(bare):
        raise ConfigError(
            f"encoder must be a name, NAME:PATH or a folder, got {bare} (no such folder or file); "
            "give the folder that holds config.json"
        )
    elif _HUB_ID.fullmatch(bare):
        pipeline, config = _hub_configs(bare, is_offline=is_offline)
    else:
        return None
    name, others = _preset(pipeline, config, label=bare)
    return NamedEncoder(f"{name}:{bare}{mark}{knobs}", _said(bare, pipeline, config, name, others))


def _said(
    label: str, pipeline: str, config: Mapping[str, Any], name: str, others: list[str]
) -> str:
    known_by = pipeline or str(config.get("_class_name"))
    said = f"encoder {label} is taken as {name}:{label}, by its class {known_by}"
    if others:
        strings = ", ".join(f"{other}:{label}" for other in others)
        said += f"; other models share that class and normalize otherwise, for them give {strings}"
    return said


def _preset(pipeline: str, config: Mapping[str, Any], *, label: str) -> tuple[str, list[str]]:
    """Return the preset, and those that are as likely."""
    class_name = str(config.get("_class_name"))
    channels = _channels(config)
    likely = [facts for facts in known_encoders().values() if _is_of(facts, class_name, channels)]
    if not likely:
        classes = {facts.class_name for facts in known_encoders().values() if facts.family}
        names = ", ".join(sorted(classes))
        raise EncoderError(
            f"config.json must be that of an autoencoder known here, got class {class_name}"
            f"{f' with {channels} latent channels' if channels else ''} ({label}); known are "
            f"{names}; give the folder of the VAE, or an adapter as module:Class"
        )
    presets = [facts.name for facts in likely]
    prefixes = [each for each in PIPELINES if pipeline.startswith(each)]
    if prefixes:
        found = PIPELINES[max(prefixes, key=len)]
        facts = preset_of(found)
        if facts is not None and facts.name in presets:
            return found, []
    if class_name == "AutoencoderVidTok":
        return ("vidtok-fsq" if config.get("regularizer") == "fsq" else "vidtok"), []
    if class_name == "AutoencoderKL":
        scale = config.get("scaling_factor")
        by_scale = _SCALES.get(scale, "kl") if isinstance(scale, float) else "kl"
        chosen = by_scale if by_scale in presets else "kl"
        # With a factor in the config all of these follow it, so that no name changes anything.
        same = set() if scale is None else {*_SCALES.values(), "kl"}
        return chosen, [name for name in presets if name not in {chosen, *same}]
    chosen = _FIRST.get(class_name, presets[0])
    return chosen, [name for name in presets if name != chosen]


def presets_of(class_name: str, channels: int) -> str:
    """Return the presets of weights of a class and so many latent channels, as a way out."""
    likely = [each for each in known_encoders().values() if _is_of(each, class_name, channels)]
    names = ", ".join(each.name for each in likely)
    return f"use a preset of these weights: {names}" if names else "give an adapter, module:Class"


def check_channels(facts: EncoderFacts, location: str) -> None:
    """Refuse a folder whose config.json tells of other latents than the preset's.

    Raises:
        EncoderError: It does; names the presets that fit.
    """
    folder = Path(location).expanduser()
    if not folder.is_dir():
        return
    _, config = _folder_configs(folder, label=location)
    channels = _channels(config)
    if channels is not None and not _is_of(facts, facts.class_name, channels):
        raise EncoderError(
            f"latents must have {facts.latent_channels} channels for {facts.name}, got {channels} "
            f"({location}, config.json); {presets_of(facts.class_name, channels)}"
        )


def _channels(config: Mapping[str, Any]) -> Any:
    return config.get("latent_channels", config.get("z_dim"))


def _is_of(facts: EncoderFacts, class_name: str, channels: Any) -> bool:
    is_class = facts.spec.impl == f"diffusers.{class_name}"
    # Wan's config may leave out what is the class's default: the 16 channels of Wan 2.1.
    if channels is None and class_name == "AutoencoderKLWan":
        channels = 16
    return is_class and (channels is None or facts.latent_channels in (None, channels))


def _folder_configs(folder: Path, *, label: str) -> tuple[str, Mapping[str, Any]]:
    """Return the pipeline's class, "" where none is told, and the config of the VAE."""
    index = folder / "model_index.json"
    home = folder / "vae" if index.is_file() or not (folder / "config.json").is_file() else folder
    if home == folder and folder.name == "vae":
        index = folder.parent / "model_index.json"
    if not (home / "config.json").is_file():
        raise EncoderError(
            f"encoder's folder must hold config.json, got {label} without one; give the folder "
            "that save_pretrained wrote, or its pipeline's"
        )
    pipeline = _read(index).get("_class_name", "") if index.is_file() else ""
    return str(pipeline), _read(home / "config.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise EncoderError(
            f"{path.name} must be JSON, got something else ({path}: {error}); download it again"
        ) from None


def _hub_configs(hub_id: str, *, is_offline: bool) -> tuple[str, Mapping[str, Any]]:
    import diffusers  # noqa: PLC0415  takes seconds, and a folder does without

    source = find_weights(hub_id, is_offline=asks_no_hub(is_offline))
    try:
        index, _ = diffusers.DiffusionPipeline.load_config(
            source.location, return_unused_kwargs=True, **source.arguments()
        )
    except OSError:
        index = {}  # a VAE alone has none
    _, config = read_config(diffusers.AutoencoderKL, source)
    return str(index.get("_class_name", "")), config
