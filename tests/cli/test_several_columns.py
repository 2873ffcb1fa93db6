"""Several columns of one run on the command line: what is printed, what is refused."""

from pathlib import Path

import pytest

from latentcache.testing.drawn import write_drawn_corpus
from tests.cli.conftest import Cli
from tests.runner.runs import FAKES

NUM_PICTURES = 6
FLAGS = ("--resolution", 64, "--device", "cpu", "--actors", 1)
WORDS = "latentcache.testing.text_fakes:WordTower"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with pictures."""
    write_drawn_corpus(tmp_path / "photos", NUM_PICTURES, size_px=64)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("columns", "more", "sentence"),
    [
        pytest.param(
            ("a=dct", "a=dct:keep_luma=4"), (),
            "columns of one run must have different names, got a, a; give each its own",
            id="one-name-twice",
        ),
        pytest.param(
            ("a=dct", "b=dtc"), (),
            "encoder must be a name, NAME:PATH, a folder, a hub id or module:Class, got 'dtc'",
            id="an-encoder-that-is-not-there",
        ),
        pytest.param(
            ("a=dct", "b=tiny:nowhere"), (),
            "weights must be a folder, a .safetensors file or a hub id owner/name, got nowhere",
            id="weights-that-are-not-there",
        ),
        pytest.param(
            ("a=dct", "t=t5:PATH"), (),
            "got pixels, which t5 of column t does not take; encode t by a run of its own: "
            "latentcache encode STORE --column t=t5:PATH --input text:caption",
            id="texts-beside-pixels",
        ),
        pytest.param(
            ("a=dct", "t=t5:PATH"), ("--input", "text:caption"),
            "got text:caption, which dct of column a does not take; encode a by a run of its own: "
            "latentcache encode STORE --column a=dct",
            id="pixels-beside-texts",
        ),
        pytest.param(
            ("a=dct", "b=mask"), ("--encoder", "dct"),
            "an encoder must be given once, got --encoder and --column a=dct",
            id="an-encoder-of-all",
        ),
        pytest.param(
            ("a=dct", "b="), (), "column must be NAME or NAME=ENCODER, got 'b='", id="no-encoder"
        ),
    ],
)  # fmt: skip
def test_columns_that_do_not_go_together_are_one_sentence_and_no_store(
    cli: Cli, here: Path, columns: tuple[str, ...], more: tuple[str, ...], sentence: str
) -> None:
    flags = [word for each in columns for word in ("--column", each)]
    done = cli("build", "photos", "store", *flags, *more, *FLAGS)
    assert done.code in (1, 2)
    (error,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert sentence in error
    assert "Traceback" not in done.err
    assert not [*here.glob("store/plan/*"), *here.glob("store/encodings/*")]


def test_a_plan_that_the_second_encoder_refuses_is_not_written(cli: Cli, here: Path) -> None:
    columns = ("--column", "a=dct", "--column", "b=mask:factor=32")
    flags = ("--resolution", 48, "--set", "plan.step=16", *FLAGS[2:])
    done = cli("build", "photos", "store", *columns, *flags)
    assert done.code == 1
    assert "encoder must take every bucket of the plan" in done.err
    assert "mask:factor=32 refuses" in done.err
    assert not [*here.glob("store/plan/*"), *here.glob("store/encodings/*")]


def test_a_command_of_one_column_says_that_it_is_one(cli: Cli, here: Path) -> None:
    done = cli("swap", "store", "--column", "a=dct", "--column", "b=mask")
    assert done.code == 2
    assert "column must be one here, got a=dct, b=mask" in done.err


def test_columns_are_told_one_by_one_and_the_times_of_their_pass_once(cli: Cli, here: Path) -> None:
    columns = ("--column", f"a={FAKES}:FakeEncoder", "--column", f"b={FAKES}:GaussianEncoder")
    told = cli("build", "photos", "store", *columns, *FLAGS)
    assert told.code == 0
    assert "a and b: one pass" in told.err
    sums = [line for line in told.out.splitlines() if "quarantined = 6 planned" in line]
    assert [line.partition(":")[0] for line in sums] == ["a", "b"]
    assert told.out.count("of the encoders' time") == 1
    again = cli("encode", "store", *columns, *FLAGS[2:], "--json").json
    assert [(each["column"], each["encoded"]) for each in again["columns"]] == [("a", 6), ("b", 6)]
    assert [each["newly_encoded"] for each in again["columns"]] == [0, 0]


def test_a_served_column_of_texts_runs_after_the_pixels(cli: Cli, here: Path) -> None:
    assert cli("build", "photos", "store", "--encoder", "dct", *FLAGS).code == 0
    text = ("--column", f"t={WORDS}", "--input", "text:caption")
    assert cli("encode", "store", *text, *FLAGS[2:]).code == 0
    columns = ("--column", f"a={FAKES}:FakeEncoder", "--column", "t")
    done = cli("encode", "store", *columns, *FLAGS[2:], "--json")
    assert done.code == 0
    assert "t: not of the pixels of a (input text:caption); encoded afterwards" in done.err
    assert [each["encoded"] for each in done.json["columns"]] == [6, 6]
