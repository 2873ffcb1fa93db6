"""A proxy that makes an S3 server fail: ``fault_proxy.py 127.0.0.1:9200 127.0.0.1:9102``.

What fails is told to it by ``PUT /__fault`` with JSON, and counted by ``GET /__fault``:

    {"kinds": ["503", "lostack"], "rate": 0.3, "match": "PUT .*commits", "most": 10, "delay_s": 1}

Kinds: ``503`` and ``500`` answer so; ``slow`` waits; ``reset`` drops the connection before a
request is passed on; ``truncate`` drops it in the middle of an answer; ``lostack`` lets the server
do it and drops the answer. Draws are seeded. Host headers pass unchanged, so that signatures made
for the proxy's address hold behind it.
"""

import asyncio
import json
import random
import re
import sys
from contextlib import suppress
from typing import Any

CONTROL = "/__fault"
CHUNK_BYTES = 65536
CODES = {"503": "SlowDown", "500": "InternalError"}
GONE = (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError)


class Faults:
    """What fails, and what has failed."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self.set({})

    def set(self, rules: dict[str, Any]) -> None:
        """Take new rules, and count from 0."""
        self.rules, self.num_requests, self.counts = rules, 0, {}

    def next(self, line: str) -> str:
        """Return what happens to a request, "" for nothing."""
        self.num_requests += 1
        is_drawn = self._draw.random() < self.rules.get("rate", 0)
        is_meant = re.search(self.rules.get("match", ""), line) is not None
        if not is_drawn or not is_meant or sum(self.counts.values()) >= self.most:
            return ""
        kind = str(self._draw.choice(self.rules["kinds"]))
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return kind

    @property
    def most(self) -> float:
        """Faults in all."""
        return float(self.rules.get("most", float("inf")))

    def report(self) -> bytes:
        """Return rules and counts."""
        told = {"rules": self.rules, "requests": self.num_requests, "faults": self.counts}
        return json.dumps(told).encode()


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, str, dict[str, str]]:
    """Return a message's head as it came, its first line, and its fields by lower-case name."""
    data = await reader.readuntil(b"\r\n\r\n")
    line, *rest = data.decode("latin1").split("\r\n")
    pairs = (field.split(":", 1) for field in rest if ":" in field)
    return data, line, {name.lower(): value.strip() for name, value in pairs}


async def pass_body(
    reader: asyncio.StreamReader,
    fields: dict[str, str],
    writer: asyncio.StreamWriter | None,
    most: int | None = None,
) -> None:
    """Read a message's body, up to ``most`` bytes, and pass it on unless there is nobody."""
    if "chunked" in fields.get("transfer-encoding", ""):
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            await _send(writer, line + await reader.readexactly(size + 2))
        return
    left = int(fields.get("content-length", 0))
    left = left if most is None else min(left, most)
    while left:
        data = await reader.read(min(CHUNK_BYTES, left))
        if not data:
            raise ConnectionError
        left -= len(data)
        await _send(writer, data)


async def _send(writer: asyncio.StreamWriter | None, data: bytes) -> None:
    if writer is not None:
        writer.write(data)
        await writer.drain()


class Connection:
    """One client, and the connection to the server that its requests go through."""

    def __init__(self, faults: Faults, upstream: tuple[str, int]) -> None:
        self._faults, self._upstream = faults, upstream
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass requests on until either side leaves."""
        with suppress(*GONE):
            while await self._serve_one(reader, writer):
                pass
        for each in (writer, self._server[1] if self._server else None):
            if each is not None:
                each.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; return whether the connection stays."""
        head, line, fields = await read_head(reader)
        if f" {CONTROL}" in line:
            await self._control(reader, writer, line, fields)
            return True
        fault = self._faults.next(line)
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault == "slow":
            await asyncio.sleep(self._faults.rules.get("delay_s", 1.0))
        if fault in CODES:
            await self._refuse(fault, reader, writer, line, fields)
            return False
        return await self._pass(fault, (head, line, fields), reader, writer)

    async def _control(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        line: str,
        fields: dict[str, str],
    ) -> None:
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        if line.startswith("PUT"):
            self._faults.set(json.loads(body))
        told = self._faults.report()
        await _send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)

    async def _refuse(
        self,
        fault: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        line: str,
        fields: dict[str, str],
    ) -> None:
        if "100-continue" not in fields.get("expect", ""):
            await pass_body(reader, fields, None)
        body = f"<Error><Code>{CODES[fault]}</Code><Message>injected</Message></Error>".encode()
        answer = f"HTTP/1.1 {fault} Injected\r\nContent-Type: application/xml\r\n"
        answer += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        await _send(writer, answer.encode() + (b"" if line.startswith("HEAD") else body))

    async def _pass(
        self,
        fault: str,
        request: tuple[bytes, str, dict[str, str]],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        head, line, fields = request
        if self._server is None:
            self._server = await asyncio.open_connection(*self._upstream)
        from_server, to_server = self._server
        await _send(to_server, head)
        body = asyncio.create_task(pass_body(reader, fields, to_server))
        is_asked = "100-continue" not in fields.get("expect", "")
        while True:
            answer, status, answered = await read_head(from_server)
            is_last = " 100 " not in status
            if fault != "lostack" or not is_last:
                await _send(writer, answer)
            if is_last:
                break
            is_asked = True
        has_body = not (line.startswith("HEAD") or " 204 " in status or " 304 " in status)
        if fault == "lostack":
            # A refused conditional PUT never asks for its body: then nobody waits for it.
            await body if is_asked else body.cancel()
            writer.transport.abort()
            return False
        if fault == "truncate" and has_body:
            half = int(answered.get("content-length", 0)) // 2
            await pass_body(from_server, answered, writer, half)
            writer.transport.abort()
            return False
        if has_body:
            await pass_body(from_server, answered, writer)
        await body
        return answered.get("connection", "").lower() != "close"


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def serve(listen: tuple[str, int], upstream: tuple[str, int], seed: int) -> None:
    """Serve for ever."""
    faults = Faults(seed)
    server = await asyncio.start_server(
        lambda reader, writer: Connection(faults, upstream).serve(reader, writer), *listen
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(_address(sys.argv[1]), _address(sys.argv[2]), int((*sys.argv, "7")[3])))
