#!/usr/bin/env bash
# fsspec 2026.9.0: from a plain web server, cat_file(url, start, end) and cat_ranges give whole files.
#
# A range is a wish: a server may answer it with 200 and everything, and many do (Python's http.server,
# which everyone serves a folder with, servers that compress as they send, some proxies). fsspec's open()
# looks at the answer and raises "doesn't appear to support range requests". cat_file with start and end,
# cat_ranges and what is built on them do not look: "the first 8 bytes" are the whole file, and each of
# a hundred ranges is the whole file once more. For ranges that begin at 0, as headers do, the first
# bytes are even the right ones; for all others code that parses by offset gets bytes of another place
# (`int.from_bytes(fs.cat_file(url, 8, 16))` is another number without an error).
# For whom it matters: who reads rows of shards, tar members or Parquet footers over HTTP, with code
# that was tested on S3 or a disk. What helps: compare `len(data)` with `end - start`; for unknown
# servers open() and seek.
#
# Versions: fsspec 2026.9.0, aiohttp 3.14.5, Python's http.server. Exits non-zero if the behaviour is
# another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "fsspec==2026.9.0" "aiohttp==3.14.5"
cat > "$work/show.py" <<'PY'
import functools
import http.server
import pathlib
import sys
import tempfile
import threading

import fsspec


class Quiet(http.server.SimpleHTTPRequestHandler):
    """The server of `python -m http.server`, without its log."""

    def log_message(self, *_args):
        """Say nothing."""


folder = pathlib.Path(tempfile.mkdtemp(dir=sys.argv[1]))
(folder / "rows.bin").write_bytes(bytes(range(200)))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/rows.bin"

print("fsspec", fsspec.__version__)
web, disk = fsspec.filesystem("http"), fsspec.filesystem("file")
seen = []
for start, end in ((0, 8), (8, 16), (-8, None)):
    local = disk.cat_file(str(folder / "rows.bin"), start=start, end=end)
    remote = web.cat_file(url, start=start, end=end)
    print(f"bytes {start} to {end}: {len(local)} from a file, {len(remote)} from the server, which begin with {list(remote[:3])}")
    seen.append((len(local), len(remote)))
lengths = [len(data) for data in web.cat_ranges([url] * 3, [0, 8, 16], [8, 16, 24])]
print("cat_ranges of three times 8 bytes:", lengths)
try:
    with web.open(url) as file:
        file.seek(8)
        opened = f"{len(file.read(8))} bytes"
except ValueError as error:
    opened = f"raises: {str(error)[:60]}..."
print("open, seek, read:", opened)
server.shutdown()
sys.exit(seen != [(8, 200)] * 3 or lengths != [200] * 3 or not opened.startswith("raises"))
PY
"$work/venv/bin/python" "$work/show.py" "$work"
