"""What a corpus held besides samples, on stdout: read beside the media, left out, chosen, lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from latentcache.core.findings import finding_lines, lost_sentence
from latentcache.core.rejects import RejectCode
from latentcache.core.roles import role_of_annotation


def print_corpus(totals: Mapping[str, Any], num_samples: int, *, of: str = "") -> None:
    """Print what a plan's totals say of its corpus; nothing of plans that did not record it.

    Args:
        totals: Of a plan generation.
        num_samples: Planned, refused ones left out.
        of: Stands before each line, where there are several plans.
    """
    for line in refused_lines(totals):
        click.echo(f"{of}refused: {line}")
    if line := described_line(totals, num_samples):
        click.echo(f"{of}{line}")
    for line in totals.get("chosen", ()):
        click.echo(f"{of}chosen: {line}")
    for line in finding_lines(totals):
        click.echo(f"{of}noted: {line}")
    if sentence := lost_sentence(totals):
        click.echo(f"{of}lost: {sentence}")


def refused_lines(totals: Mapping[str, Any]) -> list[str]:
    """Return a line per kind of refusal, none for older plans."""
    return [
        f"{each['count']:,} {each['code']}: {each['reason']} (e.g. {', '.join(each['examples'])})"
        f"{_way_out(each)}"
        for each in totals.get("refused", ())
    ]


def _way_out(refused: Mapping[str, Any]) -> str:
    if refused["code"] == RejectCode.NOT_AN_IMAGE.word and "a video" in refused["reason"]:
        return "; --frames N takes clips of videos, for instance --frames 17"
    return ""


def described_line(totals: Mapping[str, Any], num_samples: int) -> str:
    """Return what was found beside the media, or an empty text if there was nothing to find."""
    if "annotations" not in totals or not num_samples:
        return ""
    counts = dict(totals["annotations"])
    parts = [f"captions {counts.pop('caption', 0):,} of {num_samples:,}"]
    labels = counts.pop("label", 0)
    if "classes" in totals:
        order = "as they came" if "update" in totals else "in the order of their names"
        numbered = f"classes: {len(totals['classes']):,}, numbered {order}"
        parts.append(f"labels {labels:,} ({numbered})")
        counts.pop("label_name", None)
    elif labels:
        parts.append(f"labels {labels:,}")
    for name in sorted(counts):
        if role := role_of_annotation(name):
            parts.append(f"{role} {counts.pop(name):,} of {num_samples:,}")
    if counts:
        names = ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()))
        parts.append(f"fields {names}")
    which = "media of this update" if "update" in totals else "media"
    return f"beside the {which}: {', '.join(parts)}"


def samples_of(totals: Mapping[str, Any], num_rows: int) -> int:
    """Return how many samples a generation's rows are of; those of one may be several."""
    return int(totals.get("samples", num_rows))


def joined_totals(totals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a plan's totals over its generations; later ones retire samples and count these."""
    joined = {name: value for each in reversed(totals) for name, value in each.items()}
    return joined | {"findings": [found for each in totals for found in each.get("findings", ())]}


def corpus_json(totals: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``--json`` shows of a plan's corpus."""
    names = ("annotations", "refused", "findings", "containers", "chosen", "ignored")
    found = {name: totals[name] for name in names if name in totals}
    if "findings" in found:
        found["notes"] = finding_lines(totals)
    if "classes" in totals:
        found["num_classes"] = len(totals["classes"])
    return found
