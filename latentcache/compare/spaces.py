"""Spaces: the encodings that are put side by side, each with what can decode it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentcache.core.errors import ConfigError, EncoderError, StoreError
from latentcache.core.inputs import parse_input, recorded_input
from latentcache.encoders import DecodingEncoder
from latentcache.evaluate import load_recorded_encoder
from latentcache.loader import Normalizer
from latentcache.loader.transform import resolve_normalizer
from latentcache.store import ColumnView, Snapshot, open_store

DEFAULT_COLUMN = "latents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """One encoding of a corpus.

    Attributes:
        name: As it was asked for.
        snapshot: That serves it.
        view: The column.
        encoder: That made it; None where it cannot be had or cannot decode.
        why_no_encoder: A sentence; "" if there is one.
        normalizer: To the space that a model trains in; None of codes.
        notes: What else a reader must know.
    """

    name: str
    snapshot: Snapshot
    view: ColumnView
    encoder: DecodingEncoder | None
    why_no_encoder: str = ""
    normalizer: Normalizer | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """Where encoders are.

    Attributes:
        encoders: By a space's name, where its weights are now, as NAME:PATH.
        device: To run them on.
        is_offline: Never ask a model hub.
    """

    encoders: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    is_offline: bool = False


def open_spaces(
    store: str, texts: Sequence[str], options: LoadOptions | None = None
) -> list[Space]:
    """Return the spaces that ``texts`` name: columns, snapshots, other stores.

    Args:
        store: The one that columns are of.
        texts: ``COLUMN``, ``COLUMN@SNAPSHOT``, another store's URL (its ``latents``, or its only
            column) or ``STORE#COLUMN``, with or without ``@SNAPSHOT``.
        options: Where encoders are.

    Raises:
        ConfigError: A text names nothing, or one is there twice.
        StoreError: A store cannot be read.
    """
    options = options or LoadOptions()
    if doubled := {text for text in texts if texts.count(text) > 1}:
        raise ConfigError(f"spaces must be named once each, got {min(doubled)!r} twice")
    if unknown := sorted(set(options.encoders) - set(texts)):
        raise ConfigError(
            f"encoder must be of one of {', '.join(texts)}, got {unknown[0]!r}; write "
            f"--encoder {texts[0]}=NAME:PATH"
        )
    return [_opened(store, text, options) for text in texts]


def _opened(store: str, text: str, options: LoadOptions) -> Space:
    snapshot, column = _found(store, text)
    view = snapshot.column(column)
    asked = recorded_input(view.record.transform)
    if parse_input(asked).modality != "pixels":
        raise StoreError(
            f"spaces must be of pixels to be compared, got {text}, which is of {asked}; name "
            "another column"
        )
    encoder, why = None, ""
    try:
        encoder = load_recorded_encoder(
            view.record,
            encoder=options.encoders.get(text),
            device=options.device,
            is_offline=options.is_offline,
        )
    except (EncoderError, StoreError) as error:
        if isinstance(error, ConfigError) or text in options.encoders:
            raise
        why = str(error)
    notes: list[str] = []
    return Space(
        name=text,
        snapshot=snapshot,
        view=view,
        encoder=encoder,
        why_no_encoder=why,
        normalizer=_normalizer(view, notes),
        notes=tuple(notes),
    )


def _normalizer(view: ColumnView, notes: list[str]) -> Normalizer | None:
    """Return what a training run would use by itself; None of codes and of nothing measured."""
    if all(each.kind == "indices" for each in view.record.fields):
        return None
    try:
        return resolve_normalizer([view], "auto", is_sampled=False, warn=notes.append)
    except ConfigError as error:
        notes.append(str(error))
        return None


def _found(store: str, text: str) -> tuple[Snapshot, str]:
    """Return the snapshot and the column that ``text`` names."""
    place, at, number = text.rpartition("@")
    if not at or not number.isdecimal():
        place, number = text, ""
    url, _, column = place.rpartition("#")
    is_store = not url and ("/" in column or Path(column).is_dir()) and not _is_column(column)
    if is_store:
        url, column = column, ""
    snapshot = open_store(url or store).snapshot(int(number) if number else None)
    if column:
        return snapshot, column
    names = sorted(snapshot.columns)
    if DEFAULT_COLUMN in names or len(names) == 1:
        return snapshot, DEFAULT_COLUMN if DEFAULT_COLUMN in names else names[0]
    raise ConfigError(
        f"column must be named where a store has several, got {text!r} with {', '.join(names)}; "
        f"write {text}#{names[0] if names else 'COLUMN'}"
    )


def _is_column(text: str) -> bool:
    return "/" not in text and not (Path(text) / "latentcache.json").is_file()
