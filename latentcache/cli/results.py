"""What a run has done, told at its end on stdout."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from latentcache.cli.corpus_report import corpus_json, print_corpus, samples_of
from latentcache.core.findings import lost_sentence
from latentcache.core.log_lines import logs_are_json, say, say_error
from latentcache.terminal import (
    bytes_text,
    count_text,
    duration_text,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from latentcache.runner import EncodeResult, PlanResult

DAMAGED = 3
"""Exit code: damage was found, or the quarantine is larger than allowed."""


def print_plan_result(result: "PlanResult", *, with_buckets: bool = False) -> None:
    """Print what a plan holds."""
    generation = result.generation
    if result.update is not None:
        click.echo(result.update.sentence)
    click.echo(f"{'planned' if result.is_new else 'already planned'}: {_size_of(result)}")
    if generation.num_rejects and "refused" not in generation.totals:
        codes = generation.totals.get("rejects_by_code", {}) or dict(result.rejects_by_code)
        why = ", ".join(f"{count:,} {code}" for code, count in sorted(codes.items()))
        click.echo(f"refused: {generation.num_rejects:,} ({why})" if why else "")
    videos = generation.totals.get("videos", {})
    if videos:
        click.echo(
            f"{count_text(videos['num_clips'], 'clip')} of "
            f"{count_text(videos['num_videos'], 'video')}; {videos['num_left_out']:,} of their "
            f"{videos['num_frames']:,} frames lie in no clip"
        )
    ignored = generation.totals.get("ignored", {})
    if ignored:
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(ignored.items()))
        click.echo(f"ignored: {parts}")
    print_corpus(generation.totals, samples_of(generation.totals, generation.num_rows))
    if with_buckets:
        print_table(
            ("bucket", "samples" if result.num_samples is None else "rows", "shards"),
            [
                (run.bucket.label, run.num_rows, run.num_shards)
                for each in result.generations
                for run in each.runs
            ],
        )


def _size_of(result: "PlanResult") -> str:
    """Return how much a plan holds, in words."""
    runs = [run for each in result.generations for run in each.runs]
    num_shards = sum(run.num_shards for run in runs)
    buckets = count_text(len({run.bucket for run in runs}), "bucket")
    where = f"in {buckets}, {count_text(num_shards, 'shard')}"
    num_refused = sum(each.num_rejects for each in result.generations)
    refused = f", and {num_refused:,} refused" if num_refused else ""
    of = "" if result.num_samples is None else f" of {count_text(result.num_samples, 'sample')}"
    what = "row" if of else "sample"
    if len(result.generations) == 1:
        return f"{count_text(result.generation.num_rows, what)}{of} {where}{refused}"
    live = count_text(result.num_planned, f"live {what}")
    return f"{live}{of} {where}, {count_text(len(result.generations), 'generation')}"


def plan_json(result: "PlanResult") -> dict[str, object]:
    """Return what ``plan --json`` prints."""
    generation = result.generation
    return {
        "generation": generation.number,
        "digest": generation.digest,
        "new": result.is_new,
        "planned": result.num_planned,
        "samples": result.num_planned if result.num_samples is None else result.num_samples,
        "rows": generation.num_rows,
        "refused": generation.num_rejects,
        "shards": generation.num_shards,
        "buckets": {str(run.bucket): run.num_rows for run in generation.runs},
        "corpus": {**corpus_json(generation.totals), "changes": result.changes.as_dict()},
        "update": result.update.as_dict() if result.update else None,
        "totals": generation.totals,
    }


def plan_sentences(result: "PlanResult") -> list[str]:
    """Return what keeps a plan from being of the whole corpus as it is now."""
    generation = result.generation
    empty = ""
    if generation.number == 0:
        empty = empty_sentence(generation.num_rows, generation.num_rejects)
    return [empty, lost_sentence(generation.totals), result.changes.sentence]


def empty_sentence(num_rows: int, num_rejects: int) -> str:
    """Return what to say of a plan without samples, else ""."""
    if num_rows:
        return ""
    return (
        f"a plan must hold samples, got 0 of {num_rejects:,} that are not refused; look at the "
        "reasons above, mend the corpus and plan into another store"
    )


def leave_if_incomplete(context: click.Context, sentences: Sequence[str]) -> None:
    """Leave with 3 if anything keeps the corpus from being in the store as it is; say what."""
    told = [sentence for sentence in sentences if sentence]
    for sentence in told:
        say_error(sentence)
    if told:
        context.exit(DAMAGED)


def print_encode_results(
    context: click.Context,
    results: "Sequence[EncodeResult]",
    *,
    as_json: bool,
    planned: "PlanResult | None" = None,
    last: str = "",
) -> None:
    """Print what a run left behind, ``last`` below it; leave with 3 if not the whole corpus.

    As JSON one column is an object, and several are a list under ``columns``.
    """
    if as_json:
        columns = [{**asdict(each), "is_over_limit": each.is_over_limit} for each in results]
        found: dict[str, object] = {"columns": columns} if len(columns) > 1 else columns[0]
        if planned is not None:
            changes = planned.changes.as_dict()
            found["corpus"] = {**corpus_json(planned.generation.totals), "changes": changes}
            found["update"] = planned.update.as_dict() if planned.update else None
        print_json(found)
    else:
        for place, each in enumerate(results):
            # Columns of one pass have its times in common.
            is_last_of_pass = each.times not in [other.times for other in results[place + 1 :]]
            _print_sum(each, with_times=is_last_of_pass)
        if last:
            click.echo(last)
    for each in results if logs_are_json() else ():
        say(f"{each.column} is done", event="result", **asdict(each))
    of_plan = plan_sentences(planned) if planned is not None else []
    leave_if_incomplete(context, [*of_plan, *(each.limit_sentence for each in results)])


def _print_times(result: "EncodeResult") -> None:
    """Print where the time went: shares that add up to all of it, and what ran beside."""
    times = result.times
    if not times.shares:
        return
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in times.shares.items())
    click.echo(
        f"of the encoders' time: {shares}; decoding took {duration_text(times.decode_core_s)} of "
        f"CPU; a commit {times.commit_s * 1000:,.0f} ms, the slowest "
        f"{times.slowest_commit_s * 1000:,.0f} ms"
    )
    if times.storage_retries:
        click.echo(f"{count_text(times.storage_retries, 'storage operation')} were tried again")
    if times.advice:
        click.echo(times.advice)


def _print_sum(result: "EncodeResult", *, with_times: bool) -> None:
    missing = f" + {result.absent:,} absent" if result.absent else ""
    missing += f" + {result.missing:,} missing" if result.missing else ""
    click.echo(
        f"{result.column}: {result.encoded:,} encoded + {result.quarantined:,} quarantined"
        f"{missing} = {result.planned:,} planned, {bytes_text(result.num_bytes)}"
    )
    done = result.newly_encoded + result.newly_quarantined
    if done and result.elapsed_s > 0:
        rate = done / result.elapsed_s
        click.echo(
            f"this run: {count_text(done, 'sample')} in {duration_text(result.elapsed_s)}, "
            f"{rate:.4g} samples/s with {count_text(result.num_actors, 'encoder')} "
            f"on {result.device_type}"
        )
        if with_times:
            _print_times(result)
    if result.snapshot is not None:
        click.echo(f"snapshot {result.snapshot} serves it (encoding {result.encoding})")
    if result.quarantined:
        click.echo("latentcache status --quarantined lists what was left out, and why")
