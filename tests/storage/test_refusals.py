"""What an object store refuses is one sentence: why, where, and what to do; no secret is in it."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.cli.entry import run
from latentcache.core.errors import ConfigError
from latentcache.storage import Folder, RetryPolicy, StorageError
from latentcache.storage.url_secrets import secret_in, without_secrets

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-secret-of-ours"}


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, keys: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1",
                        "AWS_EC2_METADATA_DISABLED": "true", **keys}.items():  # fmt: skip
        monkeypatch.setenv(name, value)


class _Refusing(BaseHTTPRequestHandler):
    """Answers every request as Amazon's S3 answers some: status, code and message as documented."""

    status, code = 400, ""

    def _answer(self) -> None:
        body = (
            f"<?xml version='1.0'?><Error><Code>{self.code}</Code>"
            "<Message>As Amazon says it.</Message></Error>"
        ).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.s3
@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        pytest.param(403, "RequestTimeTooSkewed", "clock", id="clock-is-off"),
        pytest.param(400, "ExpiredToken", "AWS_SESSION_TOKEN", id="token-is-old"),
        pytest.param(404, "NoSuchBucket", "create the bucket", id="no-bucket"),
    ],
)
def test_amazon_s_refusals_say_what_to_do(
    status: int, code: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = type("Handler", (_Refusing,), {"status": status, "code": code})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use(monkeypatch, f"http://127.0.0.1:{server.server_port}", KEYS)
        # A process opens each URL once, with the endpoint that it finds then.
        folder = Folder(f"s3://{code.lower()}/store", RetryPolicy(attempts=1))
        for operation in (lambda: folder.read("x"), lambda: folder.write("x", b"1")):
            with pytest.raises(StorageError, match=rf"storage must .*{code}.*{expected}"):
                operation()
        server.shutdown()


SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+%-_", min_size=8)


@given(SECRETS, st.sampled_from(["s3", "http", "https", "sftp", "filecache::http", "memory"]))
def test_a_password_in_a_url_is_refused_and_not_repeated(secret: str, protocol: str) -> None:
    with pytest.raises(ConfigError, match="url must hold no secret, got a password") as caught:
        Folder.open(f"{protocol}://user:{secret}@host/folder")
    assert secret not in str(caught.value).replace("s3://host/folder", "")


@given(
    SECRETS.map(lambda text: f"{text}XYZ"),
    st.sampled_from(
        ["X-Amz-Signature", "X-Amz-Credential", "sig", "token", "access_token", "apikey",
         "api_key", "Signature", "password", "X-Goog-Signature", "secret"]
    ),
)  # fmt: skip
def test_a_signature_in_a_url_is_refused_by_its_name_alone(secret: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"got a value of '{name}'") as caught:
        Folder.open(f"https://host/data/x.tar?version=3&{name}={secret}")
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a:b@c/x",
        "abfss://container@account.dfs.core.windows.net/x",
        "sftp://user@host/x",
        "https://host/x?download=true&size=3",
        "s3://bucket/tokens=3/secretariat",
        "memory://design=2/x",
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(url: str) -> None:
    assert secret_in(url) == ""
    assert "?" not in without_secrets(url)


def test_a_build_from_a_url_with_a_secret_writes_nothing(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from latentcache.testing.drawn import write_drawn_corpus  # noqa: PLC0415  loads Pillow

    write_drawn_corpus(tmp_path / "photos", 1, seed=1, size_px=64)
    corpus = "https://user:hunter2hunter2@127.0.0.1:9/photos"
    for places in ([corpus, str(tmp_path / "store")], [str(tmp_path / "photos"), corpus]):
        assert run(["build", *places]) == 2
        told = capsys.readouterr().err
        assert "must hold no secret" in told
        assert "hunter2" not in told
    assert not (tmp_path / "store").exists()


class _Elsewhere(_Refusing):
    """Answers as an endpoint that is not S3's does: go elsewhere, with no word of a region."""

    protocol_version, status, code, num_asked = "HTTP/1.1", 301, "PermanentRedirect", 0

    def _answer(self) -> None:
        type(self).num_asked += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        super()._answer()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer


@pytest.mark.s3
def test_an_endpoint_that_redirects_everything_is_one_sentence_after_a_request_or_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use(monkeypatch, f"http://127.0.0.1:{server.server_port}", KEYS)
        folder = Folder.open("s3://moved/store")
        for number, operation in enumerate(
            (lambda: folder.read("x"), lambda: folder.write("x", b"1"), folder.is_empty), 1
        ):
            with pytest.raises(StorageError, match=r"its own region.*AWS_ENDPOINT_URL"):
                operation()
            assert _Elsewhere.num_asked <= 2 * number
        server.shutdown()
