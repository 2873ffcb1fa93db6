"""What is asked of a plan, and whether the plan that a store has is that one."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from latentcache.core.config import key_of
from latentcache.core.errors import ConfigError, StoreError
from latentcache.plan import (
    PLACEMENT_OPTIONS,
    Corpus,
    PlanOptions,
    grown_placements,
    open_corpus,
)
from latentcache.runner.run_options import Resources
from latentcache.runner.run_progress import Reporter
from latentcache.store import Generation, Store

_DEFAULTS = PlanOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What is asked of a plan.

    Attributes:
        corpus_url: A folder, a tar, a manifest, or a folder of those, or several of them; local
            or any fsspec URL, with ``*`` and braces.
        corpus_kind: ``folder``, ``webdataset`` or ``manifest``; "" finds out.
        options: Buckets, crops and shards.
        resources: Where the scan runs.
        update: Take in what came, changed or went since the corpus was planned.
        may_retire: An update may retire more than a few per cent of the samples.
        retry_refused: An update looks again at all that planning refused.
        given: Names of the plan options that somebody gave; a store that is planned keeps its own
            for the others. None takes all options as they are.
    """

    corpus_url: str | tuple[str, ...]
    options: PlanOptions
    resources: Resources
    corpus_kind: str = ""
    update: bool = False
    may_retire: bool = False
    retry_refused: bool = False
    given: frozenset[str] | None = None


def check_plan(store: Store, request: PlanRequest) -> Generation | None:
    """Return the store's newest plan, or None if it has none.

    Raises:
        StoreError: It is of another corpus or made with other options.
    """
    generations = store.generations()
    if not generations:
        return None
    newest = [each for each in generations if not each.only_retires][-1]
    if request.update and request.options.limit:
        way_out = "leave one of the two out"
        if newest.options.get("limit"):
            way_out = "which the store was planned with; build into another store without it"
        raise ConfigError(
            f"an update must look at the whole corpus, got --limit {request.options.limit}; "
            f"{way_out}"
        )
    _check_same_plan(newest, request)
    return newest


def with_planned_options(store: Store, request: PlanRequest, reporter: Reporter) -> PlanRequest:
    """Return ``request`` with the options that nobody gave as the store's plan has them.

    Raises:
        StoreError: One that was given is another than the plan's.
    """
    generations = store.generations()
    if request.given is None or not generations:
        return request
    planned = [each for each in generations if not each.only_retires][-1].options
    _check_same_options(planned, request, request.given)
    names = {each.name for each in fields(PlanOptions)}
    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in planned.items()
        if name in names
    }
    if request.update and "roles" in request.given:
        kept["roles"] = request.options.roles  # what is new of them is taken in
    if request.update and "limit" in request.given:
        kept["limit"] = request.options.limit
    if request.update:
        kept |= grown_placements(planned, request.options, request.given)
    options = PlanOptions(**kept)
    kept_names = {*_differing(options.as_dict(), request.options)}
    usual_steps = (0, replace(options, step_px=0).resolved_step_px)
    if "resolution_px" in kept_names and options.step_px in usual_steps:
        kept_names.discard("step_px")  # it follows
    if told := _words(options.as_dict(), sorted(kept_names)):
        reporter.message(f"plan: keeping {told} of the store's plan")
    return replace(request, options=options)


def _differing(planned: Mapping[str, Any], options: PlanOptions) -> list[str]:
    asked = options.as_dict()
    names = {**planned, **asked}  # either may speak of clips where the other does not
    return [name for name in names if planned.get(name) != asked.get(name)]


def _words(values: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return options as a recipe writes them."""
    shown = {name: values.get(name, getattr(_DEFAULTS, name, None)) for name in names}
    return ", ".join(f"{key_of(PlanOptions, name)}={value!r}" for name, value in shown.items())


def _check_same_options(
    planned: Mapping[str, Any], request: PlanRequest, given: Collection[str]
) -> None:
    """Refuse given options that are not the plan's.

    Raises:
        StoreError: There are some; both are shown.
    """
    differing = [name for name in _differing(planned, request.options) if name in given]
    if not request.options.step_px and "resolution_px" in differing:
        differing = [name for name in differing if name != "step_px"]  # it follows
    may_grow = ("roles", *PLACEMENT_OPTIONS)
    if request.update:  # what is new of these is taken in, and a limit has a refusal of its own
        differing = [name for name in differing if name not in (*may_grow, "limit")]
    if differing:
        then, now = (_words(each, differing) for each in (planned, request.options.as_dict()))
        also = " (--update adds to it)" if set(differing) <= set(may_grow) else ""
        raise StoreError(
            f"plan options must be those of the store's plan ({then}), got {now}; leave out what "
            f"the plan has already{also}, or build into another store"
        )


def _check_same_plan(found: Generation, request: PlanRequest) -> Corpus:
    every = {*found.options, *request.options.as_dict()}
    _check_same_options(found.options, request, every)
    corpus = open_corpus(request.corpus_url, request.corpus_kind)
    if request.update:
        return corpus  # it may have moved: the samples tell
    if places := found.totals.get("places"):
        _check_same_places(places, corpus)
        return corpus
    planned_file = found.totals.get("file", "")
    if not is_same_place(corpus.root.url, found.corpus_url) or corpus.file != planned_file:
        planned = "/".join(filter(None, (found.corpus_url, planned_file)))
        raise StoreError(
            f"corpus must be the one that the store was planned from ({planned}), got "
            f"{corpus.label}; give that one, or build into another store"
        )
    return corpus


def _check_same_places(planned: list[str], corpus: Corpus) -> None:
    """Refuse other places than those planned.

    Raises:
        StoreError: One more or one less; the first of each is shown.
    """
    for more, less, what in (
        (corpus.places, planned, "also"),
        (planned, corpus.places, "without"),
    ):
        differing = sorted(set(more) - set(less))
        if differing:
            raise StoreError(
                f"corpora must be those that the store was planned from, got them {what} "
                f"{differing[0]} ({len(differing):,} differ); give the same, or build into "
                "another store"
            )


def with_planned_roles(options: PlanOptions, planned: Mapping[str, Any]) -> PlanOptions:
    """Return options with the roles that a plan has where they name no other source of them.

    Args:
        options: Of an update.
        planned: Options of the plan, as it records them.
    """
    named = {text.partition("=")[0] for text in options.roles}
    kept = [text for text in planned.get("roles", ()) if text.partition("=")[0] not in named]
    return replace(options, roles=(*options.roles, *kept)) if kept else options


def is_same_place(one: str, other: str) -> bool:
    """Whether two local paths lead to one folder, links followed, or two URLs are equal."""
    if one == other:
        return True
    return "://" not in one + other and Path(one).resolve() == Path(other).resolve()
