"""Requests over TLS, as to the service itself."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpcore
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.transport import _asyncio_backend, _sync_backend
from openrouter_embeddings.transport._response_reader import ResponseReader

from tests.support import KEY, LARGE, LOOPS, MUCH, embed_over, everywhere, expected

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


class _Records(ssl.SSLSocket):
    """Receives or raises the next of these at each call."""

    def __init__(self, *records: bytes | OSError) -> None:
        self.records = list(records)

    def settimeout(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Stay as it is."""

    def recv(self, *_: Any) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        record = self.records.pop(0)
        if isinstance(record, OSError):
            raise record
        return record

    def recv_into(self, buffer: Any, *_: Any) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        record = self.recv()
        buffer[: len(record)] = record
        return len(record)


def stream_of(*records: bytes | OSError) -> _sync_backend.Stream:
    """A stream that receives these."""
    return _sync_backend.Stream(_Records(*records), _sync_backend.Backend(), 1.0)


class _Reader(ResponseReader):
    """Records what it receives."""

    def __init__(self) -> None:
        super().__init__(None)
        self.received: list[bytes] = []

    def receive(self, data: memoryview) -> None:
        self.received.append(bytes(data))

    def end(self) -> None:
        self.received.append(b"the end")


def test_the_next_read_raises_a_reset_that_follows_data() -> None:
    """The response gets the data before the reset first."""
    reset = ConnectionResetError("reset by peer")
    stream, reader = stream_of(b"a", b"b", reset, reset), _Reader()
    stream.receive(reader)
    assert reader.received == [b"ab"]
    with pytest.raises(httpcore.ReadError, match="reset by peer"):
        stream.receive(reader)


def test_one_read_takes_all_available_tls_records() -> None:
    """Until no more are available, or the connection ends."""
    stream, reader = stream_of(b"a", b"b", ssl.SSLWantReadError(), b"c", b"", b""), _Reader()
    for _ in range(3):
        stream.receive(reader)
    assert reader.received == [b"ab", b"c", b"the end"]


def test_tls_in_tls_ends_at_the_deadline() -> None:
    """Whatever TLS itself waits for; the proxy's socket is shut down if the call is aborted."""

    class Silent(_Records):
        sent = 0

        def recv(self, *_: Any) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
            raise ssl.SSLWantReadError

        def send(self, data: Any, *_: Any) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
            self.sent += len(data)
            return len(data)

        def fileno(self) -> int:
            return here.fileno()

        def close(self) -> None:
            """Stay open."""

    here, there = socket.socketpair()
    silent = Silent()
    stream = _sync_backend.Stream(silent, _sync_backend.Backend(), 60)
    with here, there:
        _sync_backend.begin_attempt(0.05)
        try:
            with pytest.raises(httpcore.ConnectTimeout):
                stream.start_tls(ssl.create_default_context(), "localhost")
        finally:
            _sync_backend.end_attempt(None)
    assert silent.sent > 0
    assert stream._shut_down is silent


@pytest.mark.parametrize(
    ("read", "has_unread"),
    [
        (ssl.SSLWantReadError(), False),
        (b"H", True),
        (b"", True),
        (ssl.SSLError("bad record"), True),
        (ConnectionResetError(), True),
    ],
)
def test_unread_data_in_the_tls_layer_is_noticed(
    read: bytes | OSError, *, has_unread: bool
) -> None:
    """The socket is empty, but TLS may hold a second response that the next request would read."""
    assert stream_of(read)._has_unread() == has_unread


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
