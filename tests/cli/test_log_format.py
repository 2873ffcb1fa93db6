"""With --log-format json every line on stderr is one JSON object, whatever a command meets."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.log_lines import VARIABLE, json_line
from latentcache.testing.drawn import write_drawn_corpus
from tests.cli.conftest import Cli, Outcome


def lines_of(done: Outcome) -> list[dict[str, Any]]:
    """Return the lines of stderr; each says when, how bad, what kind, and a sentence."""
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert lines
    assert all({"time", "level", "event", "text"} <= set(line) for line in lines)
    return lines


def test_a_build_is_progress_and_a_result_with_where_its_time_went(
    cli: Cli, tmp_path: Path
) -> None:
    write_drawn_corpus(tmp_path / "corpus", 40, seed=1, size_px=64)
    arguments = ("build", tmp_path / "corpus", tmp_path / "store", "--resolution", 64)
    done = cli("--log-format", "json", *arguments)
    assert done.code == 0, done.err
    lines = lines_of(done)
    progress = [line for line in lines if line["event"] == "progress"]
    assert {line["stage"] for line in progress} == {"scan", "encode"}
    assert progress[-1]["done"] == progress[-1]["total"] == 40
    (result,) = [line for line in lines if line["event"] == "result"]
    assert result["encoded"] == 40
    assert sum(result["times"]["shares"].values()) == pytest.approx(1.0)
    assert VARIABLE not in os.environ
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["status", "/nowhere"], 2, id="no-store"),
        pytest.param(["status", "--nonsense"], 2, id="wrong-usage"),
        pytest.param(["build", "/nowhere", "/tmp/x"], 2, id="no-corpus"),
    ],
)
def test_an_error_is_one_line_with_its_exit_code(
    cli: Cli, arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "json")
    done = cli(*arguments)
    last = lines_of(done)[-1]
    assert (last["event"], last["level"], last["exit_code"]) == ("error", "error", done.code)
    assert done.code == code
    assert not last["text"].startswith("error: ")


def test_an_unknown_format_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "yaml")
    done = cli("encoders")
    assert done.code == 2
    assert "'text', 'json'" in done.err


@given(st.text(), st.dictionaries(st.text(), st.floats() | st.text() | st.none(), max_size=4))
def test_a_line_is_one_line_of_json_whatever_it_holds(text: str, facts: dict[str, Any]) -> None:
    line = json_line("message", text, facts=facts)
    assert "\n" not in line
    assert json.loads(line)["text"] == text
