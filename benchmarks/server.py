"""A server whose own cost does not matter: prepared answers, sent after a latency.

    python -m benchmarks.server [--latency 0.05] [--tls]

prints its address, and answers until its standard input ends. `/latency/S` in the path changes
the latency of a request: `http://host:port/latency/0.05/v1`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import ssl
import sys
from functools import cache
from pathlib import Path

import orjson

from .vectors import matrix, variant

CERTIFICATE = Path(__file__).parent / "localhost.pem"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_LATENCY = re.compile(rb"/latency/([0-9.]+)/")
_LARGE = 4 << 20  # of images; not worth parsing


@cache
def answer(which: int, rows: int, width: int, encoding: str) -> bytes:
    """A whole HTTP response."""
    vectors = matrix(which, rows, width)
    data = [
        {
            "object": "embedding",
            "embedding": base64.b64encode(vector.tobytes()).decode()
            if encoding == "base64"
            else [float(value) for value in vector],
            "index": row,
        }
        for row, vector in enumerate(vectors)
    ]
    body = orjson.dumps(
        {
            "object": "list",
            "data": data,
            "model": "benchmark",
            "id": "gen-0",
            "provider": "Benchmark",
            "usage": {"prompt_tokens": 8 * rows, "total_tokens": 8 * rows, "cost": 1e-7 * rows},
        }
    )
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def respond(body: bytes) -> bytes:
    """The answer to a request body."""
    if len(body) > _LARGE:
        return answer(0, body.count(b'"image_url":'), 1536, "base64")
    request = orjson.loads(body)
    inputs = request["input"]
    inputs = [inputs] if isinstance(inputs, str) else inputs
    which = variant(inputs[0]) if isinstance(inputs[0], str) else 0
    encoding = request.get("encoding_format") or "float"
    return answer(which, len(inputs), request.get("dimensions") or 1536, encoding)


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.received = bytearray()

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.received[:end])
        length = _LENGTH.search(head)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self.received) < whole:
            return
        reply = respond(bytes(self.received[end + 4 : whole]))
        del self.received[:whole]
        latency = _LATENCY.search(head)
        delay = float(latency[1]) if latency else 0.0
        if delay:
            asyncio.get_running_loop().call_later(delay, self.transport.write, reply)
        else:
            self.transport.write(reply)


async def serve(*, tls: bool) -> None:
    """Say the port, then answer until standard input ends."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", action="store_true")
    asyncio.run(serve(tls=parser.parse_args().tls))
