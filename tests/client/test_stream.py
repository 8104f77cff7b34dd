"""Streams: in order, bounded, and abandoned without harm."""

import asyncio
import gc
import os
import sqlite3
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client import _sync
from openrouter_embeddings.client._workers import Job, Workers

from tests.support import KINDS, PNG, Kind, Service, answer, expected

both = pytest.mark.parametrize("kind", KINDS)


def stream(service: Service, kind: Kind, inputs: Any, **options: Any) -> list[ore.EmbeddingResult]:
    """All parts of a stream."""
    parts: list[ore.EmbeddingResult] = service.run(
        kind, lambda c: c.embed_stream(inputs, **options)
    )
    return parts


@both
def test_parts_come_in_order(kind: Kind) -> None:
    """Put together they are what `embed` gives."""
    texts = ["x" * (n % 17 + 1) for n in range(100)]
    parts = stream(Service(), kind, iter(texts), batch_size=7)
    assert np.array_equal(np.concatenate([part.vectors for part in parts]), expected(texts))
    assert [part.start for part in parts] == [*range(0, 100, 7)]
    assert sum(part.usage.requests for part in parts) == 15


@both
def test_an_endless_input_is_read_no_further_than_needed(kind: Kind) -> None:
    """At most two batches a request slot are alive."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "a"

    options = {"batch_size": 5, "concurrency": 2}
    transport = httpx.MockTransport(Service().handle)
    if kind == "sync":
        with httpx.Client(transport=transport) as http:
            parts = ore.Client("k", http_client=http, model="m").embed_stream(endless(), **options)  # type: ignore[arg-type]
            assert next(parts).start == 0
            assert next(parts).start == 5
            parts.close()  # type: ignore[attr-defined]
    else:

        async def run() -> None:
            async with httpx.AsyncClient(transport=transport) as http:
                client = ore.AsyncClient("k", http_client=http, model="m")
                parts = client.embed_stream(endless(), **options)  # type: ignore[arg-type]
                assert (await anext(parts)).start == 0
                assert (await anext(parts)).start == 5
                await parts.aclose()
                assert len(asyncio.all_tasks()) == 1

        asyncio.run(run())
    assert read <= 5 * (2 * 2 + 2)


class Gated(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers nothing before its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Wait in the thread."""
        assert self.gate.wait(30)
        return Service().handle(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait beside the loop."""
        assert await asyncio.to_thread(self.gate.wait, 30)
        return Service().handle(request)


@both
def test_a_slow_reader_keeps_requests_under_way(kind: Kind) -> None:
    """Each part that is taken makes room for one more batch, though later parts are done."""
    read: list[int] = []
    ahead: list[int] = []
    transport = Gated()

    def inputs() -> Iterator[str]:
        for number in range(20):
            read.append(number)
            if number == 3:
                transport.gate.set()
            yield "a"

    async def run() -> None:
        async with httpx.AsyncClient(transport=transport) as http:
            client = ore.AsyncClient("k", http_client=http, model="m", batch_size=1, concurrency=2)
            async for part in client.embed_stream(inputs()):
                await asyncio.to_thread(lambda: None)
                ahead.append(len(read) - part.start)

    if kind == "sync":
        with httpx.Client(transport=transport) as http:
            client = ore.Client("k", http_client=http, model="m", batch_size=1, concurrency=2)
            ahead.extend(len(read) - part.start for part in client.embed_stream(inputs()))
    else:
        asyncio.run(run())
    assert min(ahead[:16]) >= 4


def test_an_abandoned_stream_leaves_no_request_running() -> None:
    """Requests under way are cancelled, though they would never end by themselves."""
    cancelled = 0

    class Stuck(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal cancelled
            if b"first" in request.content:
                return Service().handle(request)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise
            raise AssertionError("nobody sets the event")

    async def run() -> None:
        async with httpx.AsyncClient(transport=Stuck()) as http:
            client = ore.AsyncClient("k", http_client=http, model="m", batch_size=1, concurrency=2)
            parts = client.embed_stream(["first", *"abcdefgh"])
            assert (await anext(parts)).start == 0
            await parts.aclose()

    asyncio.run(asyncio.wait_for(run(), 30))
    assert cancelled == 2


def test_a_source_that_swallows_a_cancel_does_not_keep_its_stream_from_ending() -> None:
    """As `asyncio.wait_for` does now and then when what it waits for comes at the same time."""

    async def source() -> AsyncIterator[str]:
        yield "first"
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        for text in "abcdefgh":
            yield text

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(Service().handle)) as http:
            client = ore.AsyncClient("k", http_client=http, model="m", batch_size=1, concurrency=1)
            parts = client.embed_stream(source())
            assert (await anext(parts)).start == 0
            await parts.aclose()

    asyncio.run(asyncio.wait_for(run(), 5))


def test_closing_an_async_client_ends_a_stream_whose_source_pauses() -> None:
    """Another task waits for a part, and hears that the client was closed."""

    async def source(paused: asyncio.Event) -> AsyncIterator[str]:
        yield "first"
        paused.set()
        await asyncio.Event().wait()

    async def run() -> None:
        paused = asyncio.Event()
        async with httpx.AsyncClient(transport=httpx.MockTransport(Service().handle)) as http:
            client = ore.AsyncClient("k", http_client=http, model="m", batch_size=1)
            parts = client.embed_stream(source(paused))
            assert (await anext(parts)).start == 0
            await paused.wait()
            waiting = asyncio.ensure_future(anext(parts))
            await client.close()
            with pytest.raises(ore.EmbeddingsError, match="the client was closed"):
                await waiting

    asyncio.run(asyncio.wait_for(run(), 5))


def test_an_asynchronous_stream_that_the_collector_finds_ends_without_a_word() -> None:
    """The task that reads its inputs is cancelled, not destroyed while it waits."""
    said: list[dict[str, Any]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context))
        async with httpx.AsyncClient(transport=httpx.MockTransport(Service().handle)) as http:
            client = ore.AsyncClient("k", http_client=http, model="m", batch_size=1, concurrency=1)
            holder: list[Any] = [client.embed_stream(["x"] * 9)]
            holder.append(holder)  # it lives until the collector comes by
            await anext(holder[0])
            del holder
            gc.collect()
            assert client._reading
            while client._reading:  # noqa: ASYNC110 - nothing tells when a task has ended
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 30))
    assert said == []


@both
def test_nothing_comes_of_nothing(kind: Kind) -> None:
    """An empty stream has no parts and sends nothing."""
    service = Service()
    assert stream(service, kind, []) == []
    assert service.requests == []


def test_asynchronous_inputs_are_taken() -> None:
    """From a queue or a database, say."""

    async def inputs() -> AsyncIterator[str]:
        for text in ("a", "bb", "ccc"):
            yield text

    parts = stream(Service(), "async", inputs(), batch_size=2)
    assert np.array_equal(
        np.concatenate([part.vectors for part in parts]), expected(["a", "bb", "ccc"])
    )


@both
def test_a_batch_with_an_image_is_multimodal_and_others_are_not(kind: Kind) -> None:
    """A stream cannot know what comes later."""
    service = Service()
    stream(service, kind, ["a", "b", "c", ore.Image(PNG)], batch_size=2, concurrency=1)
    first, second = service.bodies
    assert first["input"] == ["a", "b"]
    assert [len(item["content"]) for item in second["input"]] == [1, 1]


@both
@pytest.mark.parametrize("bad", ["", None, [1], 5, "\udfff", ore.Image(b"junk")])
def test_a_bad_input_in_a_stream_is_named_by_its_position(kind: Kind, bad: Any) -> None:
    """What came before it has been sent."""
    service = Service()
    with pytest.raises(ore.InputError, match="input 5") as caught:
        stream(service, kind, [*"abcde", bad, "f"], batch_size=2)
    assert caught.value.inputs == (5,)
    assert len(service.requests) <= 3


@both
def test_what_was_paid_for_is_handed_over_before_an_error_among_the_inputs(kind: Kind) -> None:
    """Every answered request's part arrives, then the error; the caller's own errors too."""

    def inputs() -> Iterator[str]:
        yield from "abcdef"
        raise LookupError("the database has gone")

    async def collect(client: Any) -> None:
        async for part in client.embed_stream(inputs(), batch_size=2):
            got.extend([part.start])

    def gather(client: Any) -> Any:
        if kind == "async":
            return collect(client)
        got.extend(part.start for part in client.embed_stream(inputs(), batch_size=2))
        return None

    got: list[int] = []
    service = Service()
    with pytest.raises(LookupError, match="the database has gone"):
        service.run(kind, gather)
    assert got == [0, 2, 4][: len(service.requests)]
    assert len(service.requests) >= 2


def test_a_part_is_handed_over_while_the_source_pauses() -> None:
    """An asynchronous source is read in a task of its own."""
    asked: list[int] = []

    async def run() -> None:
        came = asyncio.Event()

        async def inputs() -> AsyncIterator[str]:
            for number in range(8):
                if number in (3, 6):  # in the middle of a batch, and between two
                    await came.wait()
                    came.clear()
                asked.append(number)
                yield "a"

        transport = httpx.MockTransport(Service().handle)
        async with httpx.AsyncClient(transport=transport) as http:
            client = ore.AsyncClient("k", http_client=http, model="m", batch_size=2)
            starts: list[int] = []
            async for part in client.embed_stream(inputs()):
                starts.append(part.start)
                came.set()
            assert starts == [0, 2, 4, 6]

    asyncio.run(asyncio.wait_for(run(), 30))


def test_an_asynchronous_source_lives_in_one_task() -> None:
    """It may hold a time-out or a task group open between its inputs; and it ends in there."""
    tasks: set[Any] = set()

    async def inputs() -> AsyncIterator[str]:
        try:
            async with asyncio.timeout(30):
                for _ in range(9):
                    tasks.add(asyncio.current_task())
                    yield "a"
                    await asyncio.sleep(0)
        finally:
            tasks.add(asyncio.current_task())

    stream(Service(), "async", inputs(), batch_size=2, concurrency=1)
    assert len(tasks) == 1


def test_a_source_that_is_cancelled_does_not_look_finished() -> None:
    """What it had left would be missing in silence."""

    async def inputs() -> AsyncIterator[str]:
        yield "a"
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        stream(Service(), "async", inputs(), batch_size=1)


def _noting_jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job[Any]]:
    """The jobs of the blocking client, as they are submitted."""
    submit, jobs = Workers.submit, list[Job[Any]]()

    def noted(self: Workers[Any], *job: Any) -> Job[Any]:
        jobs.append(submit(self, *job))
        return jobs[-1]

    monkeypatch.setattr(Workers, "submit", noted)
    return jobs


@pytest.mark.parametrize("paused", [True, False])
def test_a_part_waits_for_one_input_of_a_source_that_pauses(
    monkeypatch: pytest.MonkeyPatch, *, paused: bool
) -> None:
    """And from a quick one for a batch, so that requests stay under way."""
    monkeypatch.setattr(_sync, "PATIENCE", -1.0 if paused else 1e6)
    jobs = _noting_jobs(monkeypatch)
    asked: list[int] = []
    transport = Gated()

    def inputs() -> Iterator[str]:
        for number in range(12):
            if number == 4:
                transport.gate.set()
                jobs[0].result(30)
                while not jobs[0].has_ended:
                    os.sched_yield()
            asked.append(number)
            yield "a"

    with httpx.Client(transport=transport) as http:
        parts = ore.Client("k", http_client=http, model="m").embed_stream(inputs(), batch_size=4)
        found = [next(parts).start, len(asked), *(part.start for part in parts)]
    assert found == [0, 5 if paused else 8, 4, 8]


def test_the_source_of_a_blocking_stream_is_read_by_its_caller() -> None:
    """A cursor of SQLite, or a session of a database, belongs to its thread."""
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE texts AS SELECT 'a' AS text UNION ALL SELECT 'bb'")
        texts = (text for (text,) in database.execute("SELECT text FROM texts"))
        parts = stream(Service(), "sync", texts, batch_size=1)
    database.close()
    assert np.array_equal(np.concatenate([p.vectors for p in parts]), expected(["a", "bb"]))


@pytest.mark.parametrize("inputs", ["a generator", "an asynchronous one"])
def test_a_reader_that_never_waits_keeps_requests_under_way(inputs: str) -> None:
    """Each part that it takes lets one more batch be read."""
    read: list[int] = []
    ahead: list[int] = []

    def plain() -> Iterator[str]:
        for number in range(20):
            read.append(number)
            yield "a"

    async def asynchronous() -> AsyncIterator[str]:
        for text in plain():
            yield text

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(Service().handle)) as http:
            client = ore.AsyncClient("k", http_client=http, model="m", batch_size=1, concurrency=2)
            source: Any = asynchronous() if inputs == "an asynchronous one" else plain()
            async for part in client.embed_stream(source):
                ahead.extend([len(read) - part.start])

    asyncio.run(run())
    assert min(ahead[:16]) >= 4


@both
@pytest.mark.parametrize(
    "wrong", ["hello", b"hello", {"content": []}, {"a", "b"}, None, 3, ore.Image(PNG)]
)
def test_one_input_is_no_stream(kind: Kind, wrong: Any) -> None:
    """A text would give a vector for every letter."""
    service = Service()
    with pytest.raises(ore.InputError):
        stream(service, kind, wrong)
    assert service.requests == []


@both
def test_widths_are_compared_between_parts(kind: Kind) -> None:
    """A stream is one vector space too."""
    service = Service(
        lambda body, _: answer(
            body["input"],
            data=[{"object": "embedding", "embedding": [1.0] * len(body["input"][0])}],
        )
    )
    with pytest.raises(ore.ResponseError, match="2 dimensions, but of 1"):
        stream(service, kind, ["a", "bb"], batch_size=1)


@both
def test_wrong_options_are_refused_at_once(kind: Kind) -> None:
    """Not when the first part is asked for."""
    make = ore.Client if kind == "sync" else ore.AsyncClient
    client = make("k")
    with pytest.raises(ore.InputError, match="no model"):
        client.embed_stream(["a"])
    asyncio.run(client.close()) if isinstance(client, ore.AsyncClient) else client.close()


@both
@pytest.mark.parametrize("batch_size", [2, 8])
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
def test_what_the_caller_drops_is_freed_at_once(kind: Kind, method: str, batch_size: int) -> None:
    """No cycle keeps vectors until the garbage collector comes by."""
    dropped: list[weakref.ref[Any]] = []

    def drop(result: ore.EmbeddingResult) -> None:
        matrix = result.vectors
        dropped.append(weakref.ref(matrix if matrix.base is None else matrix.base))

    async def run() -> None:
        async with ore.AsyncClient.local(batch_size=batch_size) as client:
            if method == "embed":
                drop(await client.embed(texts))
            else:
                async for part in client.embed_stream(texts):
                    drop(part)

    def run_here() -> None:
        with ore.Client.local(batch_size=batch_size) as client:
            for part in [client.embed(texts)] if method == "embed" else client.embed_stream(texts):
                drop(part)

    texts = [*"abcdefgh"]
    gc.collect()
    gc.disable()
    try:
        run_here() if kind == "sync" else asyncio.run(run())
        for thread in threading.enumerate():
            if thread.name == "openrouter-embeddings":
                thread.join(20)
        assert dropped
        assert all(matrix() is None for matrix in dropped)
    finally:
        gc.enable()
