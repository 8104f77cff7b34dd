"""Connections: how many are opened, when they are reused, and when they are closed."""

import asyncio
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.local.faults import Faults
from openrouter_embeddings.transport import _asyncio_backend, _connections

from stress.servers import served
from tests.http_service import HTTPService
from tests.support import KEY, MODEL, Kind, answer, both, client_over, expected

pytestmark = pytest.mark.usefixtures("sometimes_traced")


def embed_each(
    kind: Kind, url: str, *calls: dict[str, Any], after_each: Callable[[], object] = int
) -> None:
    """Make these calls with one client and check the vectors; `after_each` runs after each call."""
    with client_over(kind, url, batch_size=1) as client:
        for call in calls:
            assert np.array_equal(client.embed([*"abcd"], **call).vectors, expected([*"abcd"]))
            after_each()


@both
def test_connections_are_reused(kind: Kind, counting: HTTPService) -> None:
    """Sequential requests share one, four concurrent ones need four; the client closes them all."""
    embed_each(kind, counting.url, {"concurrency": 1}, {"concurrency": 1})
    assert counting.opened == 1
    assert counting.gone.acquire(timeout=20)
    both_ways = {"model": "together", "concurrency": 4}, {"concurrency": 1}
    embed_each(kind, counting.url, *both_ways, both_ways[0])
    assert counting.opened == 5
    for _ in range(4):
        assert counting.gone.acquire(timeout=20)


@both
def test_a_connection_close_header_prevents_reuse(kind: Kind, counting: HTTPService) -> None:
    """Each response says that the service closes the connection."""
    embed_each(kind, counting.url, {"concurrency": 1, "model": "closing"}, {"concurrency": 1})
    assert counting.opened == 5


@both
def test_a_connection_closed_while_idle_is_not_reused(kind: Kind, counting: HTTPService) -> None:
    """The service closes it without notice, and no request is lost."""
    options: Any = {"base_url": counting.url, "model": "hanging up", "max_retries": 0}

    async def run() -> None:
        async with ore.AsyncClient(KEY, **options) as client:
            for _ in range(3):
                await client.embed("a")
                assert await asyncio.to_thread(counting.gone.acquire, timeout=20)

    if kind == "async":
        asyncio.run(run())
        return
    with ore.Client(KEY, **options) as client:
        for _ in range(3):
            client.embed("a")
            assert counting.gone.acquire(timeout=20)


def test_an_eof_counts_before_asyncio_reports_the_lost_connection() -> None:
    """Asyncio reports it some steps later; no request is sent in between."""
    here, there = socket.socketpair()
    here.setblocking(False)
    with here, there:
        backend = _asyncio_backend.Backend()
        protocol = _asyncio_backend._Protocol(backend)
        stream = _asyncio_backend.Stream(protocol, backend, here)
        assert not stream.has_unread()
        protocol.eof_received()
        assert stream.has_unread()


