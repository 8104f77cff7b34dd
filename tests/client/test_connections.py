"""Connections: how many, kept for how long, and what becomes of them at a cancel."""

import asyncio
import json
import socket
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, cast

import httpcore
import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.transport import _asyncio_backend, _connections, _write_buffer

from tests.http_service import HTTPService
from tests.support import KEY, KINDS, MODEL, Kind, answer, expected

both = pytest.mark.parametrize("kind", KINDS)


def calls(
    kind: Kind, url: str, *calls: dict[str, Any], meanwhile: Callable[[], object] = int
) -> None:
    """Calls of one client, one after the other, each with a right outcome; then `meanwhile`."""
    options: Any = {"base_url": url, "model": MODEL, "max_retries": 0, "batch_size": 1}
    texts = [*"abcd"]

    async def run() -> None:
        async with ore.AsyncClient(KEY, **options) as client:
            for call in calls:
                found = await client.embed(texts, **call)
                assert np.array_equal(found.vectors, expected(texts))
                meanwhile()

    if kind == "async":
        asyncio.run(run())
        return
    with ore.Client(KEY, **options) as client:
        for call in calls:
            assert np.array_equal(client.embed(texts, **call).vectors, expected(texts))
            meanwhile()


@both
def test_a_connection_is_used_again(kind: Kind, counting: HTTPService) -> None:
    """One after the other needs one, four at a time need four; all are closed with the client."""
    calls(kind, counting.url, {"concurrency": 1}, {"concurrency": 1})
    assert counting.opened == 1
    assert counting.gone.acquire(timeout=20)
    both_ways = {"model": "together", "concurrency": 4}, {"concurrency": 1}
    calls(kind, counting.url, *both_ways, both_ways[0])
    assert counting.opened == 5
    for _ in range(4):
        assert counting.gone.acquire(timeout=20)


@both
def test_a_connection_that_the_service_closes_is_not_used_again(
    kind: Kind, counting: HTTPService
) -> None:
    """It says so in its answer."""
    calls(kind, counting.url, {"concurrency": 1, "model": "closing"}, {"concurrency": 1})
    assert counting.opened == 5


@both
def test_a_connection_that_the_service_has_closed_is_not_used_again(
    kind: Kind, counting: HTTPService
) -> None:
    """Without a word, while it was idle: no request is lost on it."""
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


def test_an_end_counts_when_it_comes() -> None:
    """Asyncio says some steps later that the connection is lost; no request is sent in between."""
    here, there = socket.socketpair()
    here.setblocking(False)
    with here, there:
        protocol = _asyncio_backend._Protocol()
        stream = _asyncio_backend._Stream(
            cast("Any", None), protocol, _asyncio_backend.Backend(), here
        )
        assert not stream.get_extra_info("is_readable")
        protocol.eof_received()
        assert stream.get_extra_info("is_readable")


