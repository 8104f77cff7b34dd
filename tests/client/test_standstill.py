"""Processes that stand still: stopped, frozen, asleep, or with a blocked event loop."""

import asyncio
import json
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.transport import (
    _asyncio_backend,
    _connections,
    _stream_state,
    _sync_backend,
)

from tests.http_service import HTTPService
from tests.socket_service import SocketService, correct_response, socket_service
from tests.support import KEY, Kind, both, client_over, expected


class Standstill:
    """Monotonic clocks, of threads and of event loops, that a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._passed = 0.0
        monkeypatch.setattr(_sync_backend, "time", SimpleNamespace(monotonic=self.time))

    def time(self) -> float:
        """Seconds, of which some have passed unnoticed."""
        return time.monotonic() + self._passed

    def lasts(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds

    def embed(self, kind: Kind, url: str, **options: Any) -> ore.EmbeddingResult:
        """One call with these clocks."""
        settings: Any = {"base_url": url, "model": "m", "timeout": 30, "max_retries": 0, **options}
        if kind == "sync":
            with ore.Client(KEY, **settings) as client:
                return client.embed("a")

        async def run() -> ore.EmbeddingResult:
            loop: Any = asyncio.get_running_loop()
            loop.time = self.time
            async with ore.AsyncClient(KEY, **settings) as client:
                return await client.embed("a")

        return asyncio.run(run())


@pytest.fixture
def standstill(monkeypatch: pytest.MonkeyPatch) -> Standstill:
    """The clocks of this test."""
    return Standstill(monkeypatch)


@both
@pytest.mark.parametrize("before", [0, 200])
@pytest.mark.parametrize("status", [200, 429])
def test_a_response_that_arrived_during_a_standstill_is_used(
    kind: Kind, standstill: Standstill, before: int, status: int
) -> None:
    """Its timeout has passed when the process continues, but the service has billed it."""

    def handle(service: SocketService, connection: socket.socket) -> None:
        response = correct_response(connection).replace(b"200", b"%d" % status, 1)
        connection.sendall(response[:before])
        standstill.lasts(100)
        connection.sendall(response[before:])

    with socket_service(handle) as service:
        if status == 429:
            with pytest.raises(ore.RateLimitError):
                standstill.embed(kind, service.url)
        else:
            result = standstill.embed(kind, service.url)
            assert np.array_equal(result.vectors, expected("a"))
            assert result.usage.unanswered == 0
        assert service.opened == 1


def test_a_response_that_arrived_through_your_http_client_is_used(standstill: Standstill) -> None:
    """The body comes in several chunks, and the time is up after the first."""

    def body() -> Any:
        content = json.dumps(
            {
                "data": [{"index": 0, "embedding": [1.0, 2.0]}],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        ).encode()
        standstill.lasts(100)
        yield content[:10]
        yield content[10:]

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body()))
    with httpx.Client(transport=transport) as http:
        result = standstill.embed("sync", "https://127.0.0.1/v1", http_client=http)
    assert np.array_equal(result.vectors, np.array([[1, 2]], np.float32))


@both
def test_a_response_that_stops_after_a_standstill_times_out(
    kind: Kind, standstill: Standstill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extension ends."""
    for backend in (_sync_backend, _asyncio_backend):
        monkeypatch.setattr(backend, "extension", lambda late: 0.05 if late > 50 else 0.0)
    ended = threading.Event()

    def handle(service: SocketService, connection: socket.socket) -> None:
        response = correct_response(connection)
        standstill.lasts(100)
        connection.sendall(response[:-1])
        ended.wait(20)

    with socket_service(handle) as service, pytest.raises(ore.APITimeoutError):
        standstill.embed(kind, service.url)
    ended.set()


def test_only_a_late_timeout_is_extended() -> None:
    """Half a second is too little for a standstill."""
    assert _stream_state.extension(0.5) == 0
    assert 0 < _stream_state.extension(1.5) <= 1


@both
def test_a_connection_is_not_reused_after_the_monotonic_clock_stood_still(
    kind: Kind, counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that slept, only the wall clock tells how long a connection was idle."""
    wall = SimpleNamespace(now=0.0)
    clocks = SimpleNamespace(monotonic=lambda: 0.0, time=lambda: wall.now)
    monkeypatch.setattr(_connections, "time", clocks)
    with client_over(kind, counting.url) as client:
        client.embed("a")
        client.embed("b")
        assert counting.opened == 1
        wall.now += 60
        client.embed("c")
        assert counting.opened == 2
