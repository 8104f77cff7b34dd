"""Requests over TLS, as to the service itself."""

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpcore
import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
import trustme
from openrouter_embeddings.transport import _asyncio_backend, _sync_backend
from openrouter_embeddings.transport._response_reader import ResponseReader

from tests.socket_service import (
    SocketService,
    correct_response,
    response_to,
    socket_service,
    tls_context,
)
from tests.support import (
    KEY,
    LARGE,
    LOOPS,
    MUCH,
    embed_over,
    everywhere,
    expected,
)

pytestmark = pytest.mark.usefixtures("sometimes_traced")


@everywhere
@pytest.mark.usefixtures("trusted")
def test_embed_works_over_tls(kind: str, url: str) -> None:
    """Many requests share several connections, which are reused and closed without a warning."""
    texts = ["x" * (n % 900 + 1) for n in range(400)]
    assert np.array_equal(embed_over(kind, url, texts).vectors, expected(texts))


@everywhere
def test_an_untrusted_certificate_is_a_connection_error(kind: str, url: str) -> None:
    """The client refuses it before it sends the key, and the error says how to trust it."""
    with pytest.raises(ore.APIConnectionError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        embed_over(kind, url, ["a"])
    parameter = "verify= to http_client" if "httpx" in kind else "ssl_context="
    assert caught.value.message.endswith(
        f"; pass {parameter}, or set SSL_CERT_FILE, to trust the certificate of your proxy or "
        "server"
    )


@everywhere
@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_host_is_a_connection_error(kind: str, url: str) -> None:
    """Even if a trusted authority signed it; to trust another one would not help."""
    with pytest.raises(ore.APIConnectionError, match=r"CERTIFICATE_VERIFY_FAILED.*check base_url"):
        embed_over(kind, url.replace("localhost", "127.0.0.1"), ["a"])


@everywhere
@pytest.mark.usefixtures("trusted")
def test_concurrent_requests_use_separate_connections(kind: str, url: str) -> None:
    """The service responds only when four requests have arrived, again and again."""
    texts = ["x" * (n + 1) for n in range(12)]
    result = embed_over(kind, url, texts, model="together", batch_size=1, concurrency=4)
    assert np.array_equal(result.vectors, expected(texts))


@everywhere
@pytest.mark.usefixtures("trusted")
def test_large_requests_and_responses_arrive(kind: str, url: str) -> None:
    """Both are larger than any buffer on the way."""
    texts = ["x" * LARGE, "y"]
    result = embed_over(kind, url, texts)
    assert np.array_equal(result.vectors, expected(texts))
    assert len(result.served[0].body["much"]) == MUCH


async def test_a_handshake_without_a_transport_is_a_connect_error() -> None:
    """Asyncio returns None if the connection ends just as the handshake completes."""

    async def nothing(*_: Any, **__: Any) -> None:
        """Return None, as after such an end."""

    loop: Any = asyncio.get_running_loop()
    loop.start_tls = nothing
    listener = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
    port: int = listener.sockets[0].getsockname()[1]
    stream = await _asyncio_backend.Backend().connect_tcp("127.0.0.1", port)
    with pytest.raises(httpcore.ConnectError):
        await stream.start_tls(ssl.create_default_context(), "localhost")
    listener.close()
    await listener.wait_closed()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("forged", [b"HTTP/1.1 200 OK\r\n\r\n", b""])
def test_data_before_the_handshake_is_a_connect_error(
    loop: Callable[[], asyncio.AbstractEventLoop], forged: bytes
) -> None:
    """Anybody on the network could have sent it; an end before the handshake is one as well."""

    async def hostile(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(forged)
        writer.close()

    async def run() -> None:
        listener = await asyncio.start_server(hostile, "127.0.0.1", 0)
        port: int = listener.sockets[0].getsockname()[1]
        stream = await _asyncio_backend.Backend().connect_tcp("127.0.0.1", port)
        assert not await stream._protocol.wait_for_news()
        with pytest.raises(httpcore.ConnectError, match="before the TLS handshake"):
            await stream.start_tls(ssl.create_default_context(), "localhost")
        listener.close()
        await listener.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


@contextmanager
def tls_stream(authority: trustme.CA) -> Iterator[tuple[_sync_backend.Stream, ssl.SSLSocket]]:
    """A stream over TLS, and the server's end of its connection."""
    here, there = socket.socketpair()
    stream = _sync_backend.Stream(here, _sync_backend.Backend(), 20)
    with ThreadPoolExecutor(1) as threads, here:
        served = threads.submit(tls_context(authority).wrap_socket, there, server_side=True)
        stream.start_tls(ssl.create_default_context(), "localhost")
        stream.connected()
        with served.result() as server:
            yield stream, server


class _Reader(ResponseReader):
    """Records what it receives."""

    def __init__(self) -> None:
        super().__init__(None)
        self.received: list[bytes] = []

    def receive(self, data: memoryview) -> None:
        self.received.append(bytes(data))

    def end(self) -> None:
        self.received.append(b"the end")


@pytest.mark.usefixtures("trusted")
def test_one_read_takes_all_available_tls_records(authority: trustme.CA) -> None:
    """Until no more are available, or the connection ends without a farewell."""
    reader = _Reader()
    with tls_stream(authority) as (stream, server):
        for letter in (b"a", b"b"):
            server.sendall(letter * 20_000)
        stream.receive(reader)
        server.sendall(b"c")
        server.close()
        for _ in range(2):
            stream.receive(reader)
    assert reader.received == [b"a" * 20_000 + b"b" * 20_000, b"c", b"the end"]


@pytest.mark.usefixtures("trusted")
def test_the_next_read_raises_an_error_that_follows_data(authority: trustme.CA) -> None:
    """The response gets the data before an invalid record first."""
    reader = _Reader()
    with tls_stream(authority) as (stream, server):
        server.sendall(b"a")
        os.write(server.fileno(), b"not a record")
        stream.receive(reader)
        assert reader.received == [b"a"]
        with pytest.raises(httpcore.ReadError, match="SSL"):
            stream.receive(reader)


def test_tls_in_tls_ends_at_the_deadline() -> None:
    """Whatever TLS itself waits for; the proxy's socket is shut down if the call is aborted."""

    class Silent(socket.socket):
        sent = 0

        def send(self, data: Any, *_: Any) -> int:
            self.sent += len(data)
            return len(data)

    here, there = socket.socketpair()
    silent = Silent(fileno=here.detach())
    stream = _sync_backend.Stream(silent, _sync_backend.Backend(), 60)
    stream._socket = _sync_backend._TLS(
        silent, stream._backend, ssl.create_default_context(), "proxy"
    )
    with silent, there:
        _sync_backend.begin_attempt(0.05)
        try:
            with pytest.raises(httpcore.ConnectTimeout):
                stream.start_tls(ssl.create_default_context(), "localhost")
        finally:
            _sync_backend.end_attempt(None)
    assert silent.sent > 0
    assert stream._shut_down is silent


@pytest.mark.parametrize(
    ("act", "has_unread"),
    [
        (lambda *_: None, False),
        (lambda _, server: server.sendall(b"H"), True),
        (lambda _, server: server.close(), True),
        (lambda _, server: os.write(server.fileno(), b"not a record"), True),
        (lambda stream, server: (server.sendall(b"HH"), stream._socket.recv(1)), True),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_unread_data_in_the_tls_layer_is_noticed(
    authority: trustme.CA, act: Callable[..., object], *, has_unread: bool
) -> None:
    """The socket may be empty while TLS holds a second response that the next request would read.

    Session tickets, which follow the handshake, do not count.
    """
    with tls_stream(authority) as (stream, server):
        act(stream, server)
        assert stream._has_unread() == has_unread


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
@pytest.mark.parametrize(
    ("variable", "file"),
    [
        ("SSL_CERT_FILE", "missing.pem"),
        ("SSL_CERT_FILE", "empty.pem"),
        ("SSL_CERT_FILE", "."),
        ("SSLKEYLOGFILE", "missing/log"),
    ],
)
def test_an_unusable_tls_file_is_an_input_error_that_names_it(
    make: Any, variable: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The constructor raises it, with the environment variable that names the file."""
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv(variable, str(tmp_path / file))
    words = "no such file" if file == "missing.pem" else "TLS cannot use the files"
    with pytest.raises(ore.InputError, match=words) as caught:
        make(KEY)
    assert f"{variable}={tmp_path / file}" in str(caught.value)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.usefixtures("trusted")
def test_a_response_that_nobody_asked_for_is_never_the_next_one(
    loop: Any, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, *, secure: bool
) -> None:
    """It arrives while a tool, which sees responses before the client, waits for something."""
    may_go_on, has_sent = threading.Event(), threading.Event()

    def serve(service: SocketService, connection: Any) -> None:
        response = correct_response(connection)
        if service.opened == 1:
            connection.sendall(response)
            may_go_on.wait()
            connection.sendall(response_to(["unasked"]))
            has_sent.set()
        else:
            connection.sendall(response)
        correct_response(connection)

    send = httpx.AsyncClient.send

    async def slow(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> Any:
        response = await send(self, request, **options)
        may_go_on.set()
        has_sent.wait()
        for _ in range(99):  # turns in which the event loop reads all that has arrived
            await asyncio.sleep(0)
        return response

    monkeypatch.setattr(httpx.AsyncClient, "send", slow)

    async def embed_twice(url: str) -> None:
        async with ore.AsyncClient(KEY, base_url=url, model="m") as client:
            for text in ("first", "second"):
                assert np.array_equal((await client.embed([text])).vectors, expected([text]))

    with (
        socket_service(serve, authority if secure else None) as service,
        asyncio.Runner(loop_factory=loop) as runner,
    ):
        runner.run(embed_twice(service.url))
        assert service.opened == 2


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"][: len(LOOPS)])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.usefixtures("trusted")
def test_a_large_response_arrives_though_the_service_closes_after_it(
    kind: str, authority: trustme.CA, *, chunked: bool
) -> None:
    """In chunks, or up to the end of the connection."""

    def serve(_: SocketService, connection: Any) -> None:
        body = correct_response(connection).partition(b"\r\n\r\n")[2] + b" " * 1_000_000
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
        if chunked:
            head += b"Transfer-Encoding: chunked\r\n"
            pieces = [body[start : start + 4096] for start in range(0, len(body), 4096)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        connection.sendall(head + b"\r\n" + body)

    with socket_service(serve, authority) as service:
        assert np.array_equal(embed_over(kind, service.url, ["a"]).vectors, expected(["a"]))
