"""How spans end: with errors, cancelled, left, collected, forked, at exit."""

import asyncio
import gc
import sys
import threading
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode

from tests.support import (
    KEY,
    MODEL,
    Kind,
    Service,
    answer,
    both,
    ended,
    in_a_fork,
)
from tests.tracing import Recorded, failing

DURATION = "gen_ai.client.embeddings.duration"


@both
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
@pytest.mark.parametrize(
    ("outcome", "error_type"),
    [
        (failing(401), "401"),
        (failing(503), "503"),
        (lambda: httpx.Response(200, json={"error": {"message": "no"}}), "APIStatusError"),
        (lambda: httpx.Response(200, text="junk"), "ResponseError"),
        (httpx.ReadTimeout("late"), "APITimeoutError"),
        (httpx.ConnectError("no"), "APIConnectionError"),
        (ZeroDivisionError("odd"), "ZeroDivisionError"),
    ],
)
def test_a_failed_call_has_an_error_type(
    kind: Kind, method: str, outcome: Any, error_type: str, recorded: Recorded
) -> None:
    """It is the status or the name of the exception, and the only thing recorded of the error."""
    service = Service(lambda *_: outcome)
    with pytest.raises((ore.EmbeddingsError, ZeroDivisionError)) as caught:
        service.run(kind, lambda c: getattr(c, method)(["a"], max_retries=0))
    span = recorded.only
    assert span.attributes["error.type"] == error_type
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == caught.type.__name__
    assert span.events == ()
    assert recorded.points[DURATION].attributes["error.type"] == error_type


@both
def test_a_deadline_is_named_although_its_error_has_the_last_status(
    kind: Kind, recorded: Recorded
) -> None:
    """What ended the call is the deadline; the event of the retry has the status."""
    service = Service(lambda *_: failing(503, **{"retry-after": "4"}))
    with pytest.raises(ore.DeadlineExceededError):
        service.embed(kind, ["a"], deadline=5)
    assert recorded.only.attributes["error.type"] == "DeadlineExceededError"
    assert [event.attributes["error.type"] for event in recorded.only.events] == ["503"]


@both
def test_inputs_that_are_rejected_before_anything_is_sent_make_no_span(
    kind: Kind, recorded: Recorded
) -> None:
    """There is no request to describe."""
    with pytest.raises(ore.InputError):
        Service().embed(kind, [""])
    assert recorded.spans == []


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_a_stream_that_is_not_read_makes_no_span(make: Any, recorded: Recorded) -> None:
    """The span starts with the first part that the caller takes."""
    make(KEY, model=MODEL).embed_stream(["a"])
    gc.collect()
    assert recorded.spans == []


@pytest.mark.parametrize("how", ["close", "forget"])
def test_a_stream_that_is_left_ends_its_span(how: str, recorded: Recorded) -> None:
    """It has not failed; the span has what was received."""
    service = Service()
    with httpx.Client(transport=service.transport()) as http:
        client = ore.Client(KEY, http_client=http, model=MODEL)
        parts: Any = client.embed_stream([*"abcd"], batch_size=1, concurrency=1)
        next(parts)
        assert recorded.spans == []
        if how == "close":
            parts.close()
        del parts
        gc.collect()
    span = recorded.only
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes
    assert 1 <= span.attributes["openrouter.requests"] <= 2


@pytest.mark.parametrize("how", ["close", "close in another task", "forget", "break"])
async def test_an_async_stream_that_is_left_ends_its_span(
    how: str, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """The same for asyncio, whatever task closes the stream."""
    async with (
        httpx.AsyncClient(transport=Service().transport()) as http,
        ore.AsyncClient(KEY, http_client=http, model=MODEL) as client,
    ):
        parts = client.embed_stream([*"abcd"], batch_size=1, concurrency=1)
        if how == "break":
            async for _ in parts:
                break
        else:
            await anext(parts)
        assert recorded.spans == []
        if how == "close":
            await parts.aclose()
        if how == "close in another task":
            await asyncio.create_task(parts.aclose())
        del parts
        gc.collect()
        while not recorded.spans:  # noqa: ASYNC110 - the event loop may have to close it
            await asyncio.sleep(0)
    assert recorded.only.status.status_code is StatusCode.UNSET
    assert "error.type" not in recorded.only.attributes
    assert "opentelemetry" not in caplog.text


@pytest.mark.filterwarnings("ignore")  # about tasks and sockets that nobody has waited for
def test_a_call_whose_event_loop_goes_away_ends_its_span(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that is collected in another context, and a stream of a closed loop."""
    loop = asyncio.new_event_loop()
    sent = asyncio.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        sent.set()
        return await asyncio.Future()

    async def first(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=answer(["a"]))

    async def start() -> None:
        http = httpx.AsyncClient(transport=httpx.MockTransport(never))
        client = ore.AsyncClient(KEY, http_client=http, model=MODEL)
        kept.append(asyncio.create_task(client.embed("a")))
        await sent.wait()
        http = httpx.AsyncClient(transport=httpx.MockTransport(first))
        client = ore.AsyncClient(KEY, http_client=http, model=MODEL)
        kept.append(client.embed_stream(["a"] * 9, batch_size=1, concurrency=1))
        await anext(kept[-1])

    kept: list[Any] = []
    loop.run_until_complete(start())
    assert recorded.spans == []
    loop.close()
    kept.clear()
    gc.collect()
    assert [span.name for span in recorded.spans] == [f"embeddings {MODEL}"] * 2
    assert "Failed to detach context" not in caplog.text


@pytest.mark.filterwarnings("ignore")  # about what the coroutine leaves behind
async def test_a_coroutine_that_is_closed_by_hand_leaves_no_current_span(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """Its caller's context is as before, and the span has ended."""

    async def never(request: httpx.Request) -> httpx.Response:
        return await asyncio.Future()

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(never)) as http,
        ore.AsyncClient(KEY, http_client=http, model=MODEL) as client,
    ):
        call = client.embed("a")
        call.send(None)
        inside = trace.get_current_span()
        call.close()
    assert inside.get_span_context().is_valid
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert len(recorded.spans) == 1
    assert "Failed to detach context" not in caplog.text


