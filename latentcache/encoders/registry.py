"""Registry: from what a user types after ``--encoder`` to a loaded encoder.

``NAME`` or ``NAME:ARGUMENT`` of an encoder known here or registered by an entry point of
group ``latentcache.encoders``, ``module:Class``, or a folder or hub id alone. Every factory
is called with ``EncoderOptions`` and returns an ``Encoder``.
"""

import difflib
import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from latentcache.core.errors import ConfigError, EncoderError, LatentCacheError, first_line
from latentcache.encoders.declared import EncoderFacts
from latentcache.encoders.load_options import EncoderOptions
from latentcache.encoders.presets import ALIASES, known_encoders, preset_of
from latentcache.encoders.shapes import check_can_feed
from latentcache.encoders.spec import PLAIN_SCALAR, Encoder
from latentcache.encoders.typed_path import NamedEncoder, check_channels, name_of_path
from latentcache.encoders.weights import check_folder

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "latentcache.encoders"

EncoderFactory = Callable[[EncoderOptions], Encoder]

# Modules are named, not imported: torch takes seconds.
_WEIGHT_FREE = {
    "dct": "latentcache.encoders.dct:DctEncoder",
    "dct-video": "latentcache.encoders.dct_video:DctVideoEncoder",
    "mask": "latentcache.encoders.masks.mask_encoder:MaskEncoder",
}
_PYTHON_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def load_encoder(text: str, options: EncoderOptions | None = None) -> Encoder:
    """Return the encoder that ``text`` names, loaded and ready.

    Args:
        text: ``dct``, ``dct:keep=6,block=4``, ``sdxl:PATH_OR_HUB_ID``,
            ``hunyuan:PATH_OR_HUB_ID?tile_frames=16``, ``module:Class``,
            ``module:Class:ARGUMENT``, a registered name, or a folder or hub id alone.
        options: Device, dtype and the like.

    Raises:
        ConfigError: The name, a knob, the device or the dtype is wrong.
        EncoderError: The weights cannot be loaded or are not what the name promises.
    """
    options = options or EncoderOptions()
    named = named_encoder(text, is_offline=options.is_offline)
    if named.said:
        logger.info(named.said)
    text = named.text
    name, _, argument = text.partition(":")
    facts = preset_of(name)
    if facts is not None:
        _check_argument(facts, argument)
        location, knobs = _split_argument(facts, argument)
        options = replace(options, location=location, knobs={**options.knobs, **knobs})
        return _load_preset(facts, options)
    plugins = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if name in plugins:
        factory = _load_entry_point(plugins[name])
        return _made(factory, text, _with_argument(options, argument, name))
    return _load_by_import(text, options, names=[*known_encoders(), *ALIASES, *plugins])


def _load_preset(facts: EncoderFacts, options: EncoderOptions) -> Encoder:
    if facts.family:
        from latentcache.encoders.autoencoder import load_autoencoder  # noqa: PLC0415  torch

        return load_autoencoder(facts, options)
    if facts.loader:
        encoder: Encoder = importlib.import_module(facts.loader).load_preset(facts, options)
        return encoder
    return _factory(_WEIGHT_FREE[facts.name], facts.name)(options)


def named_encoder(text: str, *, is_offline: bool = False) -> NamedEncoder:
    """Return ``text`` with the name of its preset, where it is a folder or hub id alone.

    Raises:
        ConfigError: It looks like a path and is none.
        EncoderError: What is there is no autoencoder that is known.
    """
    name = text.partition(":")[0].partition("?")[0]
    if preset_of(name) is not None or any(
        entry.name == text for entry in entry_points(group=ENTRY_POINT_GROUP)
    ):
        return NamedEncoder(text)
    return name_of_path(text, is_offline=is_offline) or NamedEncoder(text)


