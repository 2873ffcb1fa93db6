"""Guards: what keeps a run from quarantining a corpus, or serving a bad column for a good one."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from latentcache.core.errors import QuarantineLimitError, ShardCorruptError, StoreError
from latentcache.core.rejects import BY_OPTION, RejectCode
from latentcache.decode import pixel_rules
from latentcache.runner.encode.limits import DispatchResult, QuarantineLimit
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.run_progress import Reporter
from latentcache.storage import Folder, map_ahead
from latentcache.store import (
    CommitRef,
    EncodingRecord,
    Generation,
    Store,
    retired_since,
    verify_encoding,
)
from latentcache.store.snapshots import PlanView

if TYPE_CHECKING:
    from latentcache.runner.messages.unit_orders import UnitOrder


def check_corpora(orders: "list[UnitOrder]") -> None:
    """Refuse to quarantine a whole corpus because it was moved or is not mounted.

    Raises:
        StoreError: Nothing is where the plan's sources were.
    """
    for url in {order.corpus_url for order in orders}:
        folder = Folder.open(url)
        if folder.is_empty():
            raise StoreError(
                f"corpus must be where it was planned, got nothing at {folder.label}; mount or "
                "move it there, or say where it lies now"
            )


def num_present(store: Store, ref: CommitRef) -> int:
    """Return how many samples a commit holds, 0 if its record is damaged."""
    try:
        return store.read_commit(ref).num_present
    except StoreError:
        return 0


def check_written(store: Store, record: EncodingRecord, reporter: Reporter) -> None:
    """Refuse to serve an encoding that differs anywhere from what was recorded of it.

    Raises:
        ShardCorruptError: It does.
    """
    reporter.message(f"{record.column}: verifying what was written before it is served")
    report = verify_encoding(store, record)
    if not report.ok:
        first = report.damaged[0]
        raise ShardCorruptError(
            f"encoding must be as it was written before it is served, got {len(report.damaged)} "
            f"differences (e.g. unit {first.unit}: {first.what}); the column stays as it is: look "
            "at the storage, and give the encoding up with latentcache gc --free"
        )
    reporter.message(f"{record.column}: {report.num_samples:,} samples are as they were written")


def check_not_empty(store: Store, record: EncodingRecord, generations: list[Generation]) -> None:
    """Refuse to serve a column in which nothing is encoded.

    Raises:
        QuarantineLimitError: No commit holds a sample; what was rejected is kept.
    """
    refs = store.commits(record).values()
    if any(store.read_commit(ref).num_present for ref in refs):
        return
    planned = sum(each.num_rows + each.num_rejects for each in generations)
    codes = Counter[str]()
    for each in generations:
        codes.update(each.totals.get("rejects_by_code", {}))
    common = ", ".join(f"{count} {code}" for code, count in codes.most_common(3))
    raise QuarantineLimitError(
        f"a run must encode something, got 0 of {planned} samples"
        f"{f' ({common})' if common else ''}; nothing is published: look at them with "
        "`latentcache status STORE --quarantined`"
    )


def check_swap(
    store: Store,
    record: EncodingRecord,
    request: EncodeRequest,
    generations: list[Generation],
) -> None:
    """Keep serving the encoding that is served if the new one rejects too much.

    A first build publishes whatever it has, so that ``status`` shows the sum.

    Raises:
        QuarantineLimitError: The new encoding passes the limit; its commits are kept.
    """
    served = store.snapshot().columns.get(request.column) if store.snapshots() else None
    if served is None or served.record.fingerprint == record.fingerprint:
        return
    commits = list(map_ahead(store.read_commit, store.commits(record).values()))
    units = {each.unit: each for each in store.units(record)}
    counted = [(units[each.unit_id], each.meta.name) for each in commits]
    # What was retired stands as rejected in its unit, and is nobody's loss.
    plan, nothing = (PlanView.read(store.folder, each) for each in (generations, ()))
    gone_present, gone_rejected = retired_since(store, plan, nothing, counted)
    num_rejected = sum(each.num_rejected for each in commits) - gone_rejected
    result = DispatchResult(
        num_encoded=sum(each.num_present for each in commits) - gone_present,
        num_quarantined=num_rejected,
        rejects=Counter({"rejected while encoding": num_rejected}),
    )
    sentence = quarantine_limit(generations, request).passed(result, is_finished=True)
    # What the served encoding lacks as well is no reason to keep it.
    num_lacking = result.num_quarantined + sum(each.num_rejects for each in generations)
    if sentence is not None and num_lacking > served.num_quarantined:
        raise QuarantineLimitError(
            f"{sentence}; column {request.column} is still served by encoding "
            f"{served.record.fingerprint}"
        )


def other_pixels(store: Store, record: EncodingRecord) -> str:
    """Return what to say where a new encoding differs from one there only by how pixels are made.

    A release, or a library, that makes other pixels begins an encoding of its own, so what was
    meant as an addition becomes a second encoding of everything. "" where nothing is to be said.
    """
    there = store.encodings(record.column)
    if any(other.fingerprint == record.fingerprint for other in there):
        return ""
    asked = {**record.identity, "transform": None}
    here = pixel_rules(record.transform)
    for other in there:
        then = pixel_rules(other.transform)
        if {**other.identity, "transform": None} == asked and then != here:
            names = sorted(name for name in then | here if then.get(name) != here.get(name))
            told = (
                ", ".join(f"{name} {rules.get(name, 'unknown')}" for name in names)
                for rules in (then, here)
            )
            return (
                f"{record.column}: encoding {other.fingerprint[:12]} of this store was made of "
                f"other pixels ({' there; '.join(told)} here), so every sample is encoded anew; "
                "to add to it instead, stop and use the release and libraries that wrote it"
            )
    return ""


def quarantine_limit(generations: list[Generation], request: EncodeRequest) -> QuarantineLimit:
    """Return the limit of a run, with what planning rejected counted in."""
    planned = Counter[str]()
    for each in generations:
        planned.update(each.totals.get("rejects_by_code", {}))
    return QuarantineLimit(
        share=request.resources.max_quarantine,
        seen_before=planned.total(),
        rejected_before=_counted(planned).total(),
        allows_absent=request.encode.absent == "allow",
    )


def final_limit_sentence(store: Store, snapshot: int, request: EncodeRequest) -> str:
    """Return the sentence for a finished column whose quarantine is too large, or ''.

    Tars and tables that became unreadable while they were encoded are named, however few.
    """
    view = store.snapshot(snapshot).columns[request.column]
    rows = view.quarantine().select(["path", "member", "code", "stage", "reason"]).to_pylist()
    if lost := Counter(row["path"] for row in rows if _lost_its_container(row)):
        name, count = lost.most_common(1)[0]
        return (
            f"tars and tables must stay readable, got {len(lost):,} that did not while they were "
            f"encoded (e.g. {name}, {count:,} samples); mend them and run it again with "
            "--retry-quarantined"
        )
    codes = Counter(str(row["code"]) for row in rows)
    result = DispatchResult(
        num_encoded=view.num_encoded,
        num_quarantined=view.num_quarantined,
        rejects=_counted(codes),
    )
    limit = QuarantineLimit(
        share=request.resources.max_quarantine, allows_absent=request.encode.absent == "allow"
    )
    return limit.passed(result, is_finished=True) or ""


def _lost_its_container(row: Mapping[str, str]) -> bool:
    is_unread = row["code"] == RejectCode.UNREADABLE.word or row["reason"].startswith(
        "the tar ends"
    )
    return bool(row["member"]) and row["stage"] == "decode" and is_unread


def _counted(codes: Counter[str]) -> Counter[str]:
    """Return the codes that count towards the limit."""
    left_out = {code.word for code in BY_OPTION}
    return Counter({code: count for code, count in codes.items() if code not in left_out})
