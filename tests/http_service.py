"""A service over real sockets, with or without TLS, that counts its connections."""

import gzip
import json
import socket
import ssl
import threading
import zlib
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support import LARGE, MUCH, answer


@cache
def bomb() -> bytes:
    """300 KB of gzip that decompress to 300 MB."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(b" " * 1_000_000) for _ in range(300)), packer.flush()])


class HTTPService(ThreadingHTTPServer):
    """Responds correctly. Some model names change how or when; see `_Handler.do_POST`.

    Attributes:
        opened: the number of connections so far.
        heads: the headers of each request.
        bodies: the JSON of each request.
        gone: released when a connection has ended.
        together: releases the requests for the model "together" when four have arrived.
    """

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.opened = 0
        self.heads: list[Any] = []
        self.bodies: list[dict[str, Any]] = []
        self.gone = threading.Semaphore(0)
        self.together = threading.Barrier(4)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        if context:
            self.url = f"https://localhost:{self.server_port}/v1"
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def __enter__(self) -> Self:
        """Serve in a thread until the `with` block ends."""
        threading.Thread(target=self.serve_forever, args=[0.01]).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def refusal(self, asked: dict[str, Any]) -> int | None:
        """An error status to respond with; None for vectors."""
        return None

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin to serve one connection; only the thread that accepts them calls this."""
        self.opened += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        super().process_request_thread(request, client_address)
        self.gone.release()

    def handle_error(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Ignore clients that hang up or reject the certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, HTTPService)
        self.server.heads.append(self.headers)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(asked)
        if asked["model"] == "together":
            self.server.together.wait(20)
        if status := self.server.refusal(asked):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        much = "x" * (MUCH if len(asked["input"][0]) == LARGE else 0)
        body = json.dumps(answer(asked["input"], much=much)).encode()
        self.send_response(200)
        if asked["model"] == "closing":
            self.send_header("Connection", "close")
        if "gzip" in asked["model"] or asked["model"] == "bomb":
            body = bomb() if asked["model"] == "bomb" else gzip.compress(body)
            encoding = asked["model"].removeprefix("half ") if body is not bomb() else "gzip"
            self.send_header("Content-Encoding", encoding)
        if asked["model"].startswith("half "):
            body = body[: len(body) // 2]
        if asked["model"] == "echo":
            self.send_header("X-Echo", self.headers["Authorization"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if asked["model"] == "twice":  # in one write: later bytes may answer the next request
            body += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        if asked["model"] == "again":  # also at the same time, but in its own TLS record
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            self.wfile.write(body)
            body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        self.wfile.write(body)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        self.close_connection |= asked["model"] == "hanging up"

    def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Log nothing."""