def check_encoder_name(text: str) -> None:
    """Refuse what ``load_encoder`` would refuse by name alone; loads no weights.

    Raises:
        ConfigError: The name is unknown, or needs weights that are not given.
    """
    name, _, argument = text.partition(":")
    facts = preset_of(name)
    if facts is not None:
        _check_argument(facts, argument)
        return
    plugins = [entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)]
    attribute = argument.partition(":")[0].partition("?")[0]
    is_import = _PYTHON_NAME.fullmatch(name) and _PYTHON_NAME.fullmatch(attribute)
    if name not in plugins and not (is_import and _is_module(name)):
        raise ConfigError(_unknown(name, text, [*known_encoders(), *ALIASES, *plugins]))


def _is_module(name: str) -> bool:
    """Whether the package that a module's name begins with is there; imports nothing."""
    _look_in_current_folder()
    package = name.partition(".")[0]
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _unknown(name: str, text: str, names: Sequence[str]) -> str:
    """Return the sentence that refuses ``text``, whose first part names no encoder."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if ":" not in text:
        got = f"{text!r}, no folder here and no encoder of that name"
    elif _PYTHON_NAME.fullmatch(name):
        got = f"{name!r}, no encoder of that name and no module (encoder {text})"
    else:
        got = f"{name!r}, no encoder of that name (encoder {text})"
    return (
        "encoder must be a name, NAME:PATH, a folder, a hub id or module:Class, got "
        f"{got}; {hint}`latentcache encoders` lists the names"
    )


def check_encoder(text: str, asked: str | None = None) -> None:
    """Refuse what ``load_encoder`` would refuse by name, config and headers; loads no weights.

    Args:
        text: As for ``load_encoder``.
        asked: The input that it will be given, if that is known; what another package registers
            tells only once it is loaded what it takes.

    Raises:
        ConfigError: The name is unknown, or needs weights that are not given.
        EncoderError: The folder of the weights holds others, or none; or it takes another input.
    """
    check_encoder_name(text)
    facts = declared_facts(text)
    if facts is not None and asked is not None:
        check_can_feed(facts.spec, asked)
    if facts is None or not facts.needs_weights:
        return
    location, knobs = _split_argument(facts, text.partition(":")[2])
    if facts.loader:
        options = EncoderOptions(location=location, knobs=knobs)
        importlib.import_module(facts.loader).check_files(facts, options)
        return
    check_folder(location, class_name=facts.class_name)
    check_channels(facts, location)


def declared_facts(text: str) -> EncoderFacts | None:
    """Return what is declared of the encoder that ``text`` names, None if it is unknown."""
    return preset_of(text.partition(":")[0])


def warm_up(text: str) -> None:
    """Import what loading ``text`` will need; whatever is wrong is told by the load itself."""
    facts = declared_facts(text)
    if facts is not None and facts.loader:
        importlib.import_module("transformers")
    if facts is not None and facts.family:
        importlib.import_module(f"{__package__}.families.{facts.family}")
        # The package is lazy: asking for a class imports what takes seconds.
        getattr(importlib.import_module("diffusers"), facts.class_name)


def list_encoders() -> list[EncoderFacts]:
    """Return what is known of each encoder, in the order the command line shows."""
    return list(known_encoders().values())


def plugin_encoders() -> dict[str, str]:
    """Return the encoders that installed packages register: name to ``module:Class``."""
    return {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}


def parse_knobs(text: str, name: str) -> dict[str, PLAIN_SCALAR]:
    """Return ``{"keep": 6, "block": 4}`` for ``keep=6,block=4``.

    Raises:
        ConfigError: A part is not ``key=value``.
    """
    knobs: dict[str, PLAIN_SCALAR] = {}
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if not (key and separator and value):
            raise ConfigError(
                f"knobs must be key=value,key=value, got {part!r} (encoder {name}:{text}); "
                f"write for instance {name}:block=4"
            )
        knobs[key.strip()] = _plain_value(value.strip())
    return knobs


def _split_argument(facts: EncoderFacts, argument: str) -> tuple[str, dict[str, PLAIN_SCALAR]]:
    """Return location and knobs: ``WEIGHTS?key=value,key=value``, or knobs alone."""
    if not facts.needs_weights:
        return argument, parse_knobs(argument, facts.name)
    return _location_and_knobs(argument, facts.name)


def _location_and_knobs(argument: str, name: str) -> tuple[str, dict[str, PLAIN_SCALAR]]:
    if Path(argument).exists():  # a folder may have a question mark in its name
        return argument, {}
    location, _, text = argument.partition("?")
    knobs = parse_knobs(text, name)
    if "config" in knobs and Path(location).expanduser().is_file():
        return f"{location}?config={knobs.pop('config')}", knobs
    return location, knobs


def _plain_value(text: str) -> PLAIN_SCALAR:
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _check_argument(facts: EncoderFacts, argument: str) -> None:
    name = facts.name
    if facts.needs_weights and not argument:
        raise ConfigError(
            f"encoder must be {name}:FOLDER or {name}:HUB_ID, got {name!r} without weights; "
            f"say where the weights of {facts.title} are"
        )


def _load_by_import(text: str, options: EncoderOptions, *, names: list[str]) -> Encoder:
    module, _, rest = text.partition(":")
    attribute, _, argument = rest.partition(":")
    is_name = _PYTHON_NAME.fullmatch(attribute.partition("?")[0])
    if not (_PYTHON_NAME.fullmatch(module) and is_name):
        raise ConfigError(_unknown(module, text, names))
    attribute, _, bare = attribute.partition("?")
    argument = argument or (f"?{bare}" if bare else "")
    factory = _factory(f"{module}:{attribute}", text, names=names)
    return _made(factory, text, _with_argument(options, argument, f"{module}:{attribute}"))


def _with_argument(options: EncoderOptions, argument: str, name: str) -> EncoderOptions:
    """Return options with the location and the knobs that stand after a plug-in's name."""
    location, knobs = _location_and_knobs(argument, name)
    return replace(options, location=location, knobs={**options.knobs, **knobs})


