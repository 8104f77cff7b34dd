"""A service whose connections a test speaks itself, byte by byte, with or without TLS."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import openrouter_embeddings as ore
import trustme

from tests.support import answer, client_over

Handler = Callable[["SocketService", Any], None]


class SocketService:
    """Calls a handler for each connection, in a thread of its own.

    Attributes:
        opened: number of connections so far.
        url: the base URL.
    """

    def __init__(self, handle: Handler, context: ssl.SSLContext | None) -> None:
        self.opened = 0
        self._handle, self._context = handle, context
        self.listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if context else "http"
        self.url = f"{scheme}://localhost:{self.listener.getsockname()[1]}/v1"
        threading.Thread(target=self._run).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.opened += 1
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                self._handle(self, connection)


def correct_response(connection: socket.socket) -> bytes:
    """Read a request and return its response. Raises ConnectionError at the end."""
    request = b""
    while not request.endswith(b"}"):
        if not (chunk := connection.recv(1 << 16)):
            raise ConnectionError
        request += chunk
    return response_to(json.loads(request.partition(b"\r\n\r\n")[2])["input"])


def response_to(inputs: list[Any]) -> bytes:
    """The correct response to these inputs."""
    return http_response(200, json.dumps(answer(inputs)).encode())


def http_response(status: int, body: bytes, headers: bytes = b"") -> bytes:
    """The bytes of a response."""
    head = b"HTTP/1.1 %d Status\r\nContent-Length: %d\r\n" % (status, len(body))
    return head + headers + b"\r\n" + body


def tls_context(authority: trustme.CA) -> ssl.SSLContext:
    """The context of a server that has a certificate for `localhost`, signed by the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@contextmanager
def socket_service(handle: Handler, authority: trustme.CA | None = None) -> Iterator[SocketService]:
    """A running service, over TLS if there is an authority to sign its certificate."""
    service = SocketService(handle, tls_context(authority) if authority else None)
    try:
        yield service
    finally:
        service.listener.shutdown(socket.SHUT_RDWR)
        service.listener.close()


@contextmanager
def responding(response: bytes, *, hold: bool = False) -> Iterator[str]:
    """The URL of a service that sends every request the same bytes, and hangs up unless `hold`."""

    def handle(_: SocketService, connection: Any) -> None:
        while b'"input"' not in connection.recv(1 << 16):
            """Head and body may arrive separately."""
        connection.sendall(response)
        if hold:
            connection.recv(1)

    with socket_service(handle) as service:
        yield service.url


def one_after_another(
    kind: str, url: str, texts: list[str], between: Callable[[], object], **options: Any
) -> list[ore.EmbeddingResult]:
    """Embed the texts one by one with one client; `between` runs between them.

    Meanwhile the event loop of an asyncio client stands still, as if the caller blocked it.
    """
    results: list[ore.EmbeddingResult] = []
    with client_over(kind, url, **options) as client:
        for text in texts:
            if results:
                between()
            results.append(client.embed(text))
    return results
