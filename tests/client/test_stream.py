"""`embed_stream`: order, bounded memory, and streams that end early."""

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
from openrouter_embeddings.client.workers import WorkerFuture, Workers
from openrouter_embeddings.testing import Service as StandIn

from tests.support import PNG, Kind, Service, answer, both, client_of, expected, worker_threads

ONE_BY_ONE: ore.EmbedOptions = {"model": "local/hash", "batch_size": 1, "concurrency": 1}


def stream(service: Service, kind: Kind, inputs: Any, **options: Any) -> list[ore.EmbeddingResult]:
    """All parts of a stream."""
    parts: list[ore.EmbeddingResult] = service.run(
        kind, lambda c: c.embed_stream(inputs, **options)
    )
    return parts


@both
def test_parts_come_in_order(kind: Kind) -> None:
    """The parts, concatenated, equal the result of `embed`."""
    texts = ["x" * (n % 17 + 1) for n in range(100)]
    parts = stream(Service(), kind, iter(texts), batch_size=7)
    assert np.array_equal(np.concatenate([part.vectors for part in parts]), expected(texts))
    assert [part.start for part in parts] == [*range(0, 100, 7)]
    assert sum(part.usage.requests for part in parts) == 15


@both
def test_an_endless_iterable_is_read_only_as_far_as_needed(kind: Kind) -> None:
    """At most `2 × concurrency` batches are read ahead of the parts taken."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "a"

    options: ore.EmbedOptions = {"model": "local/hash", "batch_size": 5, "concurrency": 2}

    async def take() -> None:
        async with ore.AsyncClient.local(**options) as client:
            parts = client.embed_stream(endless())
            assert (await anext(parts)).start == 0
            assert (await anext(parts)).start == 5
            await parts.aclose()
            assert len(asyncio.all_tasks()) == 1

    if kind == "async":
        asyncio.run(take())
    else:
        with ore.Client.local(**options) as client:
            parts = client.embed_stream(endless())
            assert next(parts).start == 0
            assert next(parts).start == 5
            parts.close()  # type: ignore[attr-defined]
    assert read <= 5 * (2 * 2 + 2)


class Gated(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Responds only after its gate has been opened."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Wait in this thread."""
        assert self.gate.wait(30)
        return Service().handle(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait in another thread."""
        assert await asyncio.to_thread(self.gate.wait, 30)
        return Service().handle(request)


@both
def test_taking_parts_slowly_does_not_stop_requests(kind: Kind) -> None:
    """Each part taken makes room for one more batch, even if later parts are complete."""
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


async def test_closing_an_async_stream_cancels_its_requests() -> None:
    """Closing a stream cancels requests in flight that would never end by themselves."""
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

    async with httpx.AsyncClient(transport=Stuck()) as http:
        client = ore.AsyncClient("k", http_client=http, model="m", batch_size=1, concurrency=2)
        parts = client.embed_stream(["first", *"abcdefgh"])
        assert (await anext(parts)).start == 0
        await parts.aclose()
    assert cancelled == 2


async def test_a_stream_ends_although_its_iterable_swallows_a_cancellation() -> None:
    """`asyncio.wait_for` swallows a cancellation if its result arrives at the same time."""

    async def source() -> AsyncIterator[str]:
        yield "first"
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        for text in "abcdefgh":
            yield text

    async with ore.AsyncClient.local(**ONE_BY_ONE) as client:
        parts = client.embed_stream(source())
        assert (await anext(parts)).start == 0
        await parts.aclose()


async def test_closing_an_async_client_ends_a_stream_that_waits_for_inputs() -> None:
    """A task that waits for the next part gets an error saying that the client was closed."""

    async def source(paused: asyncio.Event) -> AsyncIterator[str]:
        yield "first"
        paused.set()
        await asyncio.Event().wait()

    paused = asyncio.Event()
    async with ore.AsyncClient.local(**ONE_BY_ONE) as client:
        parts = client.embed_stream(source(paused))
        assert (await anext(parts)).start == 0
        await paused.wait()
        waiting = asyncio.ensure_future(anext(parts))
        await client.close()
        with pytest.raises(ore.EmbeddingsError, match="the client was closed"):
            await waiting


def test_an_async_stream_can_be_garbage_collected() -> None:
    """Its reading task is cancelled, and the event loop reports no destroyed pending task."""
    reports: list[dict[str, Any]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        async with ore.AsyncClient.local(**ONE_BY_ONE) as client:
            holder: list[Any] = [client.embed_stream(["x"] * 9)]
            holder.append(holder)  # only the garbage collector frees it
            await anext(holder[0])
            del holder
            gc.collect()
            assert client._tasks.readers
            while client._tasks.readers:  # noqa: ASYNC110 - nothing tells when a task has ended
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 30))
    assert reports == []


@both
def test_an_empty_stream_has_no_parts(kind: Kind) -> None:
    """An empty stream yields nothing and sends nothing."""
    service = Service()
    assert stream(service, kind, []) == []
    assert service.requests == []


def test_an_asynchronous_iterable_is_accepted() -> None:
    """AsyncClient takes an asynchronous iterable, such as a queue or a database cursor."""

    async def inputs() -> AsyncIterator[str]:
        for text in ("a", "bb", "ccc"):
            yield text

    parts = stream(Service(), "async", inputs(), batch_size=2)
    assert np.array_equal(
        np.concatenate([part.vectors for part in parts]), expected(["a", "bb", "ccc"])
    )


@both
def test_only_a_batch_with_an_image_is_multimodal(kind: Kind) -> None:
    """A stream chooses the format batch by batch, because it does not know the later inputs."""
    service = Service()
    stream(service, kind, ["a", "b", "c", ore.Image(PNG)], batch_size=2, concurrency=1)
    first, second = service.bodies
    assert first["input"] == ["a", "b"]
    assert [len(item["content"]) for item in second["input"]] == [1, 1]


@both
@pytest.mark.parametrize("bad", ["", None, [1], 5, "\udfff", ore.Image(b"junk")])
def test_an_invalid_input_in_a_stream_is_named_by_its_position(kind: Kind, bad: Any) -> None:
    """The error has the position of the invalid input; the batches before it have been sent."""
    service = Service()
    with pytest.raises(ore.InputError, match="input 5") as caught:
        stream(service, kind, [*"abcde", bad, "f"], batch_size=2)
    assert caught.value.inputs == (5,)
    assert len(service.requests) <= 3


@both
def test_answered_parts_are_yielded_before_an_error_of_the_iterable(kind: Kind) -> None:
    """Every answered part is yielded before an error that the caller's iterable raised."""

    def inputs() -> Iterator[str]:
        yield from "abcdef"
        raise LookupError("the database has gone")

    starts: list[int] = []
    service = StandIn()
    with (
        client_of(service, kind, batch_size=2) as client,
        pytest.raises(LookupError, match="the database has gone"),
    ):
        starts.extend(part.start for part in client.embed_stream(inputs()))
    assert starts == [0, 2, 4][: service.faults.requests]
    assert service.faults.requests >= 2


async def test_an_async_stream_yields_parts_while_its_iterable_waits() -> None:
    """An asynchronous iterable is read in its own task, so complete parts need not wait for it."""
    came = asyncio.Event()

    async def inputs() -> AsyncIterator[str]:
        for number in range(8):
            if number in (3, 6):  # inside a batch and between two
                await came.wait()
                came.clear()
            yield "a"

    async with ore.AsyncClient.local(model="local/hash", batch_size=2) as client:
        starts: list[int] = []
        async for part in client.embed_stream(inputs()):
            starts.append(part.start)
            came.set()
        assert starts == [0, 2, 4, 6]


def test_an_asynchronous_iterable_runs_in_one_task() -> None:
    """An asynchronous iterable may hold a timeout or task group open; it also ends in its task."""
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


def test_a_cancelled_iterable_does_not_look_finished() -> None:
    """CancelledError reaches the caller; otherwise the remaining inputs would be lost silently."""

    async def inputs() -> AsyncIterator[str]:
        yield "a"
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        stream(Service(), "async", inputs(), batch_size=1)


def _record_futures(monkeypatch: pytest.MonkeyPatch) -> list[WorkerFuture[Any]]:
    """The futures of the blocking client, in the order of submission."""
    submit, jobs = Workers.submit, list[WorkerFuture[Any]]()

    def noted(self: Workers[Any], *job: Any) -> WorkerFuture[Any]:
        jobs.append(submit(self, *job))
        return jobs[-1]

    monkeypatch.setattr(Workers, "submit", noted)
    return jobs


@pytest.mark.parametrize("paused", [True, False])
def test_a_complete_part_waits_for_one_input_or_for_one_batch(
    monkeypatch: pytest.MonkeyPatch, *, paused: bool
) -> None:
    """A part waits for one input of a slow iterable, and for a whole batch of a fast one."""
    monkeypatch.setattr(_sync, "MAX_READ_TIME", -1.0 if paused else 1e6)
    jobs = _record_futures(monkeypatch)
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


def test_a_blocking_stream_reads_its_iterable_in_the_callers_thread() -> None:
    """An SQLite cursor or a database session can be used only in its own thread."""
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE texts AS SELECT 'a' AS text UNION ALL SELECT 'bb'")
        texts = (text for (text,) in database.execute("SELECT text FROM texts"))
        parts = stream(Service(), "sync", texts, batch_size=1)
    database.close()
    assert np.array_equal(np.concatenate([p.vectors for p in parts]), expected(["a", "bb"]))


@pytest.mark.parametrize("inputs", ["a generator", "an asynchronous generator"])
async def test_an_iterable_that_never_waits_does_not_stop_requests(inputs: str) -> None:
    """Each part taken lets one more batch be read."""
    read: list[int] = []
    ahead: list[int] = []

    def plain() -> Iterator[str]:
        for number in range(20):
            read.append(number)
            yield "a"

    async def asynchronous() -> AsyncIterator[str]:
        for text in plain():
            yield text

    async with ore.AsyncClient.local(model="local/hash", batch_size=1, concurrency=2) as client:
        source: Any = asynchronous() if inputs == "an asynchronous generator" else plain()
        async for part in client.embed_stream(source):
            ahead.extend([len(read) - part.start])
    assert min(ahead[:16]) >= 4


@both
@pytest.mark.parametrize(
    "wrong", ["hello", b"hello", {"content": []}, {"a", "b"}, None, 3, ore.Image(PNG)]
)
def test_a_single_input_is_not_accepted_as_a_stream(kind: Kind, wrong: Any) -> None:
    """A str would otherwise give one vector per character."""
    service = Service()
    with pytest.raises(ore.InputError):
        stream(service, kind, wrong)
    assert service.requests == []


@both
def test_parts_of_different_widths_raise(kind: Kind) -> None:
    """All parts of a stream must have the same width."""
    service = Service(
        lambda body, _: answer(
            body["input"],
            data=[{"object": "embedding", "embedding": [1.0] * len(body["input"][0])}],
        )
    )
    with pytest.raises(ore.ResponseError, match="2 dimensions, but of 1"):
        stream(service, kind, ["a", "bb"], batch_size=1)


@both
def test_embed_stream_validates_its_options_when_called(kind: Kind) -> None:
    """An invalid option raises in `embed_stream` itself, not when the first part is requested."""
    make = ore.Client if kind == "sync" else ore.AsyncClient
    client = make("k")
    with pytest.raises(ore.InputError, match="no model"):
        client.embed_stream(["a"])
    asyncio.run(client.close()) if isinstance(client, ore.AsyncClient) else client.close()


@both
@pytest.mark.parametrize("batch_size", [2, 8])
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
def test_a_dropped_result_is_freed_at_once(kind: Kind, method: str, batch_size: int) -> None:
    """No reference cycle keeps vectors in memory until the garbage collector runs."""
    dropped: list[weakref.ref[Any]] = []

    def drop(result: ore.EmbeddingResult) -> None:
        matrix = result.vectors
        dropped.append(weakref.ref(matrix if matrix.base is None else matrix.base))

    def run() -> None:
        with client_of(StandIn(), kind, batch_size=batch_size) as client:
            for part in [client.embed(texts)] if method == "embed" else client.embed_stream(texts):
                drop(part)

    texts = [*"abcdefgh"]
    gc.collect()
    gc.disable()
    try:
        run()
        for thread in worker_threads():
            thread.join(20)
        assert dropped
        assert all(matrix() is None for matrix in dropped)
    finally:
        gc.enable()
