import errno
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import latentcache
from latentcache.cli import entry
from latentcache.cli.habits import COMMAND_HABITS, OPTION_HABITS, TRAIN_HABITS
from latentcache.cli.train_recipe_keys import train_recipe_keys
from latentcache.core.errors import ConfigError, QuarantineLimitError, RunError, StoreError
from tests.cli.conftest import Cli

COMMANDS = (
    "build",
    "plan",
    "encode",
    "status",
    "stats",
    "verify",
    "show",
    "gc",
    "encoders",
    "demo",
    "recipe",
    "retire",
    "report",
)


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'pyarrow', 'av', 'diffusers', 'fsspec', 'PIL', 'numpy'}"
    program = (
        "import sys\nfrom latentcache.cli.entry import run\n"
        "assert run(['--help']) == 0\n"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_version_is_the_package_s(cli: Cli) -> None:
    assert cli("--version").out == f"latentcache {latentcache.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    shown = cli(command, "-h")
    assert shown.code == 0
    assert shown.out.startswith(f"Usage: latentcache {command}")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["nonsense"], id="unknown-command"),
        pytest.param(["status"], id="missing-argument"),
        pytest.param(["status", "x", "--nonsense"], id="unknown-flag"),
        pytest.param(["build"], id="neither-corpus-nor-store"),
        pytest.param(["build", "corpus"], id="no-store"),
        pytest.param(["build", "a", "b", "--max-quarantine", "often"], id="no-share"),
        pytest.param(["build", "a", "b", "--resolution", "97"], id="resolution-off-its-step"),
        pytest.param(["build", "a", "b", "--set", "plan.sede=1"], id="unknown-key"),
        pytest.param(["build", "a", "b", "--config", "/nowhere.toml"], id="no-recipe"),
        pytest.param(["show", "a", "b", "-o", "x"], id="no-output"),
    ],
)
def test_wrong_usage_leaves_with_2_and_no_traceback(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert done.err.strip()
    assert not done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        pytest.param(ConfigError("a must be b"), 2, "error: a must be b\n", id="config"),
        pytest.param(StoreError("no store"), 1, "error: no store\n", id="store"),
        pytest.param(QuarantineLimitError("too many"), 3, "error: too many\n", id="quarantine"),
        pytest.param(RunError("it ended"), 1, "error: it ended\n", id="run"),
        pytest.param(
            PermissionError(13, "Permission denied", "/a"), 1,
            "error: permission denied: /a\n", id="permission",
        ),
        pytest.param(
            OSError(28, "No space left on device"), 1,
            "error: no space left on device\n", id="full-disk",
        ),
        pytest.param(
            KeyboardInterrupt(), 130,
            "\nstopped; run the same command again to go on\n", id="ctrl-c",
        ),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence_with_its_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, said: str
) -> None:
    done = _call_raising(cli, monkeypatch, raised)
    assert done == (code, said)


def test_the_runner_s_stop_leaves_with_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentcache.runner import RunStoppedError  # noqa: PLC0415  loads Ray

    stopped = RunStoppedError("stopped; run it again")
    assert _call_raising(cli, monkeypatch, stopped) == (130, "stopped; run it again\n")


def test_a_bug_keeps_its_traceback_and_says_what_to_do(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = _call_raising(cli, monkeypatch, ZeroDivisionError("bug"))
    assert code == 1
    assert "Traceback" in said
    assert "please report it" in said.splitlines()[-1]


def _call_raising(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> tuple[int, str]:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setitem(entry.cli.commands, "failing", failing)
    done = cli("failing")
    assert not done.out
    return done.code, done.err


def test_a_reader_that_leaves_gets_no_traceback(tmp_path: Path) -> None:
    program = (
        "import click\nfrom latentcache.cli import entry\n"
        "@click.command()\n"
        "def endless():\n"
        "    for _ in range(200000): click.echo('x' * 80)\n"
        "entry.cli.add_command(endless)\n"
        "entry.main(['endless'])"
    )
    with (
        (tmp_path / "err").open("wb") as err,
        subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=err
        ) as process,
    ):
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(timeout=60) in (0, 1, 141)
    assert (tmp_path / "err").read_bytes() == b""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build", "c", "s", "--vae", "x"], "--encoder NAME:PATH"),
        (["build", "c", "s", "--resume"], "run the same command again"),
        (["build", "c", "s", "--dry-run"], "plan CORPUS --estimate writes nothing"),
        (["build", "c", "s", "--workers", "4"], "--actors N"),
        (["build", "c", "s", "--batch_size", "4"], "write --batch-size"),
        (["build", "c", "s", "--mixed_precision", "bf16"], "--dtype bf16"),
        (["build", "c", "s", "--image_size", "512"], "--resolution PX"),
        (["build", "--train_data_dir", "c"], "the first argument"),
        (["build", "photos.toml"], "write --config photos.toml"),
        (["train", "."], "`latentcache recipe --train . -o train.toml`"),
        (["report", "s", "--output-dir", "pages"], "write -o FILE"),
        (["train", "t.toml", "--max_train_steps", "9"], "--set train.num_steps=N"),
        (["train", "t.toml", "--output-dir", "o"], "--set out=FOLDER"),
        (["build", "c", "s", "--resolution", "832x480"], "640 allows about as many"),
        (["cache_latents", "c"], "latentcache build does that"),
        (["stat", "s"], "got 'stat'; latentcache stats does that"),
    ],
)
def test_other_tools_words_are_answered_with_ours(
    cli: Cli, arguments: list[str], told: str
) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert told in " ".join(done.err.split())


def test_every_word_of_other_tools_is_answered_with_one_that_exists() -> None:
    options = {name for each in entry.cli.commands.values() for p in each.params for name in p.opts}
    for word, answer in OPTION_HABITS.items():
        assert set(re.findall(r"(?<!\w)--[a-z-]+", answer)) <= options, word
    own = {name for each in entry.cli.commands["train"].params for name in each.opts}
    keys = {each.key for each in train_recipe_keys()}
    for word, answer in TRAIN_HABITS.items():
        assert set(re.findall(r"--[a-z-]+", answer)) <= own | {"--nproc-per-node"}, word
        assert word not in own
        assert set(re.findall(r"--set ([a-z_.]+)=", answer)) <= keys, word
    assert set(COMMAND_HABITS.values()) <= set(entry.cli.commands)
    assert not set(COMMAND_HABITS) & set(entry.cli.commands)


def test_names_in_errors_of_the_system_keep_their_spelling() -> None:
    assert entry.sentence_of(TimeoutError()).startswith("TimeoutError without a reason; run it")
    told = entry.sentence_of(OSError(errno.EACCES, "AWS_PROFILE names no profile", "x"))
    assert told == "AWS_PROFILE names no profile: x"
    assert entry.sentence_of(OSError(errno.ENOENT, "No such file", "x")) == "no such file: x"
