"""A fast server with prepared answers, which it sends after a given latency.

`python -m benchmarks.server [--tls FOLDER]` prints its port and answers until its standard input
ends. The path gives the seconds to wait before an answer: `http://127.0.0.1:PORT/latency/0.05/v1`.
"""

from __future__ import annotations

import argparse
import base64
import re
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from .vectors import matrix, variant

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_LATENCY = re.compile(rb"/latency/([0-9.]+)/")
_LARGE = 4 << 20  # larger bodies carry images and are not parsed


@cache
def http_response(which: int, rows: int, width: int, encoding: str) -> bytes:
    """A complete HTTP response."""
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
    body = msgspec.json.encode(
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
        return http_response(0, body.count(b'"image_url":'), 1536, "base64")
    request = msgspec.json.decode(body)
    inputs = request["input"]
    inputs = [inputs] if isinstance(inputs, str) else inputs
    which = variant(inputs[0]) if isinstance(inputs[0], str) else 0
    encoding = request.get("encoding_format") or "float"
    return http_response(which, len(inputs), request.get("dimensions") or 1536, encoding)


def handle(connection: socket.socket) -> None:
    """Answer the requests of one connection, in a thread: asyncio would copy every answer."""
    received = bytearray()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(1 << 20):
            received += data
            end = received.find(b"\r\n\r\n")
            head = bytes(received[:end])
            length = _LENGTH.search(head)
            if end < 0 or length is None or len(received) < end + 4 + int(length[1]):
                continue
            reply = respond(bytes(received[end + 4 :]))
            received.clear()
            if latency := _LATENCY.search(head):
                time.sleep(float(latency[1]))
            connection.sendall(reply)


def serve(folder: Path | None) -> None:
    """Print the port, then answer until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if folder else None
    if folder and context:
        context.load_cert_chain(folder / "server.pem")

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=begin, args=[connection], daemon=True).start()

    def begin(connection: socket.socket) -> None:
        with suppress(OSError):  # the client has closed the connection
            handle(context.wrap_socket(connection, server_side=True) if context else connection)

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", type=Path, help="folder with server.pem; serve https")
    serve(parser.parse_args().tls)
