"""The commands as a user's processes, on a real Ray; few, because each starts one."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latentcache.testing.drawn import write_drawn_corpus

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_GOOD, NUM_BROKEN = 24, 3
FLAGS = ["--resolution", "64", "--rows-per-shard", "8", "--device", "cpu"]
SLOW = "latentcache.testing.fakes:SlowEncoder:seconds=0.3"


def latentcache(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "latentcache", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def shown(*arguments: object, code: int = 0) -> Any:
    return json.loads(latentcache(*arguments, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_drawn_corpus(folder, NUM_GOOD, num_broken=NUM_BROKEN, size_px=64)
    return folder


@pytest.fixture(scope="module")
def store(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("built") / "store"
    built = shown("build", corpus, url, *FLAGS)
    assert (built["encoded"], built["quarantined"], built["missing"]) == (NUM_GOOD, NUM_BROKEN, 0)
    assert built["snapshot"] == 1
    return url


def digests(store: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def test_a_build_is_whole_and_faithful(store: Path) -> None:
    verified = shown("verify", store, "--decode", 6, "--device", "cpu")
    assert (verified["ok"], verified["samples"]) == (True, NUM_GOOD)
    assert verified["psnr_db"]["min"] > 25


def test_building_again_changes_nothing(store: Path, corpus: Path) -> None:
    before = digests(store)
    done = latentcache("build", corpus, store, *FLAGS)
    assert "already" in done.stderr
    assert f"{NUM_GOOD} encoded + {NUM_BROKEN} quarantined = {NUM_GOOD + NUM_BROKEN}" in done.stdout
    assert digests(store) == before


def test_other_options_are_refused_with_both_shown(store: Path, corpus: Path) -> None:
    done = latentcache("build", corpus, store, "--resolution", "96", "--device", "cpu", code=1)
    assert re.search(r"resolution_px=64.*resolution_px=96", done.stderr)


def test_damage_is_repaired_and_the_bytes_are_the_old_ones(store: Path) -> None:
    tar = next(iter(sorted(store.rglob("*.tar"))))
    whole = tar.read_bytes()
    tar.chmod(0o644)
    tar.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    assert shown("verify", store, code=3)["ok"] is False
    repaired = shown("verify", store, "--repair", "--device", "cpu")
    unit = tar.name.split(".")[0]
    assert (repaired["ok"], repaired["repaired"]) == (True, [f"latents {unit}"])
    again = next(store.rglob(f"{unit}.1.*.tar"))
    assert again.read_bytes() == whole
    assert len(shown("status", store)["encodings"]) == 1


def test_a_swap_serves_the_new_encoder_and_keeps_the_old_snapshot(store: Path) -> None:
    before = shown("status", store)
    swapped = shown("encode", store, "--encoder", "dct:block=4", "--device", "cpu")
    after = shown("status", store)
    assert after["snapshot"] == swapped["snapshot"] > before["snapshot"]
    assert after["columns"]["latents"]["encoded"] == NUM_GOOD
    assert after["columns"]["latents"]["encoding"] != before["columns"]["latents"]["encoding"]
    old = shown("status", store, "--snapshot", before["snapshot"])
    assert old["columns"] == before["columns"]


def test_an_estimate_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    before = digests(corpus)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'corpus = "{corpus}"\n[plan]\nresolution_px = 64\n[encode]\nencoder = "dct"\n'
    )
    found = shown("plan", "--config", recipe, "--estimate", "--device", "cpu")
    assert found["num_samples"] == NUM_GOOD + 1
    hours = {each["name"]: each["hours"] for each in found["encoders"]}
    assert hours["dct"] > 0
    assert hours["sdxl"] is None
    assert digests(corpus) == before
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


@pytest.fixture
def running(corpus: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A slow build that has begun to encode, logging to ``tmp_path / "log"``."""
    command = ["build", corpus, tmp_path / "store", *FLAGS, "--encoder", SLOW, "--batch-size", "1"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(
        [sys.executable, "-m", "latentcache", *map(str, command)],
        stdout=subprocess.DEVNULL, stderr=log,
        # A background job may have inherited "ignore Ctrl-C"; the run must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:  # fmt: skip
        deadline_s = time.monotonic() + 120
        while not any((tmp_path / "store").rglob("commits/*.json")):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_within_seconds_and_says_how_to_go_on(
    running: "subprocess.Popen[bytes]", tmp_path: Path, number: signal.Signals
) -> None:
    started_s = time.monotonic()
    running.send_signal(number)
    assert running.wait(timeout=60) == 130
    assert time.monotonic() - started_s < 20
    log = (tmp_path / "log").read_text()
    assert "run the same command again" in log.splitlines()[-1]
    assert "Traceback" not in log
    column = shown("status", tmp_path / "store")["columns"]["latents"]
    assert 0 < column["encoded"] < NUM_GOOD
    assert column["missing"] > 0
