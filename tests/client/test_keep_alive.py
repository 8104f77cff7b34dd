"""Reused connections: unexpected data on them, and what their end means for a request."""

import asyncio
import socket
import ssl
import struct
import threading
from contextlib import suppress
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import openrouter_embeddings as ore
import pytest
import trustme
from openrouter_embeddings.testing import JumpingClock
from openrouter_embeddings.transport import _stream_state

from tests.socket_service import (
    Handler,
    SocketService,
    correct_response,
    one_after_another,
    socket_service,
)
from tests.support import KEY, both, client_over, every, expected

pytestmark = pytest.mark.usefixtures("sometimes_traced")

secure_or_not = pytest.mark.parametrize("secure", [False, True])


def close_notify(connection: Any) -> None:
    """End TLS, but keep the TCP connection open."""
    connection.settimeout(0)
    with suppress(ssl.SSLWantReadError):
        connection.unwrap()
    connection.settimeout(None)


@every
@pytest.mark.parametrize(
    ("unexpected", "secure"),
    [("answer", False), ("answer", True), ("end", False), ("end", True), ("notify", True)],
)
@pytest.mark.usefixtures("trusted")
def test_unexpected_data_on_an_idle_connection_prevents_reuse(
    kind: str, authority: trustme.CA, unexpected: str, *, secure: bool
) -> None:
    """No request is sent on it and none is lost, even if the caller blocks the event loop."""
    now, done = threading.Event(), threading.Event()

    def handle(service: SocketService, connection: Any) -> None:
        response = correct_response(connection)
        connection.sendall(response)
        if service.opened == 1:
            now.wait(20)
            if unexpected == "answer":
                connection.sendall(response)
            elif unexpected == "notify":
                close_notify(connection)
            else:
                connection.close()
            done.set()
        while unexpected == "answer":
            connection.sendall(correct_response(connection))

    def between() -> None:
        now.set()
        assert done.wait(20)

    with socket_service(handle, authority if secure else None) as service:
        results = one_after_another(kind, service.url, ["first", "second"], between)
        assert service.opened == 2
    for result, text in zip(results, ["first", "second"], strict=True):
        assert np.array_equal(result.vectors, expected([text]))
        assert result.usage.unanswered == 0


@every
@pytest.mark.usefixtures("trusted")
def test_an_idle_connection_is_reused_over_tls(kind: str, authority: trustme.CA) -> None:
    """Records of TLS itself, such as session tickets, do not prevent it."""

    def handle(_: SocketService, connection: Any) -> None:
        while True:
            connection.sendall(correct_response(connection))

    with socket_service(handle, authority) as service:
        results = one_after_another(kind, service.url, [*"abcd"], int)
        assert service.opened == 1
    assert np.array_equal(np.vstack([r.vectors for r in results]), expected([*"abcd"]))


class Time:
    """A clock that a service moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(_stream_state, "time", SimpleNamespace(monotonic=lambda: self.now))


def dying(time: Time, dies_after: float, *, reset: bool) -> Handler:
    """Serves one request on each of the first eight connections, and ends them at the next."""
    together = threading.Barrier(8)

    def handle(service: SocketService, connection: Any) -> None:
        dies = service.opened <= 8
        response = correct_response(connection)
        if dies:
            together.wait(20)
            time.now += 0.1  # each of the eight does
            together.wait(20)
        connection.sendall(response)
        if dies:
            if reset:  # closing sends RST
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            correct_response(connection)
            time.now += dies_after
            return
        while True:
            connection.sendall(correct_response(connection))

    return handle


def eight_at_once(kind: str, url: str, then: dict[str, Any], **options: Any) -> ore.EmbeddingResult:
    """Let a client open eight connections, which then die, and make one more call."""
    with client_over(kind, url, batch_size=1, **options) as client:
        client.embed([*"abcdefgh"], concurrency=8)
        result: ore.EmbeddingResult = client.embed("next", **then)
    return result


@every
@secure_or_not
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("dies_after", "unanswered"), [(0.0, 0), (0.1, 0), (0.3, 1)])
@pytest.mark.usefixtures("trusted")
def test_a_dead_connection_uses_up_no_retry(
    kind: str,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    dies_after: float,
    unanswered: int,
    *,
    secure: bool,
    reset: bool,
) -> None:
    """The request is sent again at once, and counts as billed if there was time to serve it.

    The fastest response took 0.8 seconds.
    """
    handle = dying(Time(monkeypatch), dies_after, reset=reset)
    with socket_service(handle, authority if secure else None) as service:
        result = eight_at_once(kind, service.url, {})
        assert service.opened == 9
    assert np.array_equal(result.vectors, expected(["next"]))
    assert (result.usage.retries, result.usage.unanswered) == (0, unanswered)


@every
def test_a_connection_that_ends_after_a_second_fails_the_attempt(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was alive when the request was sent, so the service may have billed it."""
    with (
        socket_service(dying(Time(monkeypatch), 1.5, reset=False)) as service,
        pytest.raises(ore.APIConnectionError) as caught,
    ):
        eight_at_once(kind, service.url, {})
    assert caught.value.maybe_billed
    assert caught.value.usage is not None
    assert caught.value.usage.unanswered == 1


@every
@pytest.mark.parametrize("dies_after", [0.5, 1.5])
def test_a_retry_does_not_reuse_the_other_idle_connections(
    kind: str, monkeypatch: pytest.MonkeyPatch, clock: JumpingClock, dies_after: float
) -> None:
    """They may also be dead. With a budget, a request that may be billed is retried, not resent."""
    budget = {"budget": Decimal(1)} if dies_after < 1 else {}
    with socket_service(dying(Time(monkeypatch), dies_after, reset=True)) as service:
        result = eight_at_once(kind, service.url, budget, max_retries=1)
        assert service.opened == 9
    assert np.array_equal(result.vectors, expected(["next"]))
    assert (result.usage.retries, result.usage.unanswered) == (1, 1)


@both
def test_closing_the_client_does_not_resend_a_request(kind: str) -> None:
    """The reused connection was not dead, the client closed it."""
    received = threading.Event()

    def handle(_: SocketService, connection: Any) -> None:
        connection.sendall(correct_response(connection))
        response = correct_response(connection)
        received.set()
        connection.recv(1)
        connection.sendall(response)

    async def run(url: str) -> None:
        client = ore.AsyncClient(KEY, base_url=url, model="m", max_retries=0)
        await client.embed("a")
        call = asyncio.create_task(client.embed("b"))
        await asyncio.to_thread(received.wait, 20)
        await client.close()
        await call

    def run_blocking(url: str) -> None:
        client = ore.Client(KEY, base_url=url, model="m", max_retries=0)
        client.embed("a")

        def close() -> None:
            received.wait(20)
            client.close()

        closing = threading.Thread(target=close)
        closing.start()
        try:
            client.embed("b")
        finally:
            closing.join()

    with socket_service(handle) as service:
        with pytest.raises(ore.APIConnectionError) as caught:
            asyncio.run(run(service.url)) if kind == "async" else run_blocking(service.url)
        assert service.opened == 1
    assert caught.value.maybe_billed
