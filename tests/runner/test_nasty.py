"""Promise 7: a folder of junk costs its own samples, and the good photos do not notice."""

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.core.rejects import RejectCode
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
)
from latentcache.store import Store

pytestmark = pytest.mark.slow

Build = Callable[..., EncodeResult]


def _latents(store: Path) -> dict[str, bytes]:
    view = Store.open(store).snapshot().columns["latents"]
    return {key: bytes(fields["z"].data) for key, _, _, fields in view.iter_samples()}


def test_every_nasty_file_is_encoded_or_quarantined_with_a_reason(
    shared_data: Path, build_store: Build, tmp_path: Path
) -> None:
    photos = sorted((shared_data / "corpus_imagenet").glob("*.JPEG"))[:20]
    clean, mixed = tmp_path / "clean", tmp_path / "mixed"
    for folder in (clean, mixed):
        folder.mkdir()
        for photo in photos:
            shutil.copy(photo, folder)
    expected = {}
    for source in ("images", "crafted"):
        with (shared_data / "nasty" / source / "MANIFEST.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                shutil.copy(shared_data / "nasty" / source / row["file"], mixed)
                expected[row["file"]] = row["expected"]
    resources = Resources(num_actors=1, max_quarantine=1.0)
    build_store(clean, tmp_path / "clean-store", resources=resources)
    result = build_store(mixed, tmp_path / "mixed-store", resources=resources)

    listed = sum(path.suffix != ".csv" for path in mixed.iterdir())
    assert result.planned == listed == len(photos) + len(expected)
    assert result.encoded + result.quarantined == result.planned
    view = Store.open(tmp_path / "mixed-store").snapshot().columns["latents"]
    quarantined = {row["path"]: row for row in view.quarantine().to_pylist()}
    assert len(quarantined) == result.quarantined
    for row in quarantined.values():
        assert row["code"].upper() in RejectCode.__members__
        assert row["stage"] in ("scan", "decode")
        assert row["reason"] == row["reason"].strip() != ""
    unreadable = {name for name, outcome in expected.items() if outcome.startswith("fails")}
    assert unreadable - set(quarantined) == set(), "a broken file was encoded"
    assert _latents(tmp_path / "clean-store").items() <= _latents(tmp_path / "mixed-store").items()


def test_a_junk_folder_passes_the_quarantine_limit_and_keeps_what_it_did(
    shared_data: Path, build_store: Build, tmp_path: Path
) -> None:
    resources = Resources(num_actors=1)
    result = build_store(shared_data / "nasty" / "images", tmp_path / "store", resources=resources)
    assert result.is_over_limit
    assert "--max-quarantine" in result.limit_sentence
    assert result.missing == 0
    assert Store.open(tmp_path / "store").snapshot().columns["latents"].num_encoded > 0


_READABLE = re.compile(r"[a-z0-9][^\n]{20,220}[^.\n]")
_INTERNALS = re.compile(r"0x|Error\b|Traceback|avcodec|errno|None|/tmp|/work")


@pytest.mark.ray
def test_every_video_is_encoded_or_quarantined_with_a_reason_one_can_read(
    shared_data: Path, local_ray: None, tmp_path: Path
) -> None:
    corpus = tmp_path / "videos"
    corpus.mkdir()
    for folder in (shared_data / "videos", shared_data / "nasty" / "videos"):
        for path in folder.iterdir():
            if path.suffix != ".csv":
                (corpus / f"{folder.parent.name}-{path.name}").symlink_to(path)
    resources = Resources(num_actors=1, max_quarantine=1.0)
    options = PlanOptions(resolution_px=64, frames=(17, 9, 1), clips="uniform:2")
    _, result = build(
        str(tmp_path / "store"),
        PlanRequest(corpus_url=str(corpus), options=options, resources=resources),
        EncodeRequest(
            column="latents", encode=EncodeOptions(encoder="dct-video"), resources=resources
        ),
        reporter=SilentReporter(),
    )
    snapshot = Store.open(tmp_path / "store").snapshot()
    quarantined = snapshot.column("latents").quarantine().to_pylist()
    assert len(quarantined) == result.quarantined
    assert result.encoded + result.quarantined == result.planned
    unclipped = [row for row in quarantined if row["code"] not in ("too_small", "too_narrow")]
    num_clips = snapshot.generations[0].totals["videos"]["num_clips"]
    refused = [row for row in unclipped if row["stage"] == "scan"]
    assert num_clips + len(refused) == result.planned
    for row in quarantined:
        assert row["code"].upper() in RejectCode.__members__
        assert _READABLE.fullmatch(row["reason"]), row["reason"]
        assert not _INTERNALS.search(row["reason"]), row["reason"]
    # Whatever a file is, it was told once: none is both encoded whole and refused whole.
    assert len({row["key"] for row in quarantined}) == len(quarantined)
