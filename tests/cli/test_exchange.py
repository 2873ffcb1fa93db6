"""Copy, export and import from the command line: what they say, and with which code they end."""

from pathlib import Path

from latentcache.store import Store
from tests.cli.conftest import Cli
from tests.exchange import foreign_caches as foreign


def test_a_store_is_copied_whole_and_in_part(cli: Cli, own_store: Store, tmp_path: Path) -> None:
    url, copy = own_store.folder.url, str(tmp_path / "copy")
    done = cli("copy", url, copy)
    assert done.code == 0
    assert "snapshots 1" in done.out
    assert cli("verify", copy).code == 0
    assert "were there" in cli("copy", url, copy).out
    part = cli("copy", url, tmp_path / "part", "--filter", "row == 0", "--json").json
    assert part["num_samples"] > 0
    assert cli("verify", tmp_path / "part").code == 0
    wrong = cli("copy", url, tmp_path / "none", "--filter", "colour == 1")
    assert wrong.code == 2
    assert "filter must speak of" in wrong.err
    assert cli("copy", copy, tmp_path / "part").code == 1


def test_what_is_exported_is_told_and_bad_words_are_answered(
    cli: Cli, own_store: Store, tmp_path: Path
) -> None:
    url = own_store.folder.url
    done = cli("export", url, tmp_path / "tars", "--format", "webdataset")
    assert done.code == 0
    assert done.out.startswith("exported ")
    assert list((tmp_path / "tars").glob("*.tar"))
    for flags in (
        ["--format", "zip"],
        ["--format", "musubi"],
        ["--format", "mds", "--posterior", "x"],
        ["--format", "simpletuner"],  # whose figures the encoder does not publish
    ):
        done = cli("export", url, tmp_path / "bad", *flags)
        assert done.code == 2
        assert "must" in done.err
    assert not (tmp_path / "bad").exists()


def test_an_import_says_what_it_found_out_and_what_it_left(cli: Cli, tmp_path: Path) -> None:
    foreign.lightningdit(tmp_path / "cache", foreign.drawn())
    flags = ["--layout", "lightningdit", "--encoder", "sd"]
    asked = cli("import", tmp_path / "cache", tmp_path / "store", *flags)
    assert asked.code == 2
    assert "posterior must be given" in asked.err
    done = cli("import", tmp_path / "cache", tmp_path / "store", *flags, "--posterior", "sample")
    assert done.code == 0
    assert "imported 6 samples, snapshot 1" in done.out
    assert "left out: 6 flipped latents" in done.out
    assert "standard deviation" in done.out
    for command in ("show", "encode"):
        asked = cli(command, tmp_path / "store")
        assert asked.code in (1, 2)
        assert "imported" in asked.err
    asked = cli("verify", tmp_path / "store", "--decode", "2")
    assert "name the weights that made them" in asked.err
    status = cli("status", tmp_path / "store")
    assert "imported:lightningdit" in status.out
    assert cli("verify", tmp_path / "store").code == 0
    wrong = cli("import", tmp_path / "cache", tmp_path / "s", "--layout", "lightening", *flags[2:])
    assert "lightningdit" in wrong.err
    told = cli("import", tmp_path / "cache", tmp_path / "s", *flags, "--tell", "shape")
    assert "NAME=VALUE" in told.err


def test_a_swap_says_what_it_takes_and_how_the_old_one_is_given_up(
    cli: Cli, tmp_path: Path
) -> None:
    from latentcache.testing.drawn import write_drawn_corpus  # noqa: PLC0415

    (tmp_path / "corpus").mkdir()
    write_drawn_corpus(tmp_path / "corpus", 6, seed=1, size_px=64)
    store = tmp_path / "store"
    resolution = ["--resolution", "64"]
    assert cli("build", tmp_path / "corpus", store, "--encoder", "dct", *resolution).code == 0
    said = cli("swap", store, "--encoder", "dct:block=4", "--estimate")
    assert said.code == 0
    assert "now" in said.out
    assert "nothing was written" in said.out
    done = cli("swap", store, "--encoder", "dct:block=4")
    assert done.code == 0
    assert "--free" in done.out
    assert Store.open(store).snapshot().number == 2
    said = cli(
        "plan", tmp_path / "corpus", "--estimate", "--encoder", "dct", *resolution,
        "--prices", "2.5,23",
    )  # fmt: skip
    assert "caching pays from epoch" in said.out
    assert cli("plan", tmp_path / "corpus", "--estimate", "--prices", "cheap").code == 2
