"""Recipes: everything a run is told, from a TOML file and overrides, with each key checked.

A recipe has ``corpus``, ``store`` and ``column`` at the top and the tables ``[plan]``,
``[encode]`` and ``[resources]``. A flag of the command line is an override of one key, so
a run can be written down, launched on a cluster and repeated.
"""

import tomllib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from latentcache.core.config import config_from_mapping, key_of, read_toml
from latentcache.core.errors import ConfigError
from latentcache.plan import PlanOptions
from latentcache.runner.run_options import EncodeOptions, Resources
from latentcache.storage import refuse_secret_options

if TYPE_CHECKING:
    from latentcache.runner.encode_request import EncodeRequest
    from latentcache.runner.plan_request import PlanRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One run, written down."""

    corpus: str | tuple[str, ...] = ""
    """Folder or URL of the media, or a list of them; may be empty where a plan exists already."""
    corpus_kind: str = ""
    """``folder``, ``webdataset`` or ``manifest``; empty finds out."""
    store: str = ""
    """Folder or URL of the store."""
    storage_options: tuple[str, ...] = ()
    """Options of fsspec's file systems for corpus and store, ``KEY=VALUE`` each:
    ``endpoint_url=http://HOST:PORT``, ``profile=NAME``, ``anon=true``; ``s3.anon=true`` is for URLs
    of that protocol alone. Secrets are refused in a file."""
    column: str | tuple[str, ...] = "latents"
    """What the encoder computes is served under this name; or a list of ``NAME=ENCODER``: several
    columns in one pass, so that each sample is decoded once."""
    partial: bool = False
    """Publish a column that still has missing rows."""
    retry_quarantined: bool = False
    """Try again what was quarantined for a reason that may pass."""
    negative: str = ""
    """Of a column of texts: a text that is encoded once and kept under the name ``negative``, as
    the empty one always is under ``empty``."""
    replace: bool = False
    """Serve another encoding under the name of a column that is served already."""
    changed: Literal["refuse", "retire"] = "refuse"
    """What becomes of samples whose file was replaced since another column was made: ``refuse`` the
    new column, or ``retire`` them from the plan and so from every column."""
    update: bool = False
    """Take in what came, changed or went since the corpus was planned: new samples become new
    shards, those that changed are encoded again, those that are gone are retired."""
    allow_retire: bool = False
    """Let an update retire more than 5 % of the samples."""
    plan: PlanOptions = field(default_factory=PlanOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    resources: Resources = field(default_factory=Resources)
    given: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())
    """Names of the encode options that somebody wrote down; no key of its own."""
    given_of_plan: frozenset[str] = field(
        init=False, repr=False, compare=False, default=frozenset()
    )
    """The same of the plan's options."""

    def with_resources(self, resources: Resources) -> "Recipe":
        """Return the recipe on other resources; what somebody wrote down stays known as such."""
        changed = copy(self)
        object.__setattr__(changed, "resources", resources)
        return changed

    def plan_request(self) -> "PlanRequest":
        """Return what ``runner.build`` and ``runner.plan_corpus`` are asked."""
        from latentcache.runner.plan_request import PlanRequest  # noqa: PLC0415  loads Ray

        return PlanRequest(
            corpus_url=self.corpus,
            corpus_kind=self.corpus_kind,
            options=self.plan,
            resources=self.resources,
            update=self.update,
            may_retire=self.allow_retire,
            retry_refused=self.retry_quarantined,
            given=self.given_of_plan,
        )

    def encode_request(self) -> "EncodeRequest":
        """Return what a run of one column is asked.

        Raises:
            ConfigError: The recipe names several columns.
        """
        first, *others = self.encode_requests()
        if others:
            raise ConfigError(
                f"column must be one here, got {', '.join(self._columns)}; several in one run are "
                "for `build` and `encode`"
            )
        return first

    def encode_requests(self) -> "list[EncodeRequest]":
        """Return what ``runner.build_columns`` and ``runner.encode_columns`` are asked.

        Raises:
            ConfigError: A column has no name, or two encoders.
        """
        from latentcache.runner.encode_request import EncodeRequest  # noqa: PLC0415  loads Ray

        if not self._columns:
            raise ConfigError("column must be at least one name, got none; leave the key out")
        requests = []
        for text in self._columns:
            name, has_encoder, encoder = text.partition("=")
            encode, given = self.encode, self.given
            if has_encoder:
                _check_pair(text, self.given)
                encode, given = replace(encode, encoder=encoder), given | {"encoder"}
            requests.append(
                EncodeRequest(
                    column=name,
                    encode=encode,
                    resources=self.resources,
                    allow_partial=self.partial,
                    retry_quarantined=self.retry_quarantined,
                    given=given,
                    may_replace=self.replace,
                    changed=self.changed,
                    negative=self.negative,
                )
            )
        return requests

    @property
    def _columns(self) -> tuple[str, ...]:
        return (self.column,) if isinstance(self.column, str) else self.column


def _check_pair(text: str, given: frozenset[str]) -> None:
    """Refuse ``NAME=ENCODER`` that is none, or that stands beside another encoder.

    Raises:
        ConfigError: It is so.
    """
    name, _, encoder = text.partition("=")
    if not name or not encoder:
        raise ConfigError(
            f"column must be NAME or NAME=ENCODER, got {text!r}; write for instance "
            "dino=dinov2:PATH"
        )
    if "encoder" in given:
        raise ConfigError(
            f"an encoder must be given once, got --encoder and --column {text}; give every column "
            "its own: --column NAME=ENCODER"
        )


def read_recipe(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe in ``path`` with ``overrides`` laid over it.

    Args:
        path: A TOML file, or None for the defaults alone.
        overrides: Values by key, ``store`` or ``plan.seed``.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong.
    """
    where = str(path) if path else "command line"
    values = read_toml(path) if path else {}
    _check_written(values, where)
    for key, value in (overrides or {}).items():
        lay_over(values, key, value)
    recipe = config_from_mapping(Recipe, values, where=where)
    # Frozen for everybody else.
    object.__setattr__(recipe, "given", _given(EncodeOptions, values.get("encode", {})))
    object.__setattr__(recipe, "given_of_plan", _given(PlanOptions, values.get("plan", {})))
    return recipe


def _check_written(values: Mapping[str, Any], where: str) -> None:
    """Refuse a recipe that holds secrets.

    Raises:
        ConfigError: It does.
    """
    written = values.get("storage_options", ())
    if isinstance(written, list):
        refuse_secret_options([str(each) for each in written], where=where)


def _given(options: type[EncodeOptions | PlanOptions], table: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the options that a recipe's table sets."""
    names = {key_of(options, each.name): each.name for each in fields(options)}
    return frozenset(names[key] for key in table)


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the key and value of ``section.key=value``; the value is TOML, or plain text.

    Raises:
        ConfigError: There is no ``=``.
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"setting must be section.key=value, got {text!r} (--set); "
            "write for instance --set plan.max_aspect=3"
        )
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return key.strip(), value.strip()


def lay_over(values: dict[str, Any], key: str, value: Any) -> None:
    """Set ``section.key`` of a recipe's tables.

    Raises:
        ConfigError: A section is not a table.
    """
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"key must lie in a table, got {key!r} where {section} = {inner!r} (recipe); "
                f"leave out {section!r} or make it a table"
            )
        values = inner
    values[last] = value
