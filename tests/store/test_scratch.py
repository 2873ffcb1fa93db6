"""What a killed writer leaves is taken by the next run, and nothing else is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from latentcache.store.units.scratch import ScratchLock, remove_dead_scratch, scratch_path

HOLD = """
import sys, time
from pathlib import Path
from latentcache.store.units.scratch import ScratchLock, scratch_path
path = scratch_path(Path(sys.argv[1]), "00003-0")
path.write_bytes(b"x" * 1000)
lock = ScratchLock(path)
print(path, flush=True)
time.sleep(600)
"""


def make_old(path: Path) -> None:
    then = time.time() - 3600
    os.utime(path, (then, then))


def test_a_live_writer_s_file_stays_and_a_killed_one_s_goes(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        path = Path(writer.stdout.readline().strip())
        make_old(path)
        assert remove_dead_scratch(tmp_path) == 0
        assert path.exists()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert remove_dead_scratch(tmp_path) == 1000
    assert not path.exists()


def test_a_file_that_was_just_made_and_files_of_others_stay(tmp_path: Path) -> None:
    young = scratch_path(tmp_path, "00001-0")
    young.touch()
    other = tmp_path / ".tmp.00001-0.0123"
    other.touch()
    make_old(other)
    assert remove_dead_scratch(tmp_path) == 0
    assert young.exists()
    assert other.exists()


def test_a_lock_that_was_given_back_holds_no_more(tmp_path: Path) -> None:
    path = scratch_path(tmp_path, "00001-0")
    path.write_bytes(b"abc")
    lock = ScratchLock(path)
    make_old(path)
    assert remove_dead_scratch(tmp_path) == 0
    lock.close()
    assert remove_dead_scratch(tmp_path) == 3
