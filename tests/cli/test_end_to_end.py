"""The commands for real: as a user's processes where that matters, else in this one."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentcache.testing.drawn import write_drawn_corpus
from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow

NUM_GOOD, NUM_BROKEN = 24, 3
ENCODE = ["--device", "cpu", "--actors", "1"]
FLAGS = ["--resolution", "64", "--rows-per-shard", "8", "--max-quarantine", "20%", *ENCODE]
SLOW = "latentcache.testing.fakes:SlowEncoder:seconds=2"
"""So slow that a busy machine cannot finish the build before it is stopped."""


def latentcache(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "latentcache", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_drawn_corpus(folder, NUM_GOOD, num_broken=NUM_BROKEN, size_px=64)
    return folder


@pytest.fixture(scope="module")
def store(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("built") / "store"
    built = json.loads(latentcache("build", corpus, url, *FLAGS, "--json").stdout)
    assert (built["encoded"], built["quarantined"], built["missing"]) == (NUM_GOOD, NUM_BROKEN, 0)
    assert built["snapshot"] == 1
    return url


@pytest.fixture
def own_store(store: Path, tmp_path: Path) -> Path:
    """A copy of the built store that a test may change."""
    shutil.copytree(store, tmp_path / "store")
    return tmp_path / "store"


def digests(store: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def test_a_build_is_whole_and_faithful(store: Path) -> None:
    done = latentcache("verify", store, "--decode", 6, "--device", "cpu", "--json")
    verified = json.loads(done.stdout)
    assert (verified["ok"], verified["samples"]) == (True, NUM_GOOD)
    assert verified["psnr_db"]["min"] > 25


def test_building_again_changes_nothing(store: Path, corpus: Path) -> None:
    before = digests(store)
    done = latentcache("build", corpus, store, *FLAGS)
    assert "already" in done.stderr
    assert f"{NUM_GOOD} encoded + {NUM_BROKEN} quarantined = {NUM_GOOD + NUM_BROKEN}" in done.stdout
    assert digests(store) == before


def test_other_options_are_refused_with_both_shown(cli: Cli, store: Path, corpus: Path) -> None:
    done = cli("build", corpus, store, "--resolution", "96", *ENCODE)
    assert done.code == 1
    assert re.search(r"resolution=64.*resolution=96", done.err)


def test_damage_is_repaired_and_the_bytes_are_the_old_ones(cli: Cli, own_store: Path) -> None:
    tar = next(iter(sorted(own_store.rglob("*.tar"))))
    whole = tar.read_bytes()
    tar.chmod(0o644)
    tar.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    found = cli("verify", own_store, "--json")
    assert (found.code, found.json["ok"]) == (3, False)
    repaired = cli("verify", own_store, "--repair", "--device", "cpu", "--json")
    unit = tar.name.split(".")[0]
    assert repaired.code == 0
    assert (repaired.json["ok"], repaired.json["repaired"]) == (True, [f"latents {unit}"])
    again = next(own_store.rglob(f"{unit}.1.*.tar"))
    assert again.read_bytes() == whole
    assert len(cli("status", own_store, "--json").json["encodings"]) == 1


def test_a_swap_serves_the_new_encoder_and_keeps_the_old_snapshot(
    cli: Cli, own_store: Path
) -> None:
    before = cli("status", own_store, "--json").json
    refused = cli("encode", own_store, "--encoder", "dct:block=4", *ENCODE)
    assert refused.code != 0
    assert "--replace" in refused.err
    lenient = [*ENCODE, "--max-quarantine", "20%", "--json"]
    swapped = cli("encode", own_store, "--encoder", "dct:block=4", "--replace", *lenient).json
    after = cli("status", own_store, "--json").json
    assert after["snapshot"] == swapped["snapshot"] > before["snapshot"]
    assert after["columns"]["latents"]["encoded"] == NUM_GOOD
    assert after["columns"]["latents"]["encoding"] != before["columns"]["latents"]["encoding"]
    old = cli("status", own_store, "--snapshot", before["snapshot"], "--json").json
    assert old["columns"] == before["columns"]
    # A forgotten flag is no wish for the default.
    again = cli("encode", own_store, *lenient).json
    assert again["snapshot"] == swapped["snapshot"]


def test_an_estimate_writes_nothing(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    before = digests(corpus)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'corpus = "{corpus}"\n[plan]\nresolution = 64\n[encode]\nencoder = "dct"\n')
    found = cli("plan", "--config", recipe, "--estimate", *ENCODE, "--json").json
    assert found["num_samples"] == NUM_GOOD + 1
    hours = {each["name"]: each["hours"] for each in found["encoders"]}
    assert hours["dct"] > 0
    assert hours["sdxl"] is None
    assert digests(corpus) == before
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


@pytest.fixture
def running(corpus: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A slow build that has begun to encode, logging to ``tmp_path / "log"``."""
    flags = [*FLAGS, "--rows-per-shard", "2", "--encoder", SLOW, "--batch-size", "1"]
    command = ["build", corpus, tmp_path / "store", *flags]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(
        [sys.executable, "-m", "latentcache", *map(str, command)],
        stdout=subprocess.DEVNULL, stderr=log,
    ) as process:  # fmt: skip
        deadline_s = time.monotonic() + 240
        while not any((tmp_path / "store").rglob("commits/*.json")):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        yield process
        process.kill()


def test_sigterm_stops_soon_and_says_how_to_go_on(
    cli: Cli, running: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    """Ctrl-C is in tests/runner/test_kill.py."""
    running.terminate()
    # Two or three seconds on an idle machine; the build would have taken 50.
    assert running.wait(timeout=40) == 130
    log = (tmp_path / "log").read_text()
    assert "run the same command again" in log.splitlines()[-1]
    assert "Traceback" not in log
    column = cli("status", tmp_path / "store", "--json").json["columns"]["latents"]
    assert 0 < column["encoded"] < NUM_GOOD
    assert column["missing"] > 0
