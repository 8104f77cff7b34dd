"""`close`: it ends requests that wait or connect, and leaves no connection open."""

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client import _clock, _throttle
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service
from openrouter_embeddings.transport import _sync_backend

from tests.http_service import HTTPService
from tests.support import KEY, Kind, both

pytestmark = pytest.mark.usefixtures("sometimes_traced")


@both
@pytest.mark.parametrize("where", ["a backoff", "the queue"])
def test_close_wakes_waiting_requests(
    kind: Kind, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` ends requests in a backoff or in the queue, however long their Retry-After is."""
    monkeypatch.setattr(_clock, "clock", _clock.Clock())
    monkeypatch.setattr("stamina._config.CONFIG._testing", None)
    waits = threading.Event()
    service = Service(Fault("status", status=429, retry_after=200, requests=[0]))
    max_retries = 1 if where == "a backoff" else 0

    def noted(self: Any, *_: Any) -> None:
        learn(self, *_)
        waits.set()

    learn = _throttle._RequestQueue._update_limiter
    monkeypatch.setattr(_throttle._RequestQueue, "_update_limiter", noted)
    outcomes: list[Any] = []

    def ask(client: ore.Client) -> None:
        for _ in range(2):  # the second one waits in the queue
            with pytest.raises(ore.EmbeddingsError) as caught:
                client.embed("a")
            outcomes.append(caught.value)

    async def ask_async(client: ore.AsyncClient) -> None:
        for _ in range(2):
            with pytest.raises(ore.EmbeddingsError) as caught:
                await client.embed("a")
            outcomes.append(caught.value)

    async def run() -> None:
        async with service.async_client(max_retries=max_retries) as client:
            task = asyncio.create_task(ask_async(client))
            while not waits.is_set():  # noqa: ASYNC110 - nothing reports when one waits
                await asyncio.sleep(0)
            await client.close()
            async with asyncio.timeout(20):
                await task

    if kind == "async":
        asyncio.run(run())
    else:
        with service.client(max_retries=max_retries) as client:
            thread = threading.Thread(target=ask, args=[client], daemon=True)
            thread.start()
            waits.wait(20)
            client.close()
            thread.join(20)
    assert len(outcomes) == 2
    assert "close" in str(outcomes[1])


@contextmanager
def _unresponsive(*, accepts: bool) -> Iterator[str]:
    """A URL where no TLS handshake, or not even a TCP connection, succeeds."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        taken = [] if accepts else [socket.create_connection(listener.getsockname())]
        taken += [] if accepts else [socket.socket() for _ in range(3)]
        for line in taken[1:]:
            line.setblocking(False)
            line.connect_ex(listener.getsockname())
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            for line in taken:
                line.close()


@pytest.mark.parametrize("accepts", [True, False])
def test_close_aborts_requests_that_are_connecting(
    *, accepts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` aborts a TCP connection attempt and a TLS handshake."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    outcomes: list[Any] = []

    def ask(client: ore.Client) -> None:
        with pytest.raises(ore.APIConnectionError) as caught:
            client.embed("a")
        outcomes.append(caught.value)

    with _unresponsive(accepts=accepts) as url:
        client = ore.Client(KEY, base_url=url, model="m", max_retries=0)
        thread = threading.Thread(target=ask, args=[client], daemon=True)
        thread.start()
        while not any(attempt.sock for attempt in [*_sync_backend._attempts.values()]):
            os.sched_yield()
        client.close()
        thread.join(5)
        assert len(outcomes) == 1


def test_a_client_that_is_closed_in_a_second_loop_leaves_no_connection_open(
    counting: HTTPService,
) -> None:
    """The first loop made the connections and was closed without closing them."""
    client = ore.AsyncClient(KEY, base_url=counting.url, model="m")
    asyncio.run(client.embed("a"))
    asyncio.run(client.close())
    assert counting.gone.acquire(timeout=20)
    del client
    with pytest.warns(ResourceWarning, match="unclosed transport"):  # asyncio's own message
        gc.collect()
