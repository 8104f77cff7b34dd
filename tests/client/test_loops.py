"""One event loop after another, and what an answer is that nobody waited for."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client import _request
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.testing import JumpingClock

from stress.servers import served
from tests.http_service import HTTPService
from tests.support import KEY, KINDS, PNG, Kind

closed = pytest.mark.filterwarnings("ignore::ResourceWarning")  # loops, with their connections


@closed
def test_a_client_waits_in_a_second_loop_as_in_its_first() -> None:
    """Before a retry, too."""
    with served(Faults([Fault("status", status=500, requests=[0, 2])])) as url:
        client = ore.AsyncClient(KEY, base_url=url, model="local/hash", dimensions=4)
        retries = [asyncio.run(client.embed(text)).usage.retries for text in "ab"]
        asyncio.run(client.close())
    del client
    gc.collect()  # here, where what asyncio says of closed loops is ignored
    assert retries == [1, 1]


@closed
def test_a_second_loop_knows_what_the_service_has_asked_for(clock: JumpingClock) -> None:
    """Its Retry-After is no shorter for a program that makes a loop for each call."""
    with served(Faults([Fault("status", status=429, retry_after=30, requests=[0])])) as url:
        client = ore.AsyncClient(KEY, base_url=url, model="local/hash", dimensions=4, max_retries=0)
        with pytest.raises(ore.RateLimitError):
            asyncio.run(client.embed("a"))
        assert sum(clock.waited) == 0
        asyncio.run(client.embed("a"))
        asyncio.run(client.close())
    del client
    gc.collect()  # here, where what asyncio says of closed loops is ignored
    assert sum(clock.waited) >= 30


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_another_error_ends_may_have_been_billed(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usage says so, of either client."""
    monkeypatch.setattr(_request, "GRACE", 0.05)
    come, over = threading.Barrier(3), threading.Event()

    class Refusing(HTTPService):
        def refusal(self, asked: dict[str, Any]) -> int | None:
            come.wait(20)
            if asked["input"] != ["bad"]:
                over.wait(20)
            return 401

    options: Any = {"model": "m", "batch_size": 1, "concurrency": 3, "max_retries": 0}
    with Refusing() as service:
        service.start()

        async def run() -> None:
            async with ore.AsyncClient(KEY, base_url=service.url, **options) as client:
                await client.embed(["bad", "b", "c"])

        def run_blocking() -> None:
            with ore.Client(KEY, base_url=service.url, **options) as client:
                client.embed(["bad", "b", "c"])

        with pytest.raises(ore.AuthenticationError) as raised:
            asyncio.run(run()) if kind == "async" else run_blocking()
        over.set()
        service.shutdown()
    assert raised.value.usage is not None
    assert raised.value.usage.unanswered == 2


@pytest.mark.parametrize("source", ["a list", "an asynchronous generator"])
def test_a_loop_that_ends_after_an_error_in_a_stream_has_nothing_to_say(source: str) -> None:
    """It closes all asynchronous generators at once; one of ours inside another would complain."""
    said: list[dict[str, Any]] = []

    async def inputs() -> AsyncIterator[str]:
        for text in "abcdef":
            yield text

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what))
        client = ore.AsyncClient.local(model="local/hash", batch_size=1, concurrency=2)
        given = inputs() if source == "an asynchronous generator" else [*"abcdef"]
        parts = client.embed_stream(given)  # held by the frame in the error's traceback
        async for part in parts:
            raise LookupError(part.start)

    with pytest.raises(LookupError):
        asyncio.run(run())
    assert said == []


WITHOUT_A_LOOP: list[Any] = [
    lambda client: client.embed("a"),
    lambda client: client.embed([*"abc"], batch_size=1),
    lambda client: client.embed([ore.Image(PNG), "a"]),
    lambda client: client.embed_query("a"),
    lambda client: anext(client.embed_stream([*"abc"], batch_size=1)),
    lambda client: anext(client.embed_stream([ore.Image(PNG)])),
]


@pytest.mark.parametrize("use", WITHOUT_A_LOOP)
@pytest.mark.parametrize("local", [True, False])
def test_an_async_client_outside_of_asyncio_says_so(use: Any, *, local: bool) -> None:
    """In a sentence, and leaves no coroutine behind; trio, say, drives what it is given alike."""
    own = ore.AsyncClient(KEY, base_url="http://127.0.0.1:9/v1", model="m")
    client = ore.AsyncClient.local(model="local/hash") if local else own
    with pytest.raises(ore.InputError, match="only inside a running asyncio event loop"):
        use(client).__await__().send(None)
    with pytest.raises(StopIteration):
        own.close().send(None)
    gc.collect()
