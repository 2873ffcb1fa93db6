"""Options of storage reach the client and the workers, and nothing that is shown or written."""

import json
import os
import pickle
from pathlib import Path

import pytest

from latentcache import open_store
from latentcache.cli.entry import run
from latentcache.core.errors import ConfigError
from latentcache.storage import (
    Folder,
    StorageError,
    parse_storage_options,
    process_text,
    refuse_secret_options,
    use_storage_options,
)
from latentcache.storage.client_options import client_options
from latentcache.storage.options import secret_options
from latentcache.testing.drawn import write_drawn_corpus
from tests.s3_servers import S3Server

SECRET = "hunter2hunter2"


def test_keys_values_and_tables_are_read() -> None:
    texts = ["anon=true", "endpoint_url=http://h:1", "client_kwargs.region_name=eu", "profile=2024"]
    assert parse_storage_options([*texts, '{"client_kwargs": {"verify": false}}']) == {
        "anon": True,
        "endpoint_url": "http://h:1",
        "client_kwargs": {"region_name": "eu", "verify": False},
        "profile": "2024",
    }
    for wrong in ("anon", "=1", "a..b=1", "{1}"):
        with pytest.raises(ConfigError, match="storage_options must be"):
            parse_storage_options([wrong])


@pytest.mark.parametrize(
    ("key", "near"),
    [
        pytest.param("endpont_url", "did you mean 'endpoint_url'", id="typo"),
        pytest.param("skip_instance_cache", "leave it out", id="ours"),
        pytest.param("retrys_of_mine", r"PROTOCOL\.retrys_of_mine=", id="unknown"),
    ],
)
def test_an_option_that_the_file_system_lacks_is_refused(key: str, near: str) -> None:
    with pytest.raises(ConfigError, match=near):
        Folder.open("s3://bucket/x", {key: "1"})


def test_a_table_of_a_protocol_is_for_that_protocol_alone() -> None:
    options = {"s3": {"anon": True}, "https": {"headers": {"a": "b"}}}
    assert client_options("s3a://bucket/x", options) == {"anon": True}
    assert client_options("http://host/x", options) == {"headers": {"a": "b"}}
    assert client_options("memory://x", options) == {}
    assert client_options("simplecache::s3://bucket/x", options) == {"s3": {"anon": True}}
    with pytest.raises(ConfigError, match="must name a protocol"):
        client_options("simplecache::s3://bucket/x", {"anon": True})


def test_an_endpoint_without_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"endpoint must begin with http.*\(storage_options\)"):
        Folder.open("s3://bucket/x", {"endpoint_url": "127.0.0.1:9000"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000")
    with pytest.raises(ConfigError, match=r"endpoint must begin with http.*\(AWS_ENDPOINT_URL\)"):
        Folder.open("s3://bucket/x")


@pytest.mark.parametrize(
    "name",
    ["key", "secret", "token", "password", "account_key", "sas_token", "connection_string",
     "client_kwargs.aws_secret_access_key", "http.headers", "s3.secret"],
)  # fmt: skip
def test_a_secret_is_refused_where_it_would_be_written_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError, match="must hold no secret") as caught:
        refuse_secret_options([f"{name}={SECRET}"], where="here")
    assert SECRET not in str(caught.value)
    assert secret_options({"endpoint_url": f"http://me:{SECRET}@host"}) == ["endpoint_url"]
    refuse_secret_options(["anon=true", "token=anon", "profile=x", "use_ssl=false"], where="here")


def test_a_recipe_with_a_secret_is_refused_and_none_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, other = tmp_path / "recipe.toml", tmp_path / "other.toml"
    recipe.write_text(f'storage_options = ["secret={SECRET}"]\n')
    assert run(["build", "photos", "store", "--config", str(recipe)]) == 2
    option = f"--storage-options=secret={SECRET}"
    assert run(["recipe", "photos", "store", option, "-o", str(other)]) == 2
    assert not other.exists()
    assert run(["recipe", "photos", "store", "--storage-options", "profile=x"]) == 0
    told = capsys.readouterr()
    assert 'storage_options = ["profile=x"]' in told.out
    assert SECRET not in told.out + told.err
    assert process_text() == ""


def test_options_of_a_folder_are_shown_nowhere_and_travel() -> None:
    folder = Folder.open("s3://bucket/x", {"secret": SECRET}).child("y")
    assert SECRET not in repr(folder) + str(folder) + folder.label
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert folder != Folder.open("s3://bucket/x/y")


@pytest.fixture
def keyless_url(
    s3_url: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict]:
    """A bucket, of which the environment knows nothing, and the options that open it."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name in names:
        monkeypatch.delenv(name)
    return s3_url, {
        "endpoint_url": s3_server.endpoint,
        "key": s3_server.key,
        "secret": s3_server.secret if s3_server.checks_keys else SECRET,
    }


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize("without_ray", [pytest.param(1, marks=pytest.mark.ray, id="ray"),
                                         pytest.param(2000, id="local-workers")])  # fmt: skip
def test_a_build_and_all_its_workers_use_them_and_write_none(
    without_ray: int,
    keyless_url: tuple[str, dict],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, options = keyless_url
    write_drawn_corpus(tmp_path, 6, seed=1, size_px=64)
    with use_storage_options(options):
        corpus = Folder.open(f"{url}/photos")
        for path in tmp_path.glob("*.jpg"):
            corpus.upload(path.name, path)
    given = [f"--storage-options={key}={value}" for key, value in options.items()]
    command = ["build", f"{url}/photos", f"{url}/store", "--resolution", "64", "--actors", "1"]
    code = run([*command, "--set", f"resources.without_ray={without_ray}", *given])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert run(["status", f"{url}/store", "--json", *given]) == 0
    assert run(["verify", f"{url}/store", *given]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n}")[0] + "}")["planned"] > 0
    store = open_store(f"{url}/store", storage_options=options)
    assert store.snapshot().column("latents").num_encoded > 0
    written = b"".join(store.folder.read(info.name) for info in store.folder.list())
    for shown in (told.out, told.err, written.decode(errors="replace"), repr(store)):
        assert SECRET not in shown
    assert "LATENTCACHE_STORAGE_OPTIONS" not in os.environ


@pytest.mark.s3
def test_keys_that_were_wrong_once_are_looked_for_again(
    keyless_url: tuple[str, dict], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, options = keyless_url
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    folder = Folder.open(url)
    with pytest.raises(StorageError, match="credentials"):
        folder.write("x", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret"])
    folder.write("x", b"1")
    assert folder.read("x") == b"1"
