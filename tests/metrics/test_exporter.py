"""Prometheus sees a run as its reporter does, under names that are promised."""

import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from latentcache.cli.entry import run
from latentcache.core.errors import ConfigError
from latentcache.core.metrics_target import MetricsTarget
from latentcache.metrics import FIGURES, measured
from latentcache.metrics.exporter import RunFigures
from latentcache.metrics.figures import INFO, LAST_LOOK, STATE, stored_names
from latentcache.runner import RunProgress, RunTimes, SilentReporter
from latentcache.testing.drawn import write_drawn_corpus

REPOSITORY = Path(__file__).resolve().parents[2]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Samples:
    """Return every sample of an exposition by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def look(**changes: object) -> RunProgress:
    values: dict[str, object] = {"stage": "encode", "done": 40, "total": 100, "column": "latents"}
    times = RunTimes(
        seconds={"encode": 3.0, "decode": 1.0, "write": 0.0, "commit": 0.0, "wait": 0.0},
        shares={"encode": 0.75, "decode": 0.25},
        num_commits=4,
        commit_s=0.5,
        commits_within_s={"0.3": 1, "1": 4, "inf": 4},
        stored_bytes=1000,
        storage_retries=2,
    )
    return RunProgress(**{**values, "times": times, **changes})  # type: ignore[arg-type]  # shorthand


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def test_an_address_serves_the_newest_figures_and_goes_away_with_the_run(free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/metrics"
    with measured(SilentReporter(), str(free_port), store="https://user@b/s?key=1") as reporter:
        reporter.update(look())
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    found = parsed(text)
    of = (("column", "latents"), ("stage", "encode"))
    assert found["latentcache_samples_done", of] == 40
    assert found["latentcache_encoder_seconds_total", (of[0], ("spent", "decode"), of[1])] == 1
    assert found["latentcache_commit_seconds_bucket", (of[0], ("le", "0.3"), of[1])] == 1
    assert found["latentcache_commit_seconds_count", of] == 4
    assert found["latentcache_commit_seconds_sum", of] == 2
    assert found[STATE, (("state", "running"),)] == 1
    assert "user@" not in text
    assert "key=1" not in text
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=10)


def test_every_promised_name_is_there_and_no_other() -> None:
    registry, figures = CollectorRegistry(), RunFigures(store="s")
    registry.register(figures)
    figures.take(look())
    names = {sample.name for family in registry.collect() for sample in family.samples}
    assert names - {name for name in names if name.endswith("_created")} == stored_names()


def test_the_documentation_names_every_figure_with_its_kind() -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(latentcache_\w+)` \| (\w+) \|", page, re.M))
    expected = {each.full_name: each.kind for each in FIGURES}
    expected |= {"latentcache_commit_seconds": "histogram"}
    expected |= dict.fromkeys((INFO, STATE, LAST_LOOK), "gauge")
    assert rows == expected


@given(st.lists(st.integers(0, 100), min_size=1, max_size=10))
def test_a_counter_never_falls_whatever_dies(worked: list[int]) -> None:
    figures, seen = RunFigures(store=""), []
    for each in worked:
        figures.take(look(worked=float(each)))
        registry = CollectorRegistry()
        registry.register(figures)
        labels = {"stage": "encode", "column": "latents"}
        seen.append(registry.get_sample_value("latentcache_samples_worked_total", labels) or 0.0)
    assert seen == sorted(seen)
    assert seen[-1] == max(worked)


def test_a_file_says_running_then_done_or_failed(tmp_path: Path) -> None:
    path = tmp_path / "run.prom"
    with measured(SilentReporter(), str(path), store=""):
        assert parsed(path.read_text())[STATE, (("state", "running"),)] == 1
    assert parsed(path.read_text())[STATE, (("state", "done"),)] == 1
    with pytest.raises(KeyboardInterrupt), measured(SilentReporter(), str(path), store=""):
        raise KeyboardInterrupt
    assert parsed(path.read_text())[STATE, (("state", "failed"),)] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["run.prom"]


def test_a_file_that_cannot_be_written_is_refused_first_and_no_reason_to_end_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        pytest.raises(ConfigError, match="must go to a file that can be written"),
        measured(SilentReporter(), str(tmp_path / "absent" / "run.prom"), store=""),
    ):
        pass
    (tmp_path / "folder").mkdir()
    with measured(SilentReporter(), str(tmp_path / "folder" / "run.prom"), store="") as reporter:
        (tmp_path / "folder" / "run.prom").unlink()
        (tmp_path / "folder").rmdir()
        reporter.update(look())
    assert "the run goes on without" in caplog.text


def test_a_port_that_is_taken_is_one_sentence(free_port: int) -> None:
    with (
        measured(SilentReporter(), str(free_port), store=""),
        pytest.raises(ConfigError, match="must have an address that is free"),
        measured(SilentReporter(), f"127.0.0.1:{free_port}", store=""),
    ):
        pass


@given(st.text(max_size=20) | st.from_regex(r"[0-9.:\[\]a-z/]{0,12}", fullmatch=True))
def test_a_target_is_understood_or_refused_and_a_port_alone_is_loopback(text: str) -> None:
    try:
        found = MetricsTarget.parse(text)
    except ConfigError:
        return
    assert (found is None) == (not text)
    if found is not None and found.path is None:
        assert found.host
        assert 0 < found.port < 2**16
        if text.isdigit():
            assert found.host == "127.0.0.1"


def test_a_build_leaves_its_figures_in_a_file(tmp_path: Path) -> None:
    write_drawn_corpus(tmp_path / "corpus", 40, seed=1, size_px=64)
    path = tmp_path / "build.prom"
    places = [str(tmp_path / "corpus"), str(tmp_path / "store")]
    assert run(["build", *places, "--resolution", "64", "--metrics", str(path)]) == 0
    found = parsed(path.read_text())
    of = (("column", "latents"), ("stage", "encode"))
    assert found["latentcache_samples_done", of] == 40
    assert found["latentcache_samples_worked_total", of] == 40
    assert found["latentcache_stored_bytes_total", of] > 0
    assert found["latentcache_commit_seconds_count", of] >= 1
    assert found["latentcache_samples_done", (("column", ""), ("stage", "scan"))] == 40
    assert found[STATE, (("state", "done"),)] == 1


@pytest.mark.parametrize("target", ["often", "99999", "/metrics", ".prom"])
def test_a_wrong_target_is_refused_before_anything_begins(
    tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["build", str(tmp_path), str(tmp_path / "store"), "--metrics", target]) == 2
    assert "metrics must be PORT" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
