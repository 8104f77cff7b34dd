"""A client in a forked process begins anew, and leaves its parent's requests alone."""

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
from openrouter_embeddings.transport import _log_redaction

from tests.http_service import HTTPService
from tests.support import KEY, KINDS, Kind, Service, expected, held_by_another, in_a_fork

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
both = pytest.mark.parametrize("kind", KINDS)
MANY: Any = {"batch_size": 1, "concurrency": 2}


def right(result: ore.EmbeddingResult, texts: list[str]) -> bool:
    """Whether these are the vectors of these texts."""
    return np.array_equal(result.vectors, expected(texts))


def test_a_client_goes_on_in_a_fork_beside_its_parent(counting: HTTPService) -> None:
    """The child makes a connection of its own, and the parent keeps the one it has."""
    with ore.Client(KEY, base_url=counting.url, model="m") as client:
        client.embed("warm")
        for _ in range(2):
            assert in_a_fork(lambda: right(client.embed([*"ab"], **MANY), [*"ab"])) == 0
            opened = counting.opened
            assert right(client.embed("c"), ["c"])
            assert counting.opened == opened


def test_a_fork_of_a_fork_goes_on_too(counting: HTTPService) -> None:
    """Each process has its own, also when the one between has never used the client."""
    with ore.Client(KEY, base_url=counting.url, model="m") as client:
        client.embed("warm")

        def child(*, uses: bool) -> bool:
            used = not uses or right(client.embed("a"), ["a"])
            return used and in_a_fork(lambda: right(client.embed("b"), ["b"])) == 0

        assert in_a_fork(lambda: child(uses=True)) == 0
        assert in_a_fork(lambda: child(uses=False)) == 0


def test_the_parents_connection_over_tls_outlives_its_children(
    url: str, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that said goodbye on it would end it for the parent."""
    with ore.Client(KEY, base_url=url, model="m", max_retries=0) as client:
        client.embed("warm")
        idle: Any = client._transport._http
        (_, connection), *_ = idle._idle
        assert in_a_fork(lambda: right(client.embed("a"), ["a"])) == 0
        assert right(client.embed("b"), ["b"])
        assert [kept for _, kept in idle._idle] == [connection]


def test_no_lock_that_a_thread_of_the_parent_held_stops_the_child(counting: HTTPService) -> None:
    """That thread is not there to release it."""
    with ore.Client(KEY, base_url=counting.url, model="m") as client:
        client.embed("warm")
        http: Any = client._transport._http
        with held_by_another(client._throttle.lock), held_by_another(http._lock):
            assert in_a_fork(lambda: right(client.embed([*"ab"], **MANY), [*"ab"])) == 0


def test_the_child_keeps_what_was_learned_and_not_what_was_under_way() -> None:
    """The service is the same; the parent's requests are the parent's."""
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
    """A lock that counts those who came to it."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_threads_of_a_child_begin_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though they come at the same time."""
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
        threads = [threading.Thread(target=client.embed, args=["a"]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        return renewed == [1]

    assert in_a_fork(embed) == 0


def _embed_in_child(client: ore.Client, said: Any) -> None:
    said.send(client.embed("a").vectors)


@pytest.mark.parametrize("used", [True, False])
def test_a_client_works_in_multiprocessing(*, used: bool) -> None:
    """Its forked workers get the parent's objects."""
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
def test_a_client_made_in_a_fork_refuses_an_http_client_that_its_parent_has_used(
    kind: Kind,
) -> None:
    """On the same connection, each process would read the other's answers."""
    transport = httpx.MockTransport(Service().handle)
    http, ahttp = httpx.Client(transport=transport), httpx.AsyncClient(transport=transport)

    def embed() -> ore.EmbeddingResult:
        if kind == "sync":
            return ore.Client(KEY, model="m", http_client=http).embed("a")
        return asyncio.run(ore.AsyncClient(KEY, model="m", http_client=ahttp).embed("a"))

    def refused() -> bool:
        with pytest.raises(ore.APIConnectionError, match="make it and the client after the fork"):
            embed()
        return True

    embed()
    assert in_a_fork(refused) == 0


@both
@pytest.mark.parametrize("used", [True, False])
def test_an_http_client_of_ones_own_goes_on_only_where_it_was_not_used(
    kind: Kind, *, used: bool
) -> None:
    """Its connections are the parent's; the error says what to do, and is no InputError."""
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


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # loops, with their connections
@pytest.mark.parametrize("running", [True, False])
def test_an_async_client_goes_on_in_a_fork_beside_its_parent(
    counting: HTTPService, *, running: bool
) -> None:
    """In a loop of the child's own, whether or not the parent's runs."""

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
    gc.collect()  # here, where what asyncio says of closed loops is ignored


@pytest.mark.parametrize("begun", [True, False])
def test_a_stream_goes_on_in_a_fork_only_where_it_had_not_begun(
    counting: HTTPService, *, begun: bool
) -> None:
    """What is in flight is the parent's, which gets all of it."""
    with ore.Client(KEY, base_url=counting.url, model="m", batch_size=1) as client:
        client.embed("warm")
        parts = client.embed_stream([*"abcdef"])
        if begun:
            next(parts)

        def go_on() -> bool:
            if not begun:
                return right(next(parts), ["a"])
            with pytest.raises(ore.APIConnectionError, match="began in another process") as caught:
                next(parts)
            return not caught.value.maybe_billed

        assert in_a_fork(go_on) == 0
        assert len([*parts]) == 6 - begun


def test_a_fork_that_closes_an_async_client_leaves_its_parents_requests_alone() -> None:
    """They share what tells them of an answer."""

    async def run(url: str) -> ore.EmbeddingResult:
        async with ore.AsyncClient(KEY, base_url=url, model="together") as client:
            task = asyncio.create_task(client.embed([*"abcd"], batch_size=1, concurrency=4))
            while not client._sending:  # noqa: ASYNC110 - nothing tells when one is under way
                await asyncio.sleep(0)

            def close() -> bool:
                closing = client.close()
                with pytest.raises(StopIteration):
                    closing.send(None)
                return True

            assert in_a_fork(close) == 0
            return await task

    with HTTPService() as server:
        server.start()
        try:
            found = asyncio.run(run(server.url))
        finally:
            server.shutdown()
    assert np.array_equal(found.vectors, expected([*"abcd"]))


@both
def test_a_stream_that_began_before_the_fork_is_left_without_harm(
    kind: Kind, counting: HTTPService
) -> None:
    """Neither a lock of the parent's threads nor a task of its loop is waited for."""
    options: Any = {"base_url": counting.url, "model": "m", "batch_size": 1, "concurrency": 2}

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


def test_an_async_stream_that_began_before_the_fork_is_refused(counting: HTTPService) -> None:
    """Its tasks are of the parent's loop."""
    options: Any = {"base_url": counting.url, "model": "m", "batch_size": 1, "concurrency": 2}

    async def go_on(parts: Any) -> bool:
        with pytest.raises(ore.APIConnectionError, match="began in another process"):
            await anext(parts)
        return True

    async def run() -> None:
        async with ore.AsyncClient(KEY, **options) as client:
            parts = client.embed_stream([*"abcdef"])
            await anext(parts)
            assert in_a_fork(lambda: asyncio.run(go_on(parts))) == 0
            assert len([part async for part in parts]) == 5

    asyncio.run(run())


def test_a_fork_makes_clients_whatever_other_threads_did() -> None:
    """One of them may have held the lock of the log."""
    with held_by_another(_log_redaction._lock):
        assert in_a_fork(lambda: bool(ore.Client(KEY, model="m"))) == 0
