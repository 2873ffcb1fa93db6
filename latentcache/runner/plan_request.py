"""What is asked of a plan, and whether the plan that a store has is that one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentcache.core.errors import ConfigError, StoreError
from latentcache.plan import Corpus, PlanOptions, open_corpus
from latentcache.runner.run_options import Resources
from latentcache.store import Generation, Store


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
    """

    corpus_url: str | tuple[str, ...]
    options: PlanOptions
    resources: Resources
    corpus_kind: str = ""
    update: bool = False
    may_retire: bool = False
    retry_refused: bool = False


def check_plan(store: Store, request: PlanRequest) -> Generation | None:
    """Return the store's newest plan, or None if it has none.

    Raises:
        StoreError: It is of another corpus or made with other options.
    """
    generations = store.generations()
    if not generations:
        return None
    if request.update and request.options.limit:
        raise ConfigError(
            f"an update must look at the whole corpus, got --limit {request.options.limit}; leave "
            "one of the two out"
        )
    newest = [each for each in generations if not each.only_retires][-1]
    _check_same_plan(newest, request)
    return newest


def _check_same_plan(found: Generation, request: PlanRequest) -> Corpus:
    asked = request.options.as_dict()
    names = {**found.options, **asked}  # either may speak of clips where the other does not
    if request.update:
        names.pop("roles", None)  # what is new of them is taken in
    differing = [name for name in names if found.options.get(name) != asked.get(name)]
    if differing:
        then = ", ".join(f"{name}={found.options.get(name)!r}" for name in differing)
        now = ", ".join(f"{name}={asked.get(name)!r}" for name in differing)
        raise StoreError(
            f"plan options must be those of the store's plan ({then}), got {now}; "
            "give the same options, or build into another store"
        )
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
