"""From a corpus to a plan: list, scan, place, write; or keep the plan that is there."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from latentcache.core.findings import Findings
from latentcache.core.roles import role_of_annotation
from latentcache.decode import ImageLimits
from latentcache.plan import (
    PLACEMENT_OPTIONS,
    Assignment,
    BesideTable,
    Corpus,
    CorpusChanges,
    Growth,
    Listing,
    ListingTotals,
    PlanBase,
    PlanOptions,
    UpdateCounts,
    assign,
    corpus_changes,
    grown_placements,
    open_corpus,
    plan_base,
    planned_placements,
    refused_kinds,
    write_revisions,
)
from latentcache.runner.growth.added_placements import Admit, add_placements
from latentcache.runner.messages.calls import Calls, Workers
from latentcache.runner.plan_request import (
    PlanRequest,
    check_plan,
    is_same_place,
    with_planned_roles,
)
from latentcache.runner.retiring import publish_as_planned
from latentcache.runner.run_progress import Reporter
from latentcache.runner.scan import ScanSettings, ScanTotals, scan
from latentcache.runner.video_totals import VideoTotals
from latentcache.runner.workers.local_workers import num_local_cpus, scan_calls
from latentcache.store import Generation, GenerationDraft, Store, num_samples
from latentcache.store.snapshots import PlanView

_TABLE_EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq")

_SCAN_CHUNK = 250
"""Files per scan task: a fraction of a second of headers, so that progress moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """What a plan holds.

    Attributes:
        generation: As written, or as found: the newest that a listing made.
        generations: All of the plan.
        num_planned: Live rows of all of them, and samples refused while planning.
        num_samples: How many samples these are of; None where each has one row.
        is_new: Whether this run made it.
        rejects_by_code: Samples refused while planning; empty for a plan that was found.
        changes: How the corpus differs by now from a plan that was found.
        update: What an update found, if one was asked for.
    """

    generation: Generation
    generations: tuple[Generation, ...]
    num_planned: int
    is_new: bool
    num_samples: int | None = None
    rejects_by_code: Mapping[str, int] = field(default_factory=dict)
    changes: CorpusChanges = field(default_factory=CorpusChanges)
    update: UpdateCounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    """What an update has, beside what is asked.

    Attributes:
        corpus: As it is now, open.
        growth: Leaves out what the plan has already.
        base: What new samples have to agree with.
    """

    corpus: Corpus
    growth: Growth
    base: PlanBase


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftedPlan:
    """A plan that nothing has been written of.

    Attributes:
        corpus: Root of the sources, and how they were read.
        assignment: Rows, rejects and annotations.
        totals: What the listing counted.
        videos: What the scan counted of videos.
        beside: Captions, tables and tars that were read.
    """

    corpus: Corpus
    assignment: Assignment
    totals: ListingTotals
    videos: VideoTotals
    beside: BesideTable

    def described(self) -> dict[str, Any]:
        """Return what was found beside the samples, as a generation's totals record it."""
        found = {
            **self.totals.as_dict(),
            "annotations": dict(sorted(self.assignment.num_with.items())),
        }
        found["refused"] = refused_kinds(self.assignment.iter_rejects())
        if classes := self.assignment.classes:
            found["classes"] = list(classes.names)
        return found


def plan_into(
    store: Store,
    request: PlanRequest,
    *,
    workers: Workers | None,
    reporter: Reporter,
    admit: Admit | None = None,
) -> PlanResult:
    """Return the store's plan of the corpus: the one that is there, or a new one.

    Args:
        store: Where the plan is, or goes.
        request: What is asked.
        workers: Read the headers; None for processes of this machine.
        reporter: Shows the scan.
        admit: Is asked before anything is written, with the runs that would be; what it raises
            leaves the store as it was.

    Raises:
        StoreError: The store has a plan of another corpus or made with other options.
        ConfigError: The corpus is missing, empty or not readable as one.
    """
    newest = check_plan(store, request)
    if newest is not None and request.update:
        return _updated(store, request, newest, workers=workers, reporter=reporter, admit=admit)
    if newest is not None:
        corpus = open_corpus(request.corpus_url, request.corpus_kind)
        changes = corpus_changes(corpus, request.options, store.folder, store.generations())
        found = _result(store, is_new=False, changes=changes)
        reporter.message(f"plan: {found.num_planned} samples, made before; nothing is scanned")
        return found
    with drafted_plan(request, workers=workers, reporter=reporter) as drafted:
        if admit is not None:
            admit(drafted.assignment.runs)
        _write(store, drafted, request.options)
    return _result(store, is_new=True)


