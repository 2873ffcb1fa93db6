"""Findings: what a corpus held that became no sample, was repaired, or was chosen by a rule.

Whatever is left out, guessed or mended is counted here under its kind, with examples and the way
out, and travels with the plan, so that ``status`` can still say it a month later.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_EXAMPLES = 3
MAX_NAMED = 1000
"""Lost containers that are kept by name; all are counted."""


class Kind(NamedTuple):
    """What a finding says: the things counted, and what to do about them."""

    what: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "caption_without_picture": Kind(
        "caption files that belong to no picture",
        "name each after its picture: beach.txt beside beach.jpg",
    ),
    "caption_not_text": Kind(
        "captions left out because they are not UTF-8",
        "convert them, for instance with iconv -f CP1252 -t UTF-8",
    ),
    "caption_unreadable": Kind(
        "captions left out because their file could not be read", "look at its permissions"
    ),
    "second_caption": Kind(
        "further captions of a picture, left out",
        "one is taken: from a metadata table, else .txt, else .caption",
    ),
    "text_not_utf8": Kind("texts left out because they are not UTF-8", "write the table as UTF-8"),
    "number_too_large": Kind(
        "whole numbers beyond 64 bits, kept as text",
        "a label or id of that size is a hash: give classes small numbers",
    ),
    "field_not_kept": Kind(
        "values left out because of their type",
        "numbers, texts and lists of texts are kept: write others as text",
    ),
    "field_differs": Kind(
        "values that differ between the rows of one sample, of which the first was kept",
        "give rows of one path the same values, or a list of captions in one row",
    ),
    "rows_merged": Kind(
        "rows joined with an earlier row of the same picture, captions together",
        "right if they are several captions of it",
    ),
    "row_without_file": Kind(
        "rows of metadata tables that name no file that is there",
        "correct the names, which are relative to the table",
    ),
    "row_without_medium": Kind(
        "rows left out because they have neither a path nor bytes",
        "right if their download failed; else fill them in",
    ),
    "role_without_sample": Kind(
        "pictures or videos of a role that belong to no sample",
        "name each after its sample: --role takes the file of the same stem",
    ),
    "further_of_role": Kind(
        "media of one role beyond the most that a sample may have, left out",
        "give a sample 16 of one role at most",
    ),
    "row_broken": Kind("rows of metadata tables that cannot be read", "write the table again"),
    "backslash_path": Kind(
        "paths in which backslashes were taken for slashes", "right if these are the pictures meant"
    ),
    "claim_differs": Kind(
        "rows whose width and height are not those of their picture, which were taken",
        "right if these are the pictures meant",
    ),
    "member_without_picture": Kind(
        "members of tars that belong to no picture",
        "members of one sample must follow each other and share their name up to its first "
        "dot: make the tar with tar --sort=name",
    ),
    "member_not_read": Kind(
        "captions, labels or JSON of tars left out because they could not be read",
        "each must be text, JSON an object, and at most 16 MiB",
    ),
    "further_picture": Kind(
        "further pictures of tars' samples, left out",
        "choose which is taken with --set plan.path_column=FIELD, e.g. input.jpg",
    ),
    "table_without_medium": Kind(
        "tables left out because they have no column of pictures",
        "if there is one, name it with --set plan.path_column=NAME",
    ),
    "store_in_corpus": Kind("stores of latents in the corpus, left out", ""),
    "column_absent": Kind("columns that were asked for and are in no sample", "check the spelling"),
    "role_absent": Kind(
        "roles that were asked for and no sample has",
        "say where their media lie with --update --role NAME=SOURCE",
    ),
    "number_among_names": Kind(
        "labels that are numbers, where others are names",
        "they were taken for names; give all samples one kind of label",
    ),
    "too_many_classes": Kind(
        "label texts, too many to be classes and not numbered",
        "name the column of classes with --set plan.label_column=NAME",
    ),
    "class_of_one": Kind(
        "classes of a single picture",
        "if their folders are no classes, do not train on the label",
    ),
    "clip_stands_still": Kind(
        "clips that show one picture for three frames or more in a row: a pause, or a rate far "
        "above their video's",
        "--skip-still leaves them out",
    ),
    "picture_lost": Kind(
        "pictures at the start of videos that refer to what is not in the file, left out",
        "right if these are captures or cuts: each begins at the first that can be decoded",
    ),
    "time_mended": Kind(
        "times of frames that are wrong, missing or given twice, mended by their neighbours",
        "remux the file if clips of it look wrong",
    ),
    "clock_joined": Kind(
        "places where a video's clock starts anew; what follows was placed behind",
        "right if captures were joined",
    ),
    "picture_changed": Kind(
        "samples retired because their file was replaced between two encodings",
        "--update plans them anew, from the files as they are now",
    ),
    "placement_misfit": Kind(
        "placements left out because their sample is too small or too narrow for a resolution",
        "right if it is to be trained on at the others; --max-upscale lets more be enlarged",
    ),
    "crop_alike": Kind(
        "placements left out because they show what another of their sample shows",
        "right if the pictures fit their buckets: --square leaves more for crops",
    ),
    "taken_down": Kind("samples retired by name", "they stay out of every later update"),
    "limited": Kind("only the first samples of the listing are taken", ""),
}
"""By code; codes and counts are in ``plan --json`` and ``status --json``."""


@dataclass(slots=True)
class Findings:
    """Counts by kind, containers, and what was chosen, of one pass over a corpus.

    Attributes:
        counts: How many of each kind.
        examples: The first ones of each kind, as paths relative to the corpus.
        num_containers: Tars, tables and folders met.
        num_lost: Of those, how many could not be read or were read in part.
        lost: Why, by name; the first ``MAX_NAMED``.
        chosen: What was chosen by a rule, and how to choose otherwise, by sentence.
        where: The one of several corpora that examples are of; empty for the only one.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    num_containers: int = 0
    num_lost: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    chosen: Counter[str] = field(default_factory=Counter)
    where: str = ""

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count something of ``kind``."""
        assert kind in KINDS, f"{kind} is a kind of finding"
        if not count:
            return
        self.counts[kind] += count
        examples = self.examples.setdefault(kind, [])
        if len(examples) < MAX_EXAMPLES:
            named = f"{example} (in {self.where})" if self.where else example
            if named not in examples:
                examples.append(named)

    def lose(self, name: str, reason: str) -> None:
        """Count a container that cannot be read, or is read in part."""
        if name in self.lost:
            return
        self.num_lost += 1
        if len(self.lost) < MAX_NAMED:
            self.lost[name] = reason

    def take(self, others: "Findings") -> None:
        """Count what another pass found, too."""
        for kind, count in others.counts.items():
            mine = self.examples.setdefault(kind, [])
            mine += [each for each in others.examples[kind] if each not in mine]
            del mine[MAX_EXAMPLES:]
            self.counts[kind] += count

    def as_dict(self) -> dict[str, Any]:
        """Return what a plan generation records, as plain values."""
        return {
            "findings": [
                {"kind": kind, "count": self.counts[kind], "examples": self.examples[kind]}
                for kind in KINDS
                if self.counts[kind]
            ],
            "containers": {
                "read": self.num_containers - self.num_lost,
                "lost": self.num_lost,
                "names": [{"name": name, "reason": why} for name, why in self.lost.items()],
            },
            "chosen": sorted(self.chosen),
        }


def finding_lines(totals: Mapping[str, Any]) -> list[str]:
    """Return a sentence per finding that a plan's totals record, none for older plans."""
    lines = []
    for each in totals.get("findings", ()):
        kind = KINDS.get(each["kind"], Kind(each["kind"], ""))
        advice = f"; {kind.advice}" if kind.advice else ""
        examples = ", ".join(each["examples"])
        lines.append(f"{kind.what}: {each['count']:,} (e.g. {examples}){advice}")
    return lines


def lost_sentence(totals: Mapping[str, Any]) -> str:
    """Return the sentence about containers that were lost while planning; empty without any."""
    containers = totals.get("containers", {})
    if not containers.get("lost"):
        return ""
    return _lost(containers["lost"], [(e["name"], e["reason"]) for e in containers["names"]])


def _lost(count: int, names: Sequence[tuple[str, str]]) -> str:
    shown = "; ".join(f"{name}: {reason}" for name, reason in names[:MAX_EXAMPLES])
    more = f"; and {count - MAX_EXAMPLES:,} more" if count > MAX_EXAMPLES else ""
    return (
        f"every tar, table and folder of the corpus must be read whole, got {count:,} that "
        f"{'was' if count == 1 else 'were'} not ({shown}{more}); mend or remove "
        f"{'it' if count == 1 else 'them'}, then plan into another store"
    )
