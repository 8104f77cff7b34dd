"""Whoever waits, was forgotten or is closed meanwhile holds up nobody, and is told."""

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
from openrouter_embeddings.client import _throttle
from openrouter_embeddings.client._workers import Workers
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.testing import JumpingClock, Service
from openrouter_embeddings.transport import _sync_backend

from stress.servers import served
from tests.http_service import HTTPService
from tests.support import KEY, KINDS, Kind

both = pytest.mark.parametrize("kind", KINDS)


class _HonestClock(JumpingClock):
    """As a real one, it does not wait for those that were called already; it counts the looks."""

    def wait(self, called: threading.Event, seconds: float) -> None:
        super().wait(called, 0 if called.is_set() else seconds)

    async def wait_async(self, called: asyncio.Event, seconds: float) -> None:
        super()._jump(0 if called.is_set() else seconds)


@both
def test_waiting_for_time_is_waiting(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wakes himself again and again: that would hold up asyncio's loop, or burn a core."""
    clock = _HonestClock()
    monkeypatch.setattr(_throttle, "clock", clock)
    service = Service(Fault("status", status=429, retry_after=4, requests=[0]))

    async def run() -> None:
        async with service.async_client() as client:
            await asyncio.gather(*(client.embed(text) for text in "abc"))

    if kind == "async":
        asyncio.run(run())
    else:
        with service.client() as client:
            client.embed([*"abc"], batch_size=1, concurrency=1)
    assert sum(clock.waited) >= 4
    assert len(clock.waited) < 20


def test_a_forgotten_stream_is_collected_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a thread of the same client is in the middle of the queue."""

    class Forgetful:
        """Holds itself, and so lives until the collector comes by."""

        def __init__(self, client: ore.Client) -> None:
            self.me = self
            self.parts = client.embed_stream(["x"] * 40, batch_size=1, concurrency=2)
            next(self.parts)

    call = _throttle._RequestQueue.call
    outcomes: list[Any] = []

    def collect(queue: Any) -> None:
        gc.collect()
        call(queue)

    def work() -> None:
        with Service().client() as client:
            gc.disable()
            try:
                Forgetful(client)
                monkeypatch.setattr(_throttle._RequestQueue, "call", collect)
                outcomes.append(client.embed("a").vectors.shape)
            finally:
                gc.enable()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert outcomes == [(1, 256)]


@both
@pytest.mark.parametrize("where", ["a back-off", "the queue"])
def test_a_close_wakes_those_who_wait(
    kind: Kind, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a Retry-After has asked of them."""
    monkeypatch.setattr(_throttle, "clock", _throttle.Clock())
    monkeypatch.setattr("stamina._config.CONFIG._testing", None)
    waits = threading.Event()
    fault = Fault("status", status=429, retry_after=200, requests=[0])
    service = Service(fault)
    options: Any = {"max_retries": 1 if where == "a back-off" else 0}

    def noted(self: Any, *_: Any) -> None:
        learn(self, *_)
        waits.set()

    learn = _throttle._RequestQueue._learn
    monkeypatch.setattr(_throttle._RequestQueue, "_learn", noted)
    outcomes: list[Any] = []

    def ask(client: ore.Client) -> None:
        for _ in range(2):  # the second stands in the queue
            with pytest.raises(ore.EmbeddingsError) as caught:
                client.embed("a", **options)
            outcomes.append(caught.value)

    async def ask_async(client: ore.AsyncClient) -> None:
        for _ in range(2):
            with pytest.raises(ore.EmbeddingsError) as caught:
                await client.embed("a", **options)
            outcomes.append(caught.value)

    async def run() -> None:
        async with service.async_client() as client:
            task = asyncio.create_task(ask_async(client))
            while not waits.is_set():  # noqa: ASYNC110 - nothing tells when one waits
                await asyncio.sleep(0)
            await client.close()
            async with asyncio.timeout(20):
                await task

    if kind == "async":
        asyncio.run(run())
    else:
        with service.client() as client:
            thread = threading.Thread(target=ask, args=[client], daemon=True)
            thread.start()
            waits.wait(20)
            client.close()
            thread.join(20)
    assert len(outcomes) == 2
    assert "close" in str(outcomes[1])


@contextmanager
def _deaf(*, accepts: bool) -> Iterator[str]:
    """An address where nobody shakes hands, or nobody even answers the connection."""
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
def test_a_close_cuts_what_is_only_connecting(
    *, accepts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or shaking hands."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    outcomes: list[Any] = []

    def ask(client: ore.Client) -> None:
        with pytest.raises(ore.APIConnectionError) as caught:
            client.embed("a")
        outcomes.append(caught.value)

    with _deaf(accepts=accepts) as url:
        client = ore.Client(KEY, base_url=url, model="m", max_retries=0)
        thread = threading.Thread(target=ask, args=[client], daemon=True)
        thread.start()
        while not any(attempt.sock for attempt in [*_sync_backend._attempts.values()]):
            os.sched_yield()
        client.close()
        thread.join(5)
        assert len(outcomes) == 1


def test_a_client_that_is_closed_in_a_second_loop_leaves_no_connection_open() -> None:
    """The first loop, which made them, is closed and closes none."""
    with HTTPService() as server:
        server.start()
        try:
            client = ore.AsyncClient(KEY, base_url=server.url, model="m")
            asyncio.run(client.embed("a"))
            asyncio.run(client.close())
            assert server.gone.acquire(timeout=20)
        finally:
            server.shutdown()
        del client
        with pytest.warns(ResourceWarning, match="unclosed transport"):  # asyncio's own word for it
            gc.collect()


def test_threads_that_cannot_be_started_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not waited for."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers = Workers[int](2)
    with pytest.raises(RuntimeError, match="can't start"):
        workers.submit(int)
    assert workers.join() == []


def test_a_thread_whose_start_was_interrupted_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the start of a thread and its return leaves no thread behind."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    workers = Workers[int](2)
    with pytest.raises(KeyboardInterrupt):
        workers.submit(int)
    workers.stop()
    assert workers.join(30) == []
    assert "openrouter-embeddings" not in [thread.name for thread in threading.enumerate()]


def test_the_connections_of_another_process_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """However one came by them."""
    with HTTPService() as server:
        server.start()
        try:
            client = ore.Client(KEY, base_url=server.url, model="m")
            monkeypatch.setattr(os, "getpid", lambda: 1)
            with pytest.raises(ore.InputError, match="another process"):
                client._transport.send(b"{}", 5, None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        finally:
            server.shutdown()


def test_an_address_of_a_family_that_is_missing_here_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next one may answer; and where none can be had, nothing was sent."""

    class OfIPv4(socket.socket):
        def __init__(self, family: int = -1, *arguments: Any, **more: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *arguments, **more)

    with served(Faults([])) as url:
        port = int(url.split(":")[2].split("/")[0])
        found: list[Any] = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found])
        monkeypatch.setattr(socket, "socket", OfIPv4)
        options: Any = {"model": "local/hash", "dimensions": 4, "max_retries": 0}
        with ore.Client(KEY, base_url=f"http://localhost:{port}/api/v1", **options) as client:
            assert len(client.embed("a")) == 1
        del found[1]
        with ore.Client(KEY, base_url=f"http://localhost:{port}/api/v1", **options) as client:
            with pytest.raises(ore.APIConnectionError, match="cannot connect") as raised:
                client.embed("a")
            assert raised.value.usage is None
