"""The jobs of the first user: plan, encode, build; each one call that starts and ends its workers.

What can be refused is refused before anything starts: options, paths, the encoder's name, its
weights, the store's plan, in this order.
"""

from dataclasses import replace

from latentcache.encoders import check_encoder
from latentcache.plan import Listing, look_into, open_corpus
from latentcache.runner.encode.pinning import declared_admission
from latentcache.runner.encode.result import EncodeResult
from latentcache.runner.encode.served import keep_served
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.mask_grid import with_mask_grid
from latentcache.runner.plan_request import PlanRequest, check_plan, with_planned_options
from latentcache.runner.planning import PlanResult, plan_into
from latentcache.runner.roles.role_table import RoleTable
from latentcache.runner.run_progress import Reporter
from latentcache.runner.settled import is_served, settled_column
from latentcache.runner.text.text_source import TextSource
from latentcache.runner.workers.starting import RunSize, RunStoppedError, run_workers, stopping
from latentcache.store import Generation, Store

__all__ = ["RunStoppedError", "build", "encode_column", "plan_corpus"]


def plan_corpus(store_url: str, request: PlanRequest, *, reporter: Reporter) -> PlanResult:
    """Plan a corpus into the store, or find that it is planned; see ``plan_into``."""
    with stopping():
        _look_into(request)  # a wrong path leaves no empty store
        store = Store.open_or_create(store_url)
        request = with_planned_options(store, request, reporter)
        if request.resources.address == "local" or check_plan(store, request) is not None:
            return plan_into(store, request, workers=None, reporter=reporter)
    size = RunSize(num_samples=request.resources.without_ray + 1)
    with run_workers(request.resources, size, encoder="", reporter=reporter) as workers:
        return plan_into(store, request, workers=workers, reporter=reporter)


def encode_column(store_url: str, request: EncodeRequest, *, reporter: Reporter) -> EncodeResult:
    """Encode one column of a planned store and publish it; see ``encode_into``."""
    with stopping():
        request = _with_name(request, reporter)
        check_encoder(request.encode.encoder)
        store = Store.open(store_url)
        request = _with_kept(store, request, reporter)
        settled = settled_column(store, request, reporter=reporter)
        if settled is not None:
            return settled
        TextSource.newest(store, request.encode.input)  # an annotation that is not there
        RoleTable.newest(store, request.encode.input)
    from latentcache.runner.encode.column_run import encode_into, loaded_pool  # noqa: PLC0415

    size = _planned_size(store.generations())
    with (
        run_workers(
            request.resources, size, encoder=request.encode.encoder, reporter=reporter
        ) as workers,
        loaded_pool(store, request, workers) as pool,
    ):
        return encode_into(store, request, pool=pool, reporter=reporter)


def build(
    store_url: str, plan: PlanRequest, encode: EncodeRequest, *, reporter: Reporter
) -> tuple[PlanResult, EncodeResult]:
    """Plan, encode and publish: the main job. What is there already is not done again.

    On a cluster the encoder is loaded before the scan: a wrong one must not cost it. Nothing of a
    plan or an update is written before the encoder is known to take it.
    """
    with stopping():
        # A wrong path or name leaves no empty store, and waits for no cluster.
        _look_into(plan)
        encode = _with_name(encode, reporter)
        check_encoder(encode.encode.encoder)
        store = Store.open_or_create(store_url)
        encode = _with_kept(store, encode, reporter)
        plan = with_planned_options(store, plan, reporter)
        found = check_plan(store, plan)
        planned: PlanResult | None = None
        if found is not None and plan.update and is_served(store, encode):
            admit = declared_admission(encode)
            planned = plan_into(store, plan, workers=None, reporter=reporter, admit=admit)
        if found is not None and (planned is not None or not plan.update):
            settled = settled_column(store, encode, reporter=reporter)
            if settled is not None:
                planned = planned or plan_into(store, plan, workers=None, reporter=reporter)
                return planned, settled
        if planned is not None:
            size = _missing_size(store, encode.column)
        else:
            size = _planned_size(store.generations()) if found else listed_size(plan)
    from latentcache.runner.encode.asking import loaded_admission  # noqa: PLC0415
    from latentcache.runner.encode.column_run import encode_into, loaded_pool  # noqa: PLC0415

    with (
        run_workers(
            encode.resources, size, encoder=encode.encode.encoder, reporter=reporter
        ) as workers,
        loaded_pool(store, encode, workers) as pool,
    ):
        admit = loaded_admission(store, encode, pool)
        planned = planned or plan_into(store, plan, workers=workers, reporter=reporter, admit=admit)
        return planned, encode_into(store, encode, pool=pool, reporter=reporter)


def _with_kept(store: Store, request: EncodeRequest, reporter: Reporter) -> EncodeRequest:
    """Return ``request`` with what the column has where nothing was given; see ``keep_served``."""
    kept = keep_served(store, with_mask_grid(store, request), reporter)
    check_encoder(kept.encode.encoder, kept.encode.input)
    return kept


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
