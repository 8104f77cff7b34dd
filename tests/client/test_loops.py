"""`AsyncClient` in several event loops, and responses that arrive after the call has ended."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client import _base
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.testing import JumpingClock

from stress.servers import served
from tests.http_service import HTTPService
from tests.support import KEY, PNG, Kind, both, embed_over

pytestmark = pytest.mark.usefixtures("sometimes_traced")

closed = pytest.mark.filterwarnings("ignore::ResourceWarning")  # for closed event loops


@closed
def test_a_client_retries_in_a_second_loop() -> None:
    """A retry waits in the second event loop as it does in the first."""
    with served(Faults([Fault("status", status=500, requests=[0, 2])])) as url:
        client = ore.AsyncClient(KEY, base_url=url, model="local/hash", dimensions=4)
        retries = [asyncio.run(client.embed(text)).usage.retries for text in "ab"]
        asyncio.run(client.close())
    del client
    gc.collect()  # here, where the warnings of asyncio about closed loops are ignored
    assert retries == [1, 1]


@closed
def test_retry_after_holds_in_a_second_loop(clock: JumpingClock) -> None:
    """A Retry-After also holds for a program that runs a new event loop for each call."""
    with served(Faults([Fault("status", status=429, retry_after=30, requests=[0])])) as url:
        client = ore.AsyncClient(KEY, base_url=url, model="local/hash", dimensions=4, max_retries=0)
        with pytest.raises(ore.RateLimitError):
            asyncio.run(client.embed("a"))
        assert sum(clock.waited) == 0
        asyncio.run(client.embed("a"))
        asyncio.run(client.close())
    del client
    gc.collect()  # here, where the warnings of asyncio about closed loops are ignored
    assert sum(clock.waited) >= 30


@both
def test_requests_aborted_by_another_error_count_as_unanswered(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usage counts aborted requests as unanswered, because they may be billed."""
    monkeypatch.setattr(_base, "GRACE_PERIOD", 0.05)
    arrived, aborted = threading.Barrier(3), threading.Event()

    class Refusing(HTTPService):
        def refusal(self, asked: dict[str, Any]) -> int | None:
            arrived.wait(20)
            if asked["input"] != ["bad"]:
                aborted.wait(20)
            return 401

    with Refusing() as service:
        with pytest.raises(ore.AuthenticationError) as raised:
            embed_over(kind, service.url, ["bad", "b", "c"], batch_size=1, concurrency=3)
        aborted.set()
    assert raised.value.usage is not None
    assert raised.value.usage.unanswered == 2


@pytest.mark.parametrize("source", ["a list", "an asynchronous generator"])
def test_a_loop_that_shuts_down_during_a_stream_reports_nothing(source: str) -> None:
    """It closes all asynchronous generators at once; nested ones would complain."""
    reports: list[dict[str, Any]] = []

    async def inputs() -> AsyncIterator[str]:
        for text in "abcdef":
            yield text

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        client = ore.AsyncClient.local(model="local/hash", batch_size=1, concurrency=2)
        texts = inputs() if source == "an asynchronous generator" else [*"abcdef"]
        parts = client.embed_stream(texts)  # held by the frame in the error's traceback
        async for part in parts:
            raise LookupError(part.start)

    with pytest.raises(LookupError):
        asyncio.run(run())
    assert reports == []


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
def test_an_async_client_outside_asyncio_raises_input_error(use: Any, *, local: bool) -> None:
    """Code driven by trio, for example, gets an error message and leaves no coroutine behind."""
    own = ore.AsyncClient(KEY, base_url="http://127.0.0.1:9/v1", model="m")
    client = ore.AsyncClient.local(model="local/hash") if local else own
    with pytest.raises(ore.InputError, match="only inside a running asyncio event loop"):
        use(client).__await__().send(None)
    with pytest.raises(StopIteration):
        own.close().send(None)
    gc.collect()