async def test_a_cancelled_call_has_failed(recorded: Recorded) -> None:
    """OpenTelemetry's own instrumentations of GenAI clients count a cancellation as a failure."""
    sent = asyncio.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        sent.set()
        return await asyncio.Future()

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(never)) as http,
        ore.AsyncClient(KEY, http_client=http, model=MODEL) as client,
    ):
        call = asyncio.create_task(client.embed(["a", "b"], batch_size=1))
        await sent.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    span = recorded.only
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "CancelledError"
    assert span.attributes["openrouter.unanswered"] >= 1
    assert recorded.points[DURATION].attributes["error.type"] == "CancelledError"


def test_a_stream_that_is_collected_while_opentelemetry_holds_a_lock(recorded: Recorded) -> None:
    """The collector may run in any method of a processor; its span ends when the lock is free."""
    lock, ended = threading.Lock(), threading.Semaphore(0)
    acquired: list[bool] = []
    daemon: list[bool] = []  # others take a lock of `threading`, which may be held as well

    class Locking(SpanProcessor):
        def on_end(self, span: Any) -> None:
            daemon.append(threading.current_thread().daemon)
            acquired.append(lock.acquire(timeout=30))
            lock.release()
            ended.release()

    with httpx.Client(transport=Service().transport()) as http:
        client = ore.Client(KEY, http_client=http, model=MODEL)
        recorded.add(Locking())
        cycle: list[Any] = [client.embed_stream([*"abcd"], batch_size=1, concurrency=1)]
        next(cycle[0])
        cycle.append(cycle)
        with lock:
            del cycle
            gc.collect()
        assert ended.acquire(timeout=30)
    assert acquired == daemon == [True]
    assert len(recorded.spans) == 1


@pytest.mark.parametrize("batch_size", [1, 2])
def test_ctrl_c_ends_the_span(batch_size: int, recorded: Recorded) -> None:
    """An interrupted call has failed."""
    service = Service(lambda *_: KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        service.embed("sync", ["a", "b"], batch_size=batch_size)
    assert recorded.only.attributes["error.type"] == "KeyboardInterrupt"


def test_closing_the_client_ends_the_spans_of_its_calls(recorded: Recorded) -> None:
    """A call that another thread is waiting for fails, and its span says so."""
    came, go = threading.Event(), threading.Event()

    def script(body: dict[str, Any], _: int) -> Any:
        came.set()
        go.wait(30)
        return answer(body["input"])

    with httpx.Client(transport=httpx.MockTransport(Service(script).handle)) as http:
        client = ore.Client(KEY, http_client=http, model=MODEL)
        errors: list[Exception] = []

        def call() -> None:
            try:
                client.embed(["a", "b"], batch_size=1, concurrency=1)
            except ore.EmbeddingsError as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        came.wait(30)
        client.close()
        go.set()
        thread.join(30)
    assert len(errors) == 1
    assert recorded.only.attributes["error.type"] == type(errors[0]).__name__


def test_a_fork_does_not_end_the_span_of_its_parent(recorded: Recorded) -> None:
    """A stream that is open during a fork has one span, which the parent ends."""
    with httpx.Client(transport=Service().transport()) as http:
        client = ore.Client(KEY, http_client=http, model=MODEL)
        parts: Any = client.embed_stream([*"abcd"], batch_size=1, concurrency=1)
        next(parts)

        def child() -> bool:
            nonlocal parts
            del parts
            gc.collect()
            return recorded.spans == []

        assert in_a_fork(child) == 0
        parts.close()
    assert len(recorded.spans) == 1


def test_a_stream_half_read_at_exit_is_silent() -> None:
    """The exporters have been shut down by then."""
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
import openrouter_embeddings as ore
from openrouter_embeddings.testing import Service
client = Service().client()
for part in (parts := client.embed_stream([*"abcd"], batch_size=1)):
    break
print(part.start)
"""
    done = ended(sys.executable, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
