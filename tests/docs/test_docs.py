"""The documentation keeps its word: commands, options, links and code are real."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from latentcache.cli.entry import cli
from latentcache.plan import PlanOptions
from latentcache.runner.build_recipe import parse_setting, read_recipe
from latentcache.runner.run_options import EncodeOptions, Resources
from tests.docs.encoder_sizes import sizes_table, written

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
PAGES += [REPOSITORY / "findings" / "README.md"]
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FOREIGN_OPTIONS = {
    "--address": "of ray start as well",
    "--system-config": "of ray start",
    "--working-dir": "of ray job submit",
    "--nproc-per-node": "of torchrun",
    "--nodes": "of sbatch",
    "--gpus-per-node": "of sbatch",
    "--time": "of sbatch",
    "--signal": "of sbatch",
    "--build-arg": "of docker build",
    "--rm": "of docker run",
    "--read-only": "of docker run",
    "--tmpfs": "of docker run",
    "--shm-size": "of docker run",
    "--user": "of docker run",
    "--from-env-file": "of kubectl create secret",
    "--generate": "of ray get-auth-token",
    "--collector": "of Prometheus' node exporter",
    "--max": "of other trainers, answered with ours",
    "--output-dir": "of other trainers, answered with ours",
    "--dist": "of pytest",
    "--durations": "of pytest",
    "--hypothesis-show-statistics": "of pytest",
    "--constraint": "of pip install",
    "--strict": "of mypy",
}
EVERY_PAGE = pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(REPOSITORY))) for page in PAGES]
)


def _blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def _command_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words of every ``latentcache`` line, in shell blocks and in code spans."""
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`(latentcache [^`\n]+)`", FENCE.sub("", text))
    lines = [line for block in _blocks(page, "sh", "bash") for line in block.splitlines()]
    for line in [*spans, *lines]:
        words = shlex.split(line, comments=True)
        if words and words[0] == "latentcache":
            yield words[1:]


def _known_options() -> set[str]:
    options = {"--help", "-h"}
    for command in (cli, *cli.commands.values()):
        for parameter in command.params:
            options |= set(parameter.opts) | set(parameter.secondary_opts)
    for script in (REPOSITORY / "tests" / "benchmarks").rglob("*.py"):
        options |= set(re.findall(r'"(--[a-z][a-z-]+)"', script.read_text(encoding="utf-8")))
    return options


@EVERY_PAGE
def test_every_command_exists_with_its_options(page: Path) -> None:
    for words in _command_lines(page):
        if words[0].startswith("-"):
            command: click.Command = cli
        else:
            assert words[0] in cli.commands, f"latentcache {' '.join(words)}"
            command = cli.commands[words[0]]
        known = {"--help", "-h"} | {name for each in command.params for name in each.opts}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, f"latentcache {' '.join(words)}"


@EVERY_PAGE
def test_every_option_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
    assert named <= _known_options() | set(FOREIGN_OPTIONS)


@EVERY_PAGE
def test_every_relative_link_resolves(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        assert (page.parent / target.partition("#")[0]).exists(), target


@EVERY_PAGE
def test_every_python_block_compiles(page: Path) -> None:
    for block in _blocks(page, "python", "py"):
        compile(block, str(page), "exec")


@EVERY_PAGE
def test_every_file_named_exists(page: Path) -> None:
    pattern = r"`((?:latentcache|jobs|infra|tests|docs)/[\w./-]+\.\w+)`"
    for name in re.findall(pattern, page.read_text(encoding="utf-8")):
        assert (REPOSITORY / name).exists(), name


@EVERY_PAGE
def test_every_setting_named_is_a_key_of_the_recipe(page: Path) -> None:
    for setting in re.findall(r"--set ([a-z_.]+=[^\s`]+)", page.read_text(encoding="utf-8")):
        read_recipe(None, dict([parse_setting(setting)]))


def test_readme_lists_every_command() -> None:
    listed = re.findall(r"^\| `latentcache (\w+)", (REPOSITORY / "README.md").read_text(), re.M)
    assert sorted(listed) == sorted(cli.commands)


def test_every_benchmark_and_decision_is_in_its_index() -> None:
    for folder in ("benchmarks", "decisions"):
        index = (REPOSITORY / "docs" / folder / "README.md").read_text(encoding="utf-8")
        for page in (REPOSITORY / "docs" / folder).glob("*.md"):
            assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_numbers_that_pages_repeat_are_those_of_the_code() -> None:
    operations = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    assert Resources().max_quarantine == 0.05
    assert "(5 %, judged" in operations
    assert PlanOptions().resolution_px == 512
    assert EncodeOptions().encoder == "dct"


def test_every_make_target_named_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        spans = re.findall(r"`make ([a-z-]+)`", text)
        lines = [line for block in _blocks(page, "sh") for line in block.splitlines()]
        spans += [line.split()[1] for line in lines if line.startswith("make ")]
        assert set(spans) <= targets, page


def test_the_table_of_sizes_is_what_encoders_declare() -> None:
    assert written() == sizes_table(), "run tests/docs/encoder_sizes.py"