@both
def test_an_expired_idle_connection_is_closed(
    kind: Kind, counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request closes the connections that were idle for too long."""

    def expire() -> None:
        monkeypatch.setattr(_connections, "_KEEPALIVE_EXPIRY", -1.0)

    embed_each(
        kind, counting.url, {"model": "together", "concurrency": 4}, {"concurrency": 1},
        after_each=expire,
    )  # fmt: skip
    assert counting.opened == 8
    for _ in range(8):
        assert counting.gone.acquire(timeout=20)


def pool() -> _connections.Connections:
    """Connections to a service that does not exist."""
    url = httpx.URL("http://localhost/v1/embeddings")
    return _connections.Connections(url, Secret(KEY), trust_env=False)


def test_a_closed_pool_refuses_a_request() -> None:
    """A thread may be about to send one when another closes the client."""
    connections = pool()
    connections.close()
    with pytest.raises(ore.InputError, match="closed"), connections.post(b"", 1, bool, (), len):
        raise AssertionError


@both
def test_a_gzip_response_is_decompressed(kind: Kind, counting: HTTPService) -> None:
    """The client asks for an uncompressed response, which a server may ignore."""
    embed_each(kind, counting.url, {"model": "gzip"})


@both
def test_a_decompression_bomb_takes_no_memory(kind: Kind, counting: HTTPService) -> None:
    """The client stops after the first 2 MB of 300 KB that decompress to 300 MB."""
    tracemalloc.start()
    try:
        with pytest.raises(ore.ResponseError, match="the maximum for its inputs"):
            embed_each(kind, counting.url, {"model": "bomb"})
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


class _LoopService:
    """A service in the client's own event loop, so that a test can stop at every step."""

    def __init__(self) -> None:
        self.url = ""
        self.open = self.asked = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.idle.clear()
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.asked += 1
                asked = json.loads(await reader.readexactly(length))
                body = json.dumps(answer(asked["input"])).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                for at in range(0, len(body), 50):
                    writer.write(body[at : at + 50])
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.close()
        self.open -= 1
        if not self.open:
            self.idle.set()


@asynccontextmanager
async def loop_service() -> AsyncIterator[_LoopService]:
    """A running `_LoopService`."""
    service = _LoopService()
    async with await asyncio.start_server(service.talk, "127.0.0.1", 0) as listener:
        service.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield service


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("warm", [False, True])
async def test_the_client_works_after_a_cancel_at_any_step(*, warm: bool, cancels: int) -> None:
    """On a new or a reused connection; no connection stays open."""
    async with loop_service() as service:
        for steps in count():
            async with ore.AsyncClient(
                KEY, base_url=service.url, model=MODEL, max_retries=0
            ) as client:
                if warm:
                    await client.embed("before")
                call = asyncio.create_task(client.embed("cancelled"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if done := call.done():
                    assert steps > 5
                for _ in range(cancels):
                    call.cancel()
                    await asyncio.sleep(0)
                with suppress(asyncio.CancelledError):
                    await call
                for text in ("after", "and again"):
                    found = await client.embed(text, timeout=20)
                    assert np.array_equal(found.vectors, expected([text]))
            await asyncio.wait_for(service.idle.wait(), 20)  # or a connection leaks
            assert asyncio.all_tasks() == {asyncio.current_task()}
            if done:
                break


@pytest.mark.parametrize("warm", [False, True])
async def test_a_close_at_any_step_closes_every_connection(*, warm: bool) -> None:
    """Even a connection that is being made is closed, and its request ends."""
    async with loop_service() as service:
        for steps in count():
            client = ore.AsyncClient(KEY, base_url=service.url, model=MODEL, max_retries=0)
            if warm:
                await client.embed("before")
            call = asyncio.create_task(client.embed("a"))
            for _ in range(steps):
                await asyncio.sleep(0)
            done = call.done()
            await client.close()
            with suppress(ore.APIConnectionError, ore.InputError):
                assert np.array_equal((await call).vectors, expected(["a"]))
            await asyncio.wait_for(service.idle.wait(), 20)  # or a connection leaks
            if done:
                break


async def test_nothing_is_sent_after_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was just being made sends nothing, and the error is not billed."""
    async with loop_service() as service:
        client = ore.AsyncClient(KEY, base_url=service.url, model=MODEL, max_retries=0)

        async def connected(*arguments: Any, **options: Any) -> Any:
            stream = await connect(*arguments, **options)
            await client.close()
            return stream

        connect = _asyncio_backend.Backend.connect_tcp
        monkeypatch.setattr(_asyncio_backend.Backend, "connect_tcp", connected)
        with pytest.raises(ore.APIConnectionError, match="the client was closed") as raised:
            await client.embed("a")
        assert not raised.value.maybe_billed
        await asyncio.wait_for(service.idle.wait(), 20)
        assert service.asked == 0


async def test_a_cancel_while_expired_connections_are_closed_leaks_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever step the cancel hits, all connections are closed."""
    async with loop_service() as service:
        for steps in range(12):
            monkeypatch.setattr(_connections, "_KEEPALIVE_EXPIRY", 60.0)
            async with ore.AsyncClient(KEY, base_url=service.url, model=MODEL) as client:
                await client.embed([*"abcd"], batch_size=1, concurrency=4)
                assert service.open == 4
                monkeypatch.setattr(_connections, "_KEEPALIVE_EXPIRY", -1.0)
                call = asyncio.create_task(client.embed("cancelled"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                with suppress(asyncio.CancelledError):
                    await call
            await asyncio.wait_for(service.idle.wait(), 20)  # or a connection leaks


def test_head_and_body_of_a_small_request_are_sent_together() -> None:
    """One packet wakes the service once; a large body is not copied for that."""
    small, large = b"{}", bytes(2 << 20)
    (request,) = pool()._request(small, ())
    head, body = pool()._request(large, ())
    assert body is large
    assert head.replace(b"2097152", b"2") + small == request
    assert request.startswith(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n")
    assert request.endswith(
        b"\r\nContent-Length: 2\r\nAuthorization: Bearer %b\r\n\r\n{}" % KEY.encode()
    )


def test_an_address_of_an_unsupported_family_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next address is tried; if none works, the error says that nothing was sent."""

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