@both
def test_a_connection_that_nobody_needs_is_closed(
    kind: Kind, counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the client goes on: what was idle for too long is not kept for a peak to come."""

    def later() -> None:
        monkeypatch.setattr(_connections, "_KEPT", -1.0)

    calls(
        kind, counting.url, {"model": "together", "concurrency": 4}, {"concurrency": 1},
        meanwhile=later,
    )  # fmt: skip
    assert counting.opened == 8
    for _ in range(8):
        assert counting.gone.acquire(timeout=20)


def test_closed_connections_take_no_request() -> None:
    """Though a thread was about to send one."""
    connections = _connections.Connections(
        httpx.URL("http://localhost/v1"), Secret(KEY), trust_env=False
    )
    connections.close()
    with pytest.raises(ore.InputError, match="closed"), connections.post(b"", 1, bool):
        raise AssertionError


@both
def test_an_answer_compressed_against_our_wish_is_read(kind: Kind, counting: HTTPService) -> None:
    """The request says that it should not be."""
    calls(kind, counting.url, {"model": "gzip"})


@both
def test_a_decompression_bomb_takes_no_memory(kind: Kind, counting: HTTPService) -> None:
    """300 KB that inflate to 300 MB are given up after the first two."""
    tracemalloc.start()
    try:
        with pytest.raises(ore.ResponseError, match="the maximum for its inputs"):
            calls(kind, counting.url, {"model": "bomb"})
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


class _Loop:
    """A service in the client's own event loop, so that every step can be told apart."""

    def __init__(self) -> None:
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


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("warm", [False, True])
def test_a_cancel_at_any_step_leaves_a_client_that_works(*, warm: bool, cancels: int) -> None:
    """Whether the connection was there before or not; and no connection stays open."""

    async def run() -> None:
        service = _Loop()
        listener, url = await _listening(service)
        for steps in count():
            async with ore.AsyncClient(KEY, base_url=url, model=MODEL, max_retries=0) as client:
                if warm:
                    await client.embed("before")
                call = asyncio.create_task(client.embed("cancelled"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if done := call.done():
                    assert steps > 10
                for _ in range(cancels):
                    call.cancel()
                    await asyncio.sleep(0)
                with suppress(asyncio.CancelledError):
                    await call
                for text in ("after", "and again"):
                    found = await client.embed(text, timeout=20)
                    assert np.array_equal(found.vectors, expected([text]))
            await asyncio.wait_for(service.idle.wait(), 20)  # or a connection has leaked
            assert asyncio.all_tasks() == {asyncio.current_task()}
            if done:
                break
        listener.close()
        await listener.wait_closed()

    asyncio.run(run())


async def _listening(service: _Loop) -> tuple[asyncio.Server, str]:
    listener = await asyncio.start_server(service.talk, "127.0.0.1", 0)
    return listener, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("warm", [False, True])
def test_a_close_at_any_step_leaves_no_connection(*, warm: bool) -> None:
    """Not even the one that was being made, whose request has an outcome."""

    async def run() -> None:
        service = _Loop()
        listener, url = await _listening(service)
        for steps in count():
            client = ore.AsyncClient(KEY, base_url=url, model=MODEL, max_retries=0)
            if warm:
                await client.embed("before")
            call = asyncio.create_task(client.embed("a"))
            for _ in range(steps):
                await asyncio.sleep(0)
            done = call.done()
            await client.close()
            with suppress(ore.APIConnectionError, ore.InputError):
                assert np.array_equal((await call).vectors, expected(["a"]))
            await asyncio.wait_for(service.idle.wait(), 20)  # or a connection has survived
            if done:
                break
        listener.close()
        await listener.wait_closed()

    asyncio.run(run())


def test_nothing_is_sent_after_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the connection was being made then; the error says that nothing was."""

    async def run() -> None:
        service = _Loop()
        listener, url = await _listening(service)
        client = ore.AsyncClient(KEY, base_url=url, model=MODEL, max_retries=0)

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
        listener.close()
        await listener.wait_closed()

    asyncio.run(run())


def test_a_cancel_while_old_connections_are_closed_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At whatever step it comes."""

    async def run() -> None:
        service = _Loop()
        listener, url = await _listening(service)
        for steps in range(12):
            monkeypatch.setattr(_connections, "_KEPT", 60.0)
            async with ore.AsyncClient(KEY, base_url=url, model=MODEL) as client:
                await client.embed([*"abcd"], batch_size=1, concurrency=4)
                assert service.open == 4
                monkeypatch.setattr(_connections, "_KEPT", -1.0)
                call = asyncio.create_task(client.embed("cancelled"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                call.cancel()
                with suppress(asyncio.CancelledError):
                    await call
            await asyncio.wait_for(service.idle.wait(), 20)  # or one was lost
        listener.close()
        await listener.wait_closed()

    asyncio.run(run())


@both
def test_a_connection_that_was_closed_when_it_was_taken_is_an_error(
    kind: Kind, counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may close the client just then; the error says that nothing was sent."""

    def taken(*_: Any) -> None:
        raise httpcore.ConnectionNotAvailable

    monkeypatch.setattr(_connections._Connections, "_request", taken)
    with pytest.raises(ore.APIConnectionError, match="no connection to") as raised:
        calls(kind, counting.url, {})
    assert not raised.value.maybe_billed


@both
def test_a_request_is_sent_at_once(
    kind: Kind, counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head and body in one piece, while that is worth it: one packet wakes the service once."""
    sent: list[bytes] = []
    take = _write_buffer.Writes.take

    def noted(self: _write_buffer.Writes, buffer: bytes) -> tuple[bytes, ...]:
        sent.extend(pieces := take(self, buffer))
        return pieces

    monkeypatch.setattr(_write_buffer.Writes, "take", noted)
    calls(kind, counting.url, {"concurrency": 1})
    assert [piece[:5] for piece in sent] == [b"POST "] * 4
    assert all(piece.endswith(b"}") for piece in sent)


def test_a_large_body_follows_its_head() -> None:
    """It is not copied; and a head without a body goes out when that is known."""
    writes, large = _write_buffer.Writes(), bytes(2 << 20)
    assert writes.take(b"head") == ()
    head, body = writes.take(large)
    assert head == b"head"
    assert body is large
    assert writes.take(b"") == ()
    assert writes.take(b"CONNECT") == ()
    assert writes.take(b"") == (b"CONNECT",)
