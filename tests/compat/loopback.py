"""A service on this machine for programs that run in processes of their own.

It needs nothing but the standard library, because the environments of this folder lack what the
other tests install.
"""

import base64
import json
import os
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

ROOT = Path(__file__).parents[2]
KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
PATIENCE = 60  # seconds that anything here may take


def vector(text: str) -> list[float]:
    """The vector of a text; different texts have different vectors."""
    return [float(len(text)), float(zlib.crc32(text.encode()) % 8191), 1.0, -0.5]


class Service(ThreadingHTTPServer):
    """Answers each text with a vector of its own, and counts.

    The model "together" answers when `crowd` requests are in flight, so only a program that sends
    them at the same time gets answers. "held" answers after `release`, and "dropped once" hangs up
    then, instead of answering an input that arrives for the first time.

    Attributes:
        arrived: how often each text has arrived.
        crowd: the number of requests that "together" waits for.
        latency: seconds that each answer takes.
        models: the model that serves an input, whatever model the request names.
        open: the connections, and whether each is idle.
        opened: the number of connections so far.
        state: notified at every change.
        url: the base URL.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = threading.Condition()
        self.arrived: Counter[str] = Counter()
        self.crowd = 1
        self.open: dict[socket.socket, bool] = {}
        self.opened = 0
        self.latency = 0.0
        self.models: dict[str, str] = {}
        self._waiting = 0
        self._released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        if context:
            self.url = f"https://localhost:{self.server_port}/v1"
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a program that uses this service."""
        path = os.pathsep.join(str(ROOT / folder) for folder in (".", "wrapper", "generated"))
        ours = {"OPENROUTER_BASE_URL": self.url, "OPENROUTER_API_KEY": KEY, "PYTHONPATH": path}
        return {**os.environ, **ours}

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until a condition about this service holds."""
        with self.state:
            assert self.state.wait_for(condition, PATIENCE)

    def release(self) -> None:
        """Answer the requests for "held", now and later."""
        self._released.set()

    def close_idle(self, *, reset: bool = False) -> None:
        """Close the idle connections, as servers do after a while, with FIN or with RST."""
        with self.state:
            idle = [connection for connection, is_idle in self.open.items() if is_idle]
            for connection in idle:
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.shutdown(socket.SHUT_RD)  # its thread closes it
        self.wait_for(lambda: self.open.keys().isdisjoint(idle))

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, without the FIN that would come before a reset."""
        self.close_request(request)

    def answer(self, asked: dict[str, Any]) -> bytes:
        """The body of a correct response."""
        model: str = self.models.get(asked["input"][0]) or asked["model"]
        self.hold(model)
        if model == "dropped once" and self.arrived[asked["input"][0]] == 1:
            raise ConnectionError
        time.sleep(self.latency)
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(struct.pack("<4f", *vector(text))).decode(),
            }
            for index, text in enumerate(asked["input"])
        ]
        usage = {"prompt_tokens": len(data), "total_tokens": len(data), "cost": 1e-6}
        body = {"object": "list", "data": data, "model": asked["model"], "usage": usage}
        return json.dumps(body).encode()

    def hold(self, model: str) -> None:
        """Wait as the model's name says."""
        if model in ("held", "dropped once"):
            self._released.wait(PATIENCE)
        if model == "together":
            with self.state:
                self._waiting += 1
                self.state.notify_all()
                assert self.state.wait_for(lambda: self._waiting >= self.crowd, PATIENCE)

    def __enter__(self) -> Self:
        """Serve in a thread until the `with` block ends."""
        threading.Thread(target=self.serve_forever, args=[0.01]).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.shutdown()
        self.server_close()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        self.opened += 1
        self.note(request, is_idle=True)
        super().process_request_thread(request, client_address)
        with self.state:
            self.open.pop(request, None)
            self.state.notify_all()

    def note(self, connection: socket.socket, *, is_idle: bool) -> None:
        """Note whether a connection is idle."""
        with self.state:
            self.open[connection] = is_idle
            self.state.notify_all()

    def handle_error(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Ignore clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Service)
        self.server.note(self.connection, is_idle=False)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.state:
            self.server.arrived.update(asked["input"])
            self.server.state.notify_all()
        body = self.server.answer(asked)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.note(self.connection, is_idle=True)

    def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Log nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    """A running service."""
    with Service() as service:
        yield service