def _made(factory: EncoderFactory, text: str, options: EncoderOptions) -> Encoder:
    """Return what a plug-in's factory makes.

    Raises:
        EncoderError: It fails; the sentence is about it, and pickles wherever it came from.
    """
    try:
        return factory(options)
    except LatentCacheError:
        raise
    except Exception as error:  # a third party's code may raise anything
        raise EncoderError(
            f"encoder {text} must load, got {said(error)}; this is the encoder's own error, "
            "correct its code or what it is given"
        ) from error


def _factory(path: str, text: str, *, names: list[str] | None = None) -> EncoderFactory:
    module, _, attribute = path.partition(":")
    _look_in_current_folder()
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Only the user's own misspelling is a wrong name; a module that is there but needs
        # another one that is not should say so.
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{_unknown(module, text, names or [])}; modules are looked for where "
                f"Python finds packages, then in {Path.cwd()}"
            ) from None
        raise EncoderError(
            f"module {module} must be importable, got {said(error)} (encoder {text}); install "
            "what it needs"
        ) from error
    except Exception as error:  # a third party's module may raise anything
        if module.startswith("latentcache."):
            raise
        raise EncoderError(
            f"module {module} must be importable, got {said(error)} (encoder {text}); correct it"
        ) from error
    factory = getattr(found, attribute, None)
    if not callable(factory):
        raise ConfigError(
            f"encoder must be module:Class, got {text!r} ({module} has no {attribute!r}); "
            "name a class or function that takes EncoderOptions"
        )
    return cast(EncoderFactory, factory)


def said(error: BaseException) -> str:
    """Return an error's kind and the first line of its words."""
    kind, line = type(error).__name__, first_line(error, limit=300)
    return kind if line == kind else f"{kind}: {line}"


def _look_in_current_folder() -> None:
    """Let modules be found in the current folder too, after all others.

    ``python -m`` and Ray's workers look there anyway, a console script does not: one rule.
    """
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)


def _load_entry_point(entry: EntryPoint) -> EncoderFactory:
    try:
        return cast(EncoderFactory, entry.load())
    except (ImportError, AttributeError) as error:
        raise EncoderError(
            f"encoder plug-in must be importable, got {entry.name} = {entry.value} ({error}); "
            "reinstall the package that registers it"
        ) from error