def _result(store: Store, **told: Any) -> PlanResult:
    """Return what the store's plan holds now."""
    generations = tuple(store.generations())
    newest = [each for each in generations if not each.only_retires][-1]
    return PlanResult(
        generation=newest,
        generations=generations,
        num_planned=PlanView.read(store.folder, generations).num_planned,
        num_samples=num_samples(store),
        rejects_by_code=newest.totals.get("rejects_by_code", {}),
        **told,
    )


def _updated(
    store: Store,
    request: PlanRequest,
    newest: Generation,
    *,
    workers: Workers | None,
    reporter: Reporter,
    admit: Admit | None,
) -> PlanResult:
    """Return the generation that takes in what changed, or ``newest`` where nothing did."""
    options = with_planned_roles(request.options, newest.options)
    options = replace(options, **grown_placements(newest.options, options, PLACEMENT_OPTIONS))
    # What came or changed first, as the rest is planned; then all get what is new of placements.
    request = replace(request, options=replace(options, **planned_placements(newest.options)))
    found = _taken_in(store, request, newest, workers=workers, reporter=reporter, admit=admit)
    added = frozenset(options.placements) - frozenset(request.options.placements)
    if not added:
        return found
    add_placements(store, options, added, reporter=reporter, admit=admit)
    return _result(store, is_new=True, update=found.update)


def _taken_in(
    store: Store,
    request: PlanRequest,
    newest: Generation,
    *,
    workers: Workers | None,
    reporter: Reporter,
    admit: Admit | None,
) -> PlanResult:
    """Return the plan with what came, changed or went."""
    generations = store.generations()
    corpus = open_corpus(request.corpus_url, request.corpus_kind)
    base = plan_base(store, generations)
    growth = Growth(
        store, generations, corpus.root, base, request.options, retries_all=request.retry_refused
    )
    growing = Growing(corpus=corpus, growth=growth, base=base)
    with drafted_plan(request, workers=workers, reporter=reporter, growing=growing) as drafted:
        found, retired = growth.finish(drafted.totals.findings, may_retire=request.may_retire)
        reporter.message(found.sentence)
        assigned = drafted.assignment
        classes = base.all_classes(assigned.classes.names if assigned.classes else ())
        revisions = growth.revisions(classes)
        beside = growth.beside(drafted.totals.findings)
        drafted.beside.add(beside)
        known = {*store.annotation_names(), *assigned.num_with, *(each.name for each in revisions)}
        for role in _roles_without_media(request.options, known):
            reporter.message(f"role {role}: no sample has a medium of it; correct where they lie")
        has_moved = not is_same_place(corpus.root.url, newest.corpus_url)
        has_news = assigned.num_rows or assigned.num_rejects or len(retired) or revisions
        if not (has_news or beside or has_moved):
            return _result(store, is_new=False, update=found)
        if admit is not None:
            admit(assigned.runs)
        # Before the generation, which remembers that the captions were read.
        write_revisions(store, revisions)
        of_update = {"update": found.as_dict(), **({"classes": list(classes)} if classes else {})}
        generation = _write(store, drafted, request.options, retired=retired, totals=of_update)
    if not generation.num_rows:
        publish_as_planned(store)
    return _result(store, is_new=True, update=found)


