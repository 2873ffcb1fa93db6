"""An update that is killed, or meets another one, leaves the old plan or a whole new one."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from latentcache.core.errors import StoreError
from latentcache.runner import SilentReporter
from latentcache.runner.planning import plan_into
from latentcache.store import Store, verify_snapshot
from tests.runner.test_update import annotation, built, live_latents, picture, planned, requests
from tests.store.stopping import StoppedError, stopping


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and its corpus with something new, changed, gone and captioned anew."""
    root = tmp_path_factory.mktemp("stops") / "then"
    for number in range(6):
        picture(root / "corpus" / f"{number}.png", number)
        (root / "corpus" / f"{number}.txt").write_text(f"picture {number}")
    built(root / "corpus", root / "store")
    picture(root / "corpus" / "new.png", 100)
    picture(root / "corpus" / "1.png", 101)
    (root / "corpus" / "2.png").unlink()
    (root / "corpus" / "3.txt").write_text("another caption")
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "now")
    return tmp_path / "now"


def check_finished(root: Path) -> None:
    """Go on, and compare with a store that was built of the corpus as it is now."""
    built(root / "corpus", root / "store", update=True)
    built(root / "corpus", root / "fresh")
    assert live_latents(root / "store") == live_latents(root / "fresh")
    assert annotation(root / "store", "caption")["3.png"] == "another caption"
    opened = Store.open(root / "store")
    assert len(opened.generations()) == 2
    assert opened.snapshot().column("latents").entry.num_missing == 0
    assert verify_snapshot(opened.snapshot()).ok


@pytest.mark.parametrize("lands", [True, False])
def test_an_update_stopped_at_any_write_goes_on(root: Path, lands: bool) -> None:
    plan, _ = requests(root / "corpus", update=True, may_retire=True)
    store = Store.open(root / "store")
    before = live_latents(root / "store")
    for writes in range(60):
        try:
            plan_into(
                stopping(store, writes, lands=lands), plan, workers=None, reporter=SilentReporter()
            )
        except StoppedError:
            if len(store.generations()) == 1:
                assert live_latents(root / "store") == before
            continue
        break
    assert 2 < writes < 60
    check_finished(root)


_KILLED = """
import os, signal, sys
from pathlib import Path
from latentcache.storage import Folder
from tests.runner.test_update import built

beginning, lands = sys.argv[2], sys.argv[3] == "after"

def killing(real):
    def write(self, name, *arguments, **options):
        is_there = name.startswith(beginning)
        if is_there and not lands:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(self, name, *arguments, **options)
        if is_there:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return write

for name in ("write", "upload", "create_if_absent"):
    setattr(Folder, name, killing(getattr(Folder, name)))
root = Path(sys.argv[1])
built(root / "corpus", root / "store", update=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("lands", ["before", "after"])
@pytest.mark.parametrize("beginning", ["annotations/", "plan/1/", "plan/1.json", "snapshots/2"])
def test_an_update_killed_for_good_at_each_stage_goes_on(
    root: Path, beginning: str, lands: str
) -> None:
    command = [sys.executable, "-c", _KILLED, str(root), beginning, lands]
    run = subprocess.run(command, capture_output=True, check=False, cwd=Path(__file__).parents[2])
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    check_finished(root)


def test_two_updates_of_one_corpus_make_one_generation(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.write_generation

    def second_comes_first(self: Store, draft: object) -> object:
        monkeypatch.setattr(Store, "write_generation", real)
        planned(root / "corpus", root / "store")
        return real(self, draft)

    monkeypatch.setattr(Store, "write_generation", second_comes_first)
    with pytest.raises(StoreError, match="the plan has grown meanwhile"):
        planned(root / "corpus", root / "store")
    check_finished(root)
