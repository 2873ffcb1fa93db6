"""The jobs of the first user: plan, encode, build; each one call that starts and ends its workers.

What can be refused is refused before anything starts: options, paths, the encoder's name, its
weights, the store's plan, in this order.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from latentcache.core.errors import ConfigError
from latentcache.core.inputs import parse_input
from latentcache.core.units import BucketRun
from latentcache.encoders import check_encoder, declared_facts
from latentcache.plan import Listing, look_into, open_corpus
from latentcache.runner.encode.pinning import declared_admission
from latentcache.runner.encode.result import EncodeResult
from latentcache.runner.encode.served import keep_served
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.growth.added_placements import Admit
from latentcache.runner.mask_grid import with_mask_grid
from latentcache.runner.messages.calls import Workers
from latentcache.runner.plan_request import PlanRequest, check_plan, with_planned_options
from latentcache.runner.planning import PlanResult, plan_into
from latentcache.runner.roles.role_table import RoleTable
from latentcache.runner.run_progress import Reporter
from latentcache.runner.settled import is_served, settled_column
from latentcache.runner.text.text_source import TextSource
from latentcache.runner.workers.starting import RunSize, RunStoppedError, run_workers, stopping
from latentcache.store import Generation, Store

__all__ = [
    "RunStoppedError",
    "build",
    "build_columns",
    "encode_column",
    "encode_columns",
    "plan_corpus",
]


def plan_corpus(store_url: str, request: PlanRequest, *, reporter: Reporter) -> PlanResult:
    """Plan a corpus into the store, or find that it is planned; see ``plan_into``."""
    with stopping():
        _look_into(request)  # a wrong path leaves no empty store
        store = Store.open_or_create(store_url)
        request = with_planned_options(store, request, reporter)
        if request.resources.address == "local" or check_plan(store, request) is not None:
            return plan_into(store, request, workers=None, reporter=reporter)
    size = RunSize(num_samples=request.resources.without_ray + 1)
    with run_workers(request.resources, size, encoders=[], reporter=reporter) as workers:
        return plan_into(store, request, workers=workers, reporter=reporter)


def encode_column(store_url: str, request: EncodeRequest, *, reporter: Reporter) -> EncodeResult:
    """Encode one column of a planned store and publish it; see ``encode_into``."""
    (result,) = encode_columns(store_url, [request], reporter=reporter)
    return result


def encode_columns(
    store_url: str, requests: Sequence[EncodeRequest], *, reporter: Reporter
) -> list[EncodeResult]:
    """Encode columns of a planned store, in one pass over pixels that are the same, and publish.

    Each column becomes what it would be by itself.

    Args:
        store_url: Of the store.
        requests: One a column, with the same resources.
        reporter: Shows the run.

    Raises:
        LatentCacheError: As ``encode_pass_into`` raises it.
    """
    with stopping():
        requests = _named(requests, reporter)
        store = Store.open(store_url)
        requests = _with_kept(store, requests, reporter)
        results = _settled(store, requests, reporter)
        left = [each for each in requests if each.column not in results]
        for each in left:
            TextSource.newest(store, each.encode.input)  # an annotation that is not there
            RoleTable.newest(store, each.encode.input)
    size = _planned_size(store.generations()) if left else RunSize(num_samples=0)
    results |= _encoded(store, left, size, reporter)
    return [results[each.column] for each in requests]


def build(
    store_url: str, plan: PlanRequest, encode: EncodeRequest, *, reporter: Reporter
) -> tuple[PlanResult, EncodeResult]:
    """Plan, encode and publish one column; see ``build_columns``."""
    planned, (result,) = build_columns(store_url, plan, [encode], reporter=reporter)
    return planned, result


def build_columns(
    store_url: str, plan: PlanRequest, requests: Sequence[EncodeRequest], *, reporter: Reporter
) -> tuple[PlanResult, list[EncodeResult]]:
    """Plan, encode and publish: the main job. What is there already is not done again.

    On a cluster the encoders are loaded before the scan: a wrong one must not cost it. Nothing of
    a plan or an update is written before the encoders are known to take it.

    Args:
        store_url: Of the store, which may not be there yet.
        plan: What is planned.
        requests: One a column, with the same resources; see ``encode_columns``.
        reporter: Shows the run.

    Raises:
        LatentCacheError: As ``plan_into`` and ``encode_pass_into`` raise it.
    """
    with stopping():
        # A wrong path or name leaves no empty store, and waits for no cluster.
        _look_into(plan)
        requests = _named(requests, reporter)
        store = Store.open_or_create(store_url)
        requests = _with_kept(store, requests, reporter)
        plan = with_planned_options(store, plan, reporter)
        found = check_plan(store, plan)
        planned: PlanResult | None = None
        results: dict[str, EncodeResult] = {}
        if found is not None and plan.update and all(is_served(store, each) for each in requests):
            admit = _all_of([declared_admission(each) for each in requests])
            planned = plan_into(store, plan, workers=None, reporter=reporter, admit=admit)
        if found is not None and (planned is not None or not plan.update):
            results = _settled(store, requests, reporter)
        left = [each for each in requests if each.column not in results]
        if planned is None and not left:
            planned = plan_into(store, plan, workers=None, reporter=reporter)
        if planned is not None:
            size = RunSize.largest([_missing_size(store, each.column) for each in requests])
        else:
            size = _planned_size(store.generations()) if found else listed_size(plan)
    told: list[PlanResult] = []

    def plan_first(workers: Workers, admit: Admit) -> None:
        told.append(plan_into(store, plan, workers=workers, reporter=reporter, admit=admit))

    results |= _encoded(store, left, size, reporter, None if planned else plan_first)
    return planned or told[0], [results[each.column] for each in requests]


def _encoded(
    store: Store,
    requests: Sequence[EncodeRequest],
    size: RunSize,
    reporter: Reporter,
    plan_first: Callable[[Workers, Admit], None] | None = None,
) -> dict[str, EncodeResult]:
    """Return what was encoded, by column.

    Args:
        store: Where columns go.
        requests: One a column, none of which is settled.
        size: Of the run.
        reporter: Shows the run.
        plan_first: Makes the plan, once the encoders of the first pass are loaded.
    """
    results: dict[str, EncodeResult] = {}
    if not requests:
        return results
    from latentcache.runner.encode.asking import loaded_admission  # noqa: PLC0415
    from latentcache.runner.encode.column_run import encode_into  # noqa: PLC0415
    from latentcache.runner.encode.loaded_pool import loaded_pool  # noqa: PLC0415
    from latentcache.runner.encode.one_pass import encode_pass_into, in_passes  # noqa: PLC0415

    waiting = in_passes(requests, reporter)
    while waiting:
        together = waiting.pop(0)
        resources = together[0].resources
        encoders = [each.encode.encoder for each in together]
        with (
            store.staying(),
            run_workers(resources, size, encoders=encoders, reporter=reporter) as workers,
            loaded_pool(store, together, workers) as pool,
        ):
            if plan_first is not None:
                of_loaded = [loaded_admission(store, each, pool) for each in together]
                others = [declared_admission(each) for group in waiting for each in group]
                plan_first(workers, _all_of([*of_loaded, *others]))
                plan_first, size = None, _planned_size(store.generations())
            if len(together) == 1:
                (request,) = together
                result = encode_into(store, request, pool=pool, reporter=reporter)
                results[request.column] = result
                continue
            done = encode_pass_into(store, together, pool=pool, reporter=reporter)
            results |= done.results
        waiting[:0] = [[each] for each in done.alone]
    return results


def _all_of(admissions: Sequence[Admit]) -> Admit:
    """Return what refuses runs that one of ``admissions`` refuses."""

    def admit(runs: Sequence[BucketRun]) -> None:
        for each in admissions:
            each(runs)

    return admit


def _settled(
    store: Store, requests: Sequence[EncodeRequest], reporter: Reporter
) -> dict[str, EncodeResult]:
    """Return the results of columns that have nothing to do; see ``settled_column``."""
    found = {each.column: settled_column(store, each, reporter=reporter) for each in requests}
    return {column: result for column, result in found.items() if result is not None}


def _named(requests: Sequence[EncodeRequest], reporter: Reporter) -> list[EncodeRequest]:
    """Return requests with encoders that are known by name.

    Raises:
        ConfigError: There is no such encoder, or two requests are of one column.
    """
    columns = [each.column for each in requests]
    if len({*columns}) < len(columns):
        raise ConfigError(
            f"columns of one run must have different names, got {', '.join(columns)}; give each "
            "its own: --column NAME=ENCODER"
        )
    named = [_with_name(each, reporter) for each in requests]
    for each in named:
        check_encoder(each.encode.encoder)
    return named


def _with_kept(
    store: Store, requests: Sequence[EncodeRequest], reporter: Reporter
) -> list[EncodeRequest]:
    """Return requests with what their columns have where nothing was given; see ``keep_served``.

    Raises:
        ConfigError: An encoder of texts stands beside one of pixels, and one input was given.
        EncoderError: An encoder's weights are not there, or it takes another input.
    """
    kept = [keep_served(store, with_mask_grid(store, each), reporter) for each in requests]
    if len(kept) > 1:
        _check_input(kept)
    for each in kept:
        check_encoder(each.encode.encoder, each.encode.input)
    return kept


def _check_input(requests: Sequence[EncodeRequest]) -> None:
    """Refuse an input that not all encoders of a run take.

    Raises:
        ConfigError: Which one does not, and how its column is encoded.
    """
    for each in requests:
        name, encoder, asked = each.column, each.encode.encoder, each.encode.input
        facts = declared_facts(encoder)
        is_of_text = facts is not None and facts.spec.modality == "text"
        if facts is not None and is_of_text != (parse_input(asked).modality == "text"):
            flags = f"--column {name}={encoder}{' --input text:caption' if is_of_text else ''}"
            raise ConfigError(
                f"columns of one run must be of one input, got {asked}, which {facts.spec.name} of "
                f"column {name} does not take; encode {name} by a run of its own: latentcache "
                f"encode STORE {flags}"
            )


def _with_name(request: EncodeRequest, reporter: Reporter) -> EncodeRequest:
    """Return ``request`` with its encoder by name, where a folder or hub id stands alone."""
    encode = request.encode.with_name(reporter.message)
    return request if encode is request.encode else replace(request, encode=encode)


def _look_into(request: PlanRequest) -> None:
    look_into(open_corpus(request.corpus_url, request.corpus_kind), request.options)


def listed_size(plan: PlanRequest) -> RunSize:
    """Return what a listing tells of a run; it ends once the run is known to be large."""
    limit = plan.resources.without_ray
    if plan.options.clip_rules is not None or plan.resources.address != "local":
        return RunSize(num_samples=limit + 1)  # how many clips, only a scan can tell
    corpus = open_corpus(plan.corpus_url, plan.corpus_kind)
    num_listed = 0
    for chunk in Listing(corpus, plan.options).chunks(limit + 1):
        num_listed += len(chunk)
        if num_listed > limit:
            break
    return RunSize(num_samples=num_listed)


def _missing_size(store: Store, column: str) -> RunSize:
    """Return what a served column lacks of the plan: after an update most of it is there."""
    generations = store.generations()
    view = store.snapshot().columns.get(column) if store.snapshots() else None
    if view is None:
        return _planned_size(generations)
    size = _planned_size(generations[view.entry.num_generations :])
    return replace(size, num_samples=size.num_samples + view.num_missing)


def _planned_size(generations: list[Generation]) -> RunSize:
    runs = [run for each in generations for run in each.runs]
    return RunSize(
        num_samples=sum(run.num_rows for run in runs),
        has_long_clips=any(run.is_long for run in runs),
    )
