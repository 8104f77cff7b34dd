"""Clients in forked processes: they make their own connections and leave the parent's alone."""

import asyncio
import gc
import math
import multiprocessing
import os
import threading
from functools import partial
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client import _base
from openrouter_embeddings.core.streaming import StreamDecoder

from tests.http_service import HTTPService
from tests.support import KEY, Kind, Service, both, expected, held_by_another, in_a_fork, in_threads

pytestmark = [
    pytest.mark.usefixtures("sometimes_traced"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
MANY: Any = {"batch_size": 1, "concurrency": 2}


def right(result: ore.EmbeddingResult, texts: list[str]) -> bool:
    """Whether these are the vectors of these texts."""
    return np.array_equal(result.vectors, expected(texts))


def test_a_client_works_in_a_fork_and_in_its_parent(counting: HTTPService) -> None:
    """The child opens its own connection, and the parent keeps using its own."""
    with ore.Client(KEY, base_url=counting.url, model="m") as client:
        client.embed("warm")
        for _ in range(2):
            assert in_a_fork(lambda: right(client.embed([*"ab"], **MANY), [*"ab"])) == 0
            opened = counting.opened
            assert right(client.embed("c"), ["c"])
            assert counting.opened == opened


def test_a_client_works_in_a_fork_of_a_fork(counting: HTTPService) -> None:
    """Each process opens its own connections, even if the process between never used the client."""
    with ore.Client(KEY, base_url=counting.url, model="m") as client:
        client.embed("warm")

        def child(*, uses: bool) -> bool:
            used = not uses or right(client.embed("a"), ["a"])
            return used and in_a_fork(lambda: right(client.embed("b"), ["b"])) == 0

        assert in_a_fork(lambda: child(uses=True)) == 0
        assert in_a_fork(lambda: child(uses=False)) == 0


def test_a_child_does_not_close_the_tls_connection_of_its_parent(
    url: str, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TLS close message from the child would end the parent's connection."""
    with ore.Client(KEY, base_url=url, model="m", max_retries=0) as client:
        client.embed("warm")
        idle: Any = client._transport._http
        (_, connection), *_ = idle._idle
        assert in_a_fork(lambda: right(client.embed("a"), ["a"])) == 0
        assert right(client.embed("b"), ["b"])
        assert [kept for _, kept in idle._idle] == [connection]


def test_a_lock_held_in_the_parent_does_not_block_the_child(counting: HTTPService) -> None:
    """The thread that would release the lock does not exist in the child."""
    with ore.Client(KEY, base_url=counting.url, model="m") as client:
        client.embed("warm")
        http: Any = client._transport._http
        with held_by_another(client._throttle.lock), held_by_another(http._lock):
            assert in_a_fork(lambda: right(client.embed([*"ab"], **MANY), [*"ab"])) == 0


def test_a_child_keeps_the_rate_limit_but_not_the_requests_in_flight() -> None:
    """The child calls the same service, but the parent's requests stay with the parent."""
    client = ore.Client.local(model="local/hash")
    client._throttle.limiter("local/hash").in_flight = 8
    client._throttle.limiter("local/hash").rate = 7.0

    def embeds() -> bool:
        client.embed([*"ab"], **MANY)
        limiter = client._throttle.limiter("local/hash")
        return limiter.in_flight == 0 and math.isfinite(limiter.rate)

    assert in_a_fork(embeds) == 0
    assert client._throttle.limiter("local/hash").in_flight == 8


class _Counted:
    """A lock that counts the attempts to acquire it."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_threads_of_a_child_renew_the_client_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four threads that first use the client at the same time renew it once."""
    client = ore.Client.local(model="local/hash")
    renew, renewed, lock = client._transport.renew, list[int](), _Counted()

    def counted() -> None:
        renewed.append(1)
        for _ in range(4 if len(renewed) == 1 else 0):
            lock.came.acquire(timeout=20)
        renew()

    def embed() -> bool:
        monkeypatch.setattr(client._transport, "renew", counted)
        monkeypatch.setitem(_base._locks, os.getpid(), lock)
        in_threads(4, lambda: client.embed("a"))
        return renewed == [1]

    assert in_a_fork(embed) == 0


def _embed_in_child(client: ore.Client, pipe: Any) -> None:
    pipe.send(client.embed("a").vectors)


@pytest.mark.parametrize("used", [True, False])
def test_a_client_works_in_multiprocessing(*, used: bool) -> None:
    """A forked worker of multiprocessing can use the parent's client."""
    client = ore.Client.local(model="local/hash")
    if used:
        client.embed("a")
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=_embed_in_child, args=(client, there))
    child.start()
    assert here.poll(30)
    assert np.array_equal(here.recv(), client.embed("a").vectors)
    child.join(30)


@both
def test_a_client_made_in_a_fork_rejects_an_http_client_used_by_the_parent(
    kind: Kind, http: Any
) -> None:
    """On one connection, each process would read the other's responses."""
    transport = Service().transport()
    client, aclient = http.Client(transport=transport), http.AsyncClient(transport=transport)

    def embed() -> ore.EmbeddingResult:
        if kind == "sync":
            return ore.Client(KEY, model="m", http_client=client).embed("a")
        return asyncio.run(ore.AsyncClient(KEY, model="m", http_client=aclient).embed("a"))

    def refused() -> bool:
        with pytest.raises(ore.APIConnectionError, match="make it and the client after the fork"):
            embed()
        return True

    embed()
    assert in_a_fork(refused) == 0


@both
@pytest.mark.parametrize("used", [True, False])
def test_the_callers_http_client_works_in_a_fork_only_if_unused(kind: Kind, *, used: bool) -> None:
    """Otherwise the error (APIConnectionError, not InputError) says what to do."""
    transport = httpx.MockTransport(Service().handle)
    options: Any = {"model": "m", "max_retries": 3}

    def refused_or_right(embed: Any) -> bool:
        if not used:
            return right(embed(), ["a"])
        with pytest.raises(ore.APIConnectionError, match="make it and the client after the fork"):
            embed()
        return True

    if kind == "sync":
        http = httpx.Client(transport=transport)
        first, client = (ore.Client(KEY, http_client=http, **options) for _ in range(2))
        if used:
            first.embed("a")
        assert in_a_fork(lambda: refused_or_right(lambda: client.embed("a"))) == 0
    else:
        ahttp = httpx.AsyncClient(transport=transport)
        afirst, aclient = (ore.AsyncClient(KEY, http_client=ahttp, **options) for _ in range(2))
        if used:
            asyncio.run(afirst.embed("a"))
        assert in_a_fork(lambda: refused_or_right(lambda: asyncio.run(aclient.embed("a")))) == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # about closed loops and their connections
@pytest.mark.parametrize("running", [True, False])
def test_an_async_client_works_in_a_fork_and_in_its_parent(
    counting: HTTPService, *, running: bool
) -> None:
    """The child uses its own event loop, whether or not the parent's is running."""

    def child(client: ore.AsyncClient) -> bool:
        return right(asyncio.run(client.embed([*"ab"], **MANY)), [*"ab"])

    async def embed(client: ore.AsyncClient) -> None:
        await client.embed("warm")
        if running:
            assert in_a_fork(lambda: child(client)) == 0
            opened = counting.opened
            assert right(await client.embed("c"), ["c"])
            assert counting.opened == opened

    made: Any = ore.AsyncClient(KEY, base_url=counting.url, model="m")
    asyncio.run(embed(made))
    if not running:
        assert in_a_fork(partial(child, made)) == 0
    asyncio.run(made.close())
    del made
    gc.collect()  # here, where the warnings of asyncio about closed loops are ignored


@pytest.mark.parametrize("started", [True, False])
def test_a_stream_works_in_a_fork_only_if_it_has_not_started(
    counting: HTTPService, *, started: bool
) -> None:
    """Requests in flight belong to the parent, which receives all of them."""
    with ore.Client(KEY, base_url=counting.url, model="m", batch_size=1) as client:
        client.embed("warm")
        parts = client.embed_stream([*"abcdef"])
        if started:
            next(parts)

        def take() -> bool:
            if not started:
                return right(next(parts), ["a"])
            with pytest.raises(ore.APIConnectionError, match="began in another process") as caught:
                next(parts)
            return not caught.value.maybe_billed

        assert in_a_fork(take) == 0
        assert len([*parts]) == 6 - started


async def test_closing_an_async_client_in_a_fork_does_not_end_the_requests_of_its_parent(
    counting: HTTPService,
) -> None:
    """Both processes share the epoll object that reports responses."""
    async with ore.AsyncClient(KEY, base_url=counting.url, model="together") as client:
        task = asyncio.create_task(client.embed([*"abcd"], batch_size=1, concurrency=4))
        while not client._tasks.sending:  # noqa: ASYNC110 - nothing reports when one is in flight
            await asyncio.sleep(0)

        def close() -> bool:
            closing = client.close()
            with pytest.raises(StopIteration):
                closing.send(None)
            return True

        assert in_a_fork(close) == 0
        assert right(await task, [*"abcd"])


@both
def test_a_stream_started_before_the_fork_can_be_closed_in_the_child(
    kind: Kind, counting: HTTPService
) -> None:
    """Closing it waits for no lock of the parent's threads and no task of the parent's loop."""
    options: Any = {"base_url": counting.url, "model": "m", **MANY}

    async def close(parts: Any) -> None:
        await parts.aclose()

    async def run() -> int:
        async with ore.AsyncClient(KEY, **options) as client:
            parts = client.embed_stream([*"abcdef"])
            await anext(parts)
            status = in_a_fork(lambda: asyncio.run(close(parts)) is None)
            assert len([part async for part in parts]) == 5
            return status

    def run_here() -> int:
        with ore.Client(KEY, **options) as client:
            parts: Any = client.embed_stream([*"abcdef"])
            next(parts)
            with held_by_another(client._throttle.lock):
                status = in_a_fork(lambda: parts.close() is None)
            assert len([*parts]) == 5
            return status

    assert (asyncio.run(run()) if kind == "async" else run_here()) == 0


async def test_an_async_stream_started_before_the_fork_raises_in_the_child(
    counting: HTTPService,
) -> None:
    """The stream's tasks belong to the parent's event loop."""

    async def take(parts: Any) -> bool:
        with pytest.raises(ore.APIConnectionError, match="began in another process"):
            await anext(parts)
        return True

    async with ore.AsyncClient(KEY, base_url=counting.url, model="m", **MANY) as client:
        parts = client.embed_stream([*"abcdef"])
        await anext(parts)
        assert in_a_fork(lambda: asyncio.run(take(parts))) == 0
        assert len([part async for part in parts]) == 5


def test_connections_of_another_process_are_not_used(
    counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transport raises if it holds the connections of another process."""
    client = ore.Client(KEY, base_url=counting.url, model="m")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(ore.InputError, match="another process"):
        client._transport.send(b"{}", 5, StreamDecoder(1, 9))
