"""An update takes in windows of videos and rows of one sample, and revises nothing retired."""

import json
from pathlib import Path

from latentcache.core.findings import finding_lines
from latentcache.plan import PlanOptions, annotate
from latentcache.runner import PlanRequest, Resources, SilentReporter, plan_corpus, retire_samples
from latentcache.store import Store
from tests.decode.clips import encode_clip
from tests.runner.test_update import annotation, built, counts, picture, planned


def test_another_caption_of_a_window_of_a_video_is_taken_in(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(encode_clip(60, size_px=(64, 64), options={"g": "12"}))
    table = tmp_path / "table.jsonl"
    rows = [
        {"path": "clip.mp4", "start_s": start, "end_s": start + 0.5, "caption": f"from {start}"}
        for start in (0.0, 1.0)
    ]

    def write() -> None:
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def plan(*, update: bool) -> dict[str, int]:
        request = PlanRequest(
            corpus_url=str(table),
            options=PlanOptions(resolution_px=64, frames=(9,)),
            resources=Resources(),
            update=update,
        )
        result = plan_corpus(str(tmp_path / "store"), request, reporter=SilentReporter())
        return counts(result) if update else {}

    write()
    plan(update=False)
    assert plan(update=True) == {}
    rows[1]["caption"] = "another"
    write()
    assert plan(update=True) == {"edited": 1}
    assert plan(update=True) == {}
    store = Store.open(tmp_path / "store")
    generation = store.generations()[0]
    found = store.annotation(generation, "caption")
    assert found is not None
    units = generation.units(rows_per_unit=64)
    rows_planned = [row for unit in units for row in store.read_rows(unit).to_pylist()]
    told = {row["start_s"]: found.value(row["shard"], row["row"]) for row in rows_planned}
    assert told == {0.0: "from 0.0", 1.0: "another"}


def test_what_differs_between_rows_of_one_sample_is_told_of_an_update_too(tmp_path: Path) -> None:
    folder, store = tmp_path / "media", tmp_path / "store"
    for number in range(20):
        picture(folder / f"{number}.png", number)
    table = folder / "table.csv"

    def write(score: int) -> None:
        lines = [f"{n}.png,c{n} {k},{score if (n, k) == (3, 1) else 1}"
                 for n in range(20) for k in range(2)]  # fmt: skip
        table.write_text("\n".join(["path,caption,score", *lines]) + "\n")

    write(1)
    built(table, store)
    lines = table.read_text().replace("3.png,c3 0,1\n3.png,c3 1,1", "3.png,n3 0,5\n3.png,n3 1,6")
    table.write_text(lines)
    assert counts(planned(table, store)) == {"edited": 1}
    told = "\n".join(finding_lines(Store.open(store).generations()[-1].totals))
    assert "values that differ between the rows of one sample" in told
    assert "3.png" in told


def test_a_table_revises_live_samples_alone(tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    for number in range(4):
        picture(corpus / f"{number}.png", number)
        (corpus / f"{number}.txt").write_text(f"old {number}")
    built(corpus, store)
    retire_samples(Store.open(store), ["1.png"])
    table = tmp_path / "new.csv"
    table.write_text("path,caption\n" + "".join(f"{n}.png,new {n}\n" for n in range(3)))
    found = annotate(Store.open(store), str(table), PlanOptions())
    assert (found.num_samples, found.revised) == (2, {"caption": 2})
    told = annotation(store, "caption")
    assert told == {"0.png": "new 0", "1.png": "old 1", "2.png": "new 2", "3.png": "old 3"}
