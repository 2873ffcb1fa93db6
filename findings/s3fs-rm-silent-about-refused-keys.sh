#!/usr/bin/env bash
# s3fs.rm returns as if all was deleted where S3 says key by key that it was not.
#
# DeleteObjects answers 200 also when it refuses some keys or all of them (no s3:DeleteObject on a
# prefix, a key under a retention rule): the refusals are <Error> elements in the body, as the S3 API
# reference shows. s3fs 2026.9.0 deletes several keys with that request and looks at none of
# them: rm of two objects, one of which S3 keeps with AccessDenied, raises nothing and returns what
# was deleted alone; with "Quiet", which s3fs asks for, even that is empty. A clean-up that counts on
# an exception reports bytes as freed that are still stored and paid for.
#
# Expected below: rm returns without an exception, and the object is still there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0
cat > "$folder/show.py" <<'PYTHON'
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import s3fs

OBJECTS = {"/bucket/mine": b"1", "/bucket/kept": b"2"}
REFUSED = """<?xml version="1.0" encoding="UTF-8"?>
<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Error><Key>kept</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>
</DeleteResult>"""


class S3(BaseHTTPRequestHandler):
    """Answers HEAD of an object, and DeleteObjects as S3 does where one key is refused."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        data = OBJECTS.get(self.path.partition("?")[0])
        if data is None:
            self.answer(404)
            return
        self.answer(200, data, ETag='"1"', Last_Modified="Mon, 30 Nov 2026 00:00:00 GMT")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        OBJECTS.pop("/bucket/mine")
        self.answer(200, REFUSED.encode(), Content_Type="application/xml")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), S3)
threading.Thread(target=server.serve_forever, daemon=True).start()
fs = s3fs.S3FileSystem(
    key="a", secret="b", endpoint_url=f"http://127.0.0.1:{server.server_port}",
    client_kwargs={"region_name": "us-east-1"}, use_listings_cache=False,
)
print("s3fs", version("s3fs"))
try:
    returned = fs.rm(["bucket/mine", "bucket/kept"])
except Exception as error:
    raise SystemExit(f"changed: rm raised {type(error).__name__}: {error}")
print("rm returned", returned, "- no exception")
print("the server holds", sorted(OBJECTS), "- s3fs sees bucket/kept:", fs.exists("bucket/kept"))
assert returned == [] and list(OBJECTS) == ["/bucket/kept"], "changed"
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
