"""The demo: a corpus drawn on the spot becomes a store, is verified, and is shown on a page."""

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentcache.cli.output import bytes_text, print_table
from latentcache.cli.progress import reporting
from latentcache.core.errors import ConfigError, ShardCorruptError

if TYPE_CHECKING:
    from latentcache.report.facts import DemoPage, KillTest, Reconstruction, Step
    from latentcache.store import Snapshot

COLUMN = "latents"
RESOLUTION_PX = 256
NUM_BROKEN = 3
ROWS_PER_SHARD = 8
"""So small that a few hundred pictures make some thirty units: enough to be killed between."""
NUM_SHOWN = 8
NUM_MEASURED = 64
_MARKER = ".latentcache-demo"
_KILL_AT_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where everything is: one folder, and nothing outside it."""

    root: Path

    @property
    def corpus(self) -> Path:
        """The drawn pictures."""
        return self.root / "corpus"

    @property
    def store(self) -> Path:
        """The store that nothing disturbs."""
        return self.root / "store"

    @property
    def killed_store(self) -> Path:
        """The store whose build is killed."""
        return self.root / "store_killed"

    def prepare(self) -> None:
        """Empty the folder if an earlier demo made it.

        Raises:
            ConfigError: It holds something else.
        """
        marker = self.root / _MARKER
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"out must be a folder, got {self.root}; name another")
        if self.root.is_dir() and any(self.root.iterdir()) and not marker.is_file():
            raise ConfigError(
                f"out must be empty or made by the demo before, got {self.root} with other "
                "files; name another folder"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        # The marker stays through a stop in the middle, so that the next run may clean up.
        marker.write_text("latentcache demo empties this folder when it runs again\n")
        for entry in self.root.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()


class Narrator:
    """Tells each step on stdout as it begins and ends, and keeps them for the page."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._started_s = time.monotonic()
        self._result = ""

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Tell a step; what is said meanwhile is its result."""
        from latentcache.report.facts import Step

        click.secho(f"\n{len(self.steps) + 1}. {what}", bold=True)
        start_s, self._result = time.monotonic(), ""
        yield
        elapsed_s = time.monotonic() - start_s
        click.secho(f"   {elapsed_s:.1f} s", dim=True)
        self.steps.append(Step(what=what, result=self._result, elapsed_s=elapsed_s))

    def say(self, text: str) -> None:
        """Tell a line; the last one of a step is its result."""
        self._result = text
        click.echo(f"   {text}")

    @property
    def elapsed_s(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._started_s


def run_demo(out: Path, *, num_images: int = 240) -> None:
    """Run the demo into ``out`` and say where to look.

    Args:
        out: Emptied if an earlier demo made it.
        num_images: Good pictures; three broken ones come on top.

    Raises:
        ConfigError: ``out`` holds something else.
        RunError: A build failed.
        ShardCorruptError: The killed build left other bytes, or a store is damaged.
    """
    folder, narrator = DemoFolder(out), Narrator()
    folder.prepare()
    click.echo(f"latentcache demo: all it writes goes under {out}")
    _draw_corpus(folder, narrator, num_images)
    _build_store(folder, narrator)
    test = _kill_and_resume(folder, narrator)
    _finish(folder, narrator, test)


def _draw_corpus(folder: DemoFolder, narrator: Narrator, num_images: int) -> None:
    from latentcache.testing.drawn import write_drawn_corpus

    with narrator.step("Draw a corpus: shapes, colours and textures, each with its caption"):
        files = write_drawn_corpus(
            folder.corpus, num_images, size_px=RESOLUTION_PX, num_broken=NUM_BROKEN
        )
        size = bytes_text(sum(path.stat().st_size for path in files))
        narrator.say(f"{len(files)} files, {size}; {NUM_BROKEN} of them broken on purpose")


def _build_store(folder: DemoFolder, narrator: Narrator) -> None:
    from latentcache import runner
    from latentcache.plan import PlanOptions

    resources = runner.Resources(device="cpu", num_actors=_num_actors())
    plan = runner.PlanRequest(
        corpus_url=str(folder.corpus),
        options=PlanOptions(resolution_px=RESOLUTION_PX, rows_per_shard=ROWS_PER_SHARD),
        resources=resources,
    )
    encode = runner.EncodeRequest(
        column=COLUMN, encode=runner.EncodeOptions(encoder="dct"), resources=resources
    )
    with narrator.step("Build a store: scan, plan, encode with dct, publish"):
        with reporting() as reporter:
            _, result = runner.build(str(folder.store), plan, encode, reporter=reporter)
        narrator.say(
            f"{result.encoded} encoded + {result.quarantined} quarantined = "
            f"{result.planned} planned, {bytes_text(result.num_bytes)} of latents"
        )


def _kill_and_resume(folder: DemoFolder, narrator: Narrator) -> "KillTest":
    from latentcache.cli.demo_kill import Build, compare, kill_in_the_middle
    from latentcache.store import Store

    arguments = ["build", str(folder.corpus), str(folder.killed_store), "--encoder", "dct"]
    arguments += ["--resolution", str(RESOLUTION_PX), "--rows-per-shard", str(ROWS_PER_SHARD)]
    arguments += ["--device", "cpu", "--actors", str(_num_actors())]
    build = Build(arguments=arguments, store=folder.killed_store, log=folder.root / "killed.log")
    num_units = len(Store.open(folder.store).snapshot().column(COLUMN).units())
    with narrator.step("Build a second store, and kill -9 the build in the middle"):
        committed = kill_in_the_middle(build, num_commits=max(1, int(_KILL_AT_SHARE * num_units)))
        narrator.say(f"killed with {len(committed)} of {num_units} units committed")
    with narrator.step("Run the same command again"):
        build.finish()
        test = compare(folder.store, build, COLUMN, committed=committed)
        narrator.say(
            f"{test.num_equal} of {len(test.units)} units have the bytes of the undisturbed build"
        )
    if test.num_equal != len(test.units):
        unequal = next(unit.unit for unit in test.units if not unit.is_equal)
        raise ShardCorruptError(
            f"units must have equal bytes after a kill, got others in {unequal} "
            f"({folder.killed_store}); please report this"
        )
    return test


def _finish(folder: DemoFolder, narrator: Narrator, test: "KillTest") -> None:
    """Verify, print statistics, write the page and say where it is."""
    from latentcache import report
    from latentcache.encoders import list_encoders
    from latentcache.evaluate import load_recorded_encoder, measure_fidelity
    from latentcache.report.facts import DemoPage
    from latentcache.report.reconstructions import read_reconstructions
    from latentcache.store import Store

    snapshot = Store.open(folder.store).snapshot()
    encoder = load_recorded_encoder(snapshot.column(COLUMN).record, device="cpu")
    with narrator.step(f"Verify the store, and decode {NUM_MEASURED} samples from it"):
        _verify(snapshot, narrator)
        fidelity = measure_fidelity(snapshot.column(COLUMN), encoder, NUM_MEASURED)
        mean_db, min_db = fidelity.mean_db or 0.0, fidelity.min_db or 0.0
        narrator.say(f"PSNR {mean_db:.1f} dB on average, {min_db:.1f} dB at worst")
    with narrator.step("Statistics of the stored latents, exact"):
        _print_statistics(snapshot, narrator)
    with narrator.step("Draw the page"):
        shown = read_reconstructions(snapshot, COLUMN, encoder, num_samples=NUM_SHOWN)
        facts = DemoPage(
            store=report.read_store_page(snapshot, COLUMN, reconstructions=shown),
            kill_test=test,
            projection=report.project(list_encoders()),
            steps=tuple(narrator.steps),
            mean_psnr_db=mean_db,
            min_psnr_db=min_db,
            machine=machine_in_words(),
        )
        page = folder.root / "index.html"
        page.write_text(report.demo_page(facts), encoding="utf-8")
        _write_pictures(folder, shown)
        narrator.say(f"{page}, {bytes_text(page.stat().st_size)}")
    _write_summary(folder, facts, elapsed_s=narrator.elapsed_s)
    click.secho(f"\ndone in {narrator.elapsed_s:.0f} s", bold=True)
    click.echo(f"open {page}")
    click.echo(f"try  latentcache status {folder.store} --quarantined")


def _verify(snapshot: "Snapshot", narrator: Narrator) -> None:
    from latentcache.store import verify_snapshot

    found = verify_snapshot(snapshot)
    if not found.ok:
        raise ShardCorruptError(
            f"store must be undamaged, got {len(found.damaged)} damaged objects "
            f"({snapshot.folder.label}); please report this"
        )
    narrator.say(f"{found.num_shards} shards with {found.num_samples} samples, nothing damaged")


def _print_statistics(snapshot: "Snapshot", narrator: Narrator) -> None:
    from latentcache.stats import TABLE_HEADER, ColumnStatistics, table_rows

    rows = table_rows(ColumnStatistics.from_arrays(snapshot.column(COLUMN).statistics()))
    names = ("channel", "count", "mean", "std", "min", "max")
    places = [TABLE_HEADER.index(name) for name in names]
    narrator.say(f"{len(rows)} channels, per channel over every stored value")
    print_table(names, [[row[place] for place in places] for row in rows])


def _write_pictures(folder: DemoFolder, shown: "list[Reconstruction]") -> None:
    from latentcache.report.pictures import png_bytes, sheet

    (folder.root / "sheet.png").write_bytes(png_bytes(sheet(shown)))


def _write_summary(folder: DemoFolder, facts: "DemoPage", *, elapsed_s: float) -> None:
    column = facts.store.column
    summary = {
        "planned": column.num_planned,
        "encoded": column.num_encoded,
        "quarantined": column.num_quarantined,
        "missing": column.num_missing,
        "bytes": column.num_bytes,
        "encoding": column.fingerprint,
        "units": len(facts.kill_test.units),
        "units_committed_at_kill": facts.kill_test.num_committed_at_kill,
        "units_equal_after_kill": facts.kill_test.num_equal,
        "psnr_db": {"mean": round(facts.mean_psnr_db, 3), "min": round(facts.min_psnr_db, 3)},
        "elapsed_s": round(elapsed_s, 1),
        "machine": facts.machine,
    }
    text = json.dumps(summary, indent=2) + "\n"
    (folder.root / "summary.json").write_text(text, encoding="utf-8")


def machine_in_words() -> str:
    """Return the kind of machine and the versions that matter, and nothing that names it."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("latentcache", "ray", "torch"))
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {versions}"
    )


def _num_actors() -> int:
    """Two are enough for a few hundred pictures, however many cores there are."""
    return min(2, os.cpu_count() or 1)