@contextmanager
def drafted_plan(
    request: PlanRequest,
    *,
    workers: Workers | None,
    reporter: Reporter,
    growing: Growing | None = None,
) -> Iterator[DraftedPlan]:
    """Yield the plan of the corpus; its tables live as long as the context.

    Args:
        request: What is asked.
        workers: Read the headers; None for processes of this machine.
        reporter: Shows the scan.
        growing: The update that it is part of.

    Raises:
        ConfigError: The corpus is missing, empty or not readable as one.
    """
    corpus = growing.corpus if growing else open_corpus(request.corpus_url, request.corpus_kind)
    growth = growing.growth if growing else None
    listing = Listing(corpus, request.options)
    resources = request.resources
    settings = ScanSettings(
        corpus=corpus.root,
        limits=ImageLimits(max_pixels=resources.max_image_pixels),
        time_limit_s=resources.time_limit_s,
        clips=request.options.clip_rules,
        skip_still=request.options.skip_still,
    )
    with (
        tempfile.TemporaryDirectory(prefix="latentcache-plan-") as scratch,
        _scanning(workers) as (calls, num_cpus),
    ):
        beside = BesideTable(Path(scratch))
        findings = listing.totals.findings
        totals = ScanTotals(findings=Findings(), sidecars=beside.add_captions)
        chunks = listing.chunks(_SCAN_CHUNK)
        scanned = scan(
            settings,
            growth.to_scan(chunks) if growth else chunks,
            calls=calls,
            num_cpus=num_cpus,
            reporter=reporter,
            totals=totals,
        )
        admitted = growth.admitted(scanned) if growth else scanned
        base = replace(growing.base, is_out=growing.growth.is_out) if growing else None
        assignment = assign(admitted, request.options, Path(scratch), base=base)
        beside.add(listing.totals.tables)
        findings.take(totals.findings)
        findings.take(assignment.findings)
        findings.where = ""
        _note_unused(corpus, listing.totals)
        if growing is None:  # an update has samples of before, which may have them
            _note_absent(findings, request.options, assignment)
        yield DraftedPlan(
            corpus=corpus,
            assignment=assignment,
            totals=listing.totals,
            videos=totals.videos,
            beside=beside,
        )


@contextmanager
def _scanning(workers: Workers | None) -> Iterator[tuple[Calls, int]]:
    """Yield what a scan's calls are made with and how many run at a time."""
    if workers is None:
        num_cpus = num_local_cpus()
        with scan_calls(num_cpus) as calls:
            yield calls, num_cpus
        return
    with workers.scanning() as calls:
        yield calls, workers.facts.num_cpus


def _note_unused(corpus: Corpus, totals: ListingTotals) -> None:
    """Note tables that were passed over."""
    num_tables = sum(totals.ignored[each] for each in _TABLE_EXTENSIONS)
    if corpus.kind != "manifest" and num_tables:
        what = "pictures" if corpus.kind == "folder" else "tars"
        tables = "1 table lies" if num_tables == 1 else f"{num_tables:,} tables lie"
        were = "was" if num_tables == 1 else "were"
        totals.findings.chosen[
            f"the {what} were read; {tables} beside them and {were} not: to plan "
            "from one, name the file itself as the corpus, or give --corpus-kind manifest"
        ] += 1


def _note_absent(findings: Findings, options: PlanOptions, assignment: Assignment) -> None:
    """Note columns and roles that were asked for and that no sample has."""
    for role in _roles_without_media(options, assignment.num_with):
        findings.add("role_absent", role)
    for option, name in (("caption_column", "caption"), ("label_column", "label")):
        given = getattr(options, option)
        if given and not assignment.num_with.get(name):
            findings.add("column_absent", f"{option} {given}")


def _roles_without_media(options: PlanOptions, annotations: Iterable[str]) -> list[str]:
    """Return the roles asked for that none of ``annotations`` names, whatever its number."""
    seen = {role_of_annotation(name) for name in annotations}
    seen |= {role.partition(".")[0] for role in seen}
    return [
        role
        for role in sorted(text.partition("=")[0] for text in options.roles)
        if role not in seen
    ]


def _write(
    store: Store,
    drafted: DraftedPlan,
    options: PlanOptions,
    *,
    retired: pa.Table | None = None,
    totals: Mapping[str, Any] | None = None,
) -> Generation:
    assignment = drafted.assignment
    places = list(drafted.corpus.places)
    draft = GenerationDraft(
        corpus_url=drafted.corpus.root.url,
        corpus_kind=drafted.corpus.kind,
        options=options.as_dict(),
        seed=options.seed,
        runs=assignment.runs,
        rows=assignment.iter_rows(),
        rejects=assignment.iter_rejects(),
        retired=[] if retired is None else [retired],
        beside=drafted.beside.tables(),
        annotations={
            name: assignment.iter_values(name) for name in assignment.annotation_schema.names
        },
        num_placements=len(options.placements),
        totals={
            **drafted.described(),
            "file": drafted.corpus.file,
            **({"places": places} if len(places) > 1 or drafted.corpus.is_pattern else {}),
            "rows": assignment.num_rows,
            **({"samples": assignment.num_samples} if options.has_placements else {}),
            "rejects": assignment.num_rejects,
            "rejects_by_code": dict(assignment.reject_codes),
            "bytes": assignment.num_bytes,
            **({"videos": asdict(drafted.videos)} if options.clip_rules else {}),
            **(totals or {}),
        },
    )
    return store.write_generation(draft)
