"""Over TLS, as with the service itself."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpcore
import numpy as np
import openrouter_embeddings as ore
import pytest
import uvloop
from openrouter_embeddings.transport import _asyncio_backend, _sync_backend

from tests.support import KEY, KINDS, LARGE, MUCH, embed_over, expected

every = pytest.mark.parametrize("kind", [*KINDS, "uvloop"])


@every
@pytest.mark.usefixtures("trusted")
def test_vectors_come_over_tls(kind: str, url: str) -> None:
    """Many requests over several connections, which are used again and closed without a warning."""
    texts = ["x" * (n % 900 + 1) for n in range(400)]
    assert np.array_equal(embed_over(kind, url, texts).vectors, expected(texts))


@every
def test_a_certificate_that_nobody_vouches_for_is_refused(kind: str, url: str) -> None:
    """Before the key is sent."""
    with pytest.raises(ore.APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        embed_over(kind, url, ["a"])


@every
@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name_is_refused(kind: str, url: str) -> None:
    """Whoever signed it."""
    with pytest.raises(ore.APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        embed_over(kind, url.replace("localhost", "127.0.0.1"), ["a"])


@every
@pytest.mark.usefixtures("trusted")
def test_requests_go_at_the_same_time_on_connections_of_their_own(kind: str, url: str) -> None:
    """The service answers only when four are there, again and again."""
    texts = ["x" * (n + 1) for n in range(12)]
    result = embed_over(kind, url, texts, model="together", batch_size=1, concurrency=4)
    assert np.array_equal(result.vectors, expected(texts))


@every
@pytest.mark.usefixtures("trusted")
def test_large_requests_and_answers_pass(kind: str, url: str) -> None:
    """Larger than any buffer on the way, in both directions."""
    texts = ["x" * LARGE, "y"]
    result = embed_over(kind, url, texts)
    assert np.array_equal(result.vectors, expected(texts))
    assert len(result.served[0].body["much"]) == MUCH


def test_a_handshake_that_gives_nothing_is_an_error() -> None:
    """Asyncio gives None where the connection ends just when the handshake is done."""

    async def run() -> None:
        async def nothing(*_: Any, **__: Any) -> None:
            """As when it has ended."""

        loop: Any = asyncio.get_running_loop()
        loop.start_tls = nothing
        listener = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
        port: int = listener.sockets[0].getsockname()[1]
        stream = await _asyncio_backend.Backend().connect_tcp("127.0.0.1", port)
        with pytest.raises(httpcore.ConnectError):
            await stream.start_tls(ssl.create_default_context())
        listener.close()
        await listener.wait_closed()

    asyncio.run(run())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("forged", [b"HTTP/1.1 200 OK\r\n\r\n", b""])
def test_what_comes_before_the_handshake_is_no_answer(
    loop: Callable[[], asyncio.AbstractEventLoop], forged: bytes
) -> None:
    """Whoever is on the line could have sent it; an end that comes so early is an error at once."""

    async def hostile(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(forged)
        writer.close()

    async def run() -> None:
        listener = await asyncio.start_server(hostile, "127.0.0.1", 0)
        port: int = listener.sockets[0].getsockname()[1]
        stream: Any = await _asyncio_backend.Backend().connect_tcp("127.0.0.1", port)
        await stream._protocol.wait_readable()
        with pytest.raises(httpcore.ConnectError, match="before the TLS handshake"):
            await stream.start_tls(ssl.create_default_context())
        listener.close()
        await listener.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


class _Records(ssl.SSLSocket):
    """Gives what it is told to, one thing for every call."""

    def __init__(self, *gives: bytes | OSError) -> None:
        self.gives = list(gives)

    def settimeout(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As it is."""

    def recv(self, *_: Any) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.read()

    def read(self, *_: Any) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        given = self.gives.pop(0)
        if isinstance(given, OSError):
            raise given
        return given


class _Line(httpcore.NetworkStream):
    def __init__(self, records: _Records) -> None:
        self.records = records

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.records.recv()

    def get_extra_info(self, info: str) -> Any:
        return self.records if info in ("socket", "ssl_object") else None


def test_a_reset_behind_what_came_is_the_next_reads() -> None:
    """It is not taken for an end, and what came before it is not lost."""
    reset = ConnectionResetError("reset by peer")
    stream = _sync_backend._Stream(_Line(_Records(b"a", b"b", reset)))
    assert stream.read(1) == b"ab"
    with pytest.raises(httpcore.ReadError, match="reset by peer"):
        stream.read(1)


def test_all_records_at_hand_come_in_one_read() -> None:
    """Until there are no more, or the connection ends."""
    stream = _sync_backend._Stream(
        _Line(_Records(b"a", b"b", ssl.SSLWantReadError(), b"c", b"", b""))
    )
    assert [stream.read(1) for _ in range(3)] == [b"ab", b"c", b""]


@pytest.mark.parametrize("tls_in_tls", [False, True])
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
    read: bytes | OSError, *, has_unread: bool, tls_in_tls: bool
) -> None:
    """The socket is empty, but TLS may hold a second response that the next request would read."""
    stream = _sync_backend._Stream(_Line(_Records(read)), tls_in_tls=tls_in_tls)
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
def test_a_file_for_tls_that_cannot_be_used_is_named(
    make: Any, variable: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the client is made, as an error of ours, with the variable that names the file."""
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv(variable, str(tmp_path / file))
    words = "no such file" if file == "missing.pem" else "TLS cannot use the files"
    with pytest.raises(ore.InputError, match=words) as caught:
        make(KEY)
    assert f"{variable}={tmp_path / file}" in str(caught.value)
