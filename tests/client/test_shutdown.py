"""Calls that end early: cancelled, failed, over budget, closed, interrupted."""

import asyncio
import copy
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
import stamina
from openrouter_embeddings.client import _base
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import JumpingClock, Service

from tests.socket_service import SocketService, correct_response, response_to, socket_service
from tests.support import (
    KEY,
    MODEL,
    Kind,
    answer,
    both,
    client_of,
    ended,
    expected,
    held_by_another,
    worker_threads,
)
from tests.support import Service as Scripted


class Silent:
    """A server that answers the text "first" after three other requests, and nothing else.

    It notices when a client gives up a request.
    """

    def __init__(self) -> None:
        self.url = ""
        self.came = threading.Semaphore(0)
        self.gone = threading.Semaphore(0)
        self.others = threading.Semaphore(0)

    def hold(self, _: SocketService, connection: Any) -> None:
        """Handle one connection."""
        response = correct_response(connection)
        if response == response_to(["first"]):
            self.wait_for(self.others, 3)
            connection.sendall(response)
            connection.recv(1 << 16)
        self.came.release()
        self.others.release()
        with suppress(OSError):
            while connection.recv(1 << 16):
                """Until the client hangs up."""
        self.gone.release()

    def wait_for(self, event: threading.Semaphore, times: int) -> None:
        """Wait until the event has happened `times` times."""
        for _ in range(times):
            assert event.acquire(timeout=10)


@contextmanager
def silent() -> Iterator[Silent]:
    """A running `Silent` server."""
    server = Silent()
    with socket_service(server.hold) as service:
        server.url = service.url
        yield server


def test_closing_a_stream_aborts_its_requests() -> None:
    """Closing a stream leaves no request in flight and no thread alive."""
    with silent() as server, ore.Client(KEY, base_url=server.url, model=MODEL) as client:
        parts = client.embed_stream(["first", *"abc"], batch_size=1, concurrency=4)
        assert isinstance(parts, Generator)
        assert next(parts).start == 0
        server.wait_for(server.came, 3)
        parts.close()
        assert worker_threads() == []
        server.wait_for(server.gone, 3)


async def test_closing_an_async_stream_aborts_its_requests() -> None:
    """Closing an asynchronous stream leaves no request in flight and no task."""
    with silent() as server:
        async with ore.AsyncClient(KEY, base_url=server.url, model=MODEL) as client:
            parts = client.embed_stream(["first", *"abc"], batch_size=1, concurrency=4)
            assert (await anext(parts)).start == 0
            await asyncio.to_thread(server.wait_for, server.came, 3)
            await parts.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            await asyncio.to_thread(server.wait_for, server.gone, 3)


def test_ctrl_c_aborts_the_requests_in_flight() -> None:
    """KeyboardInterrupt reaches the caller at once and leaves no connection and no thread."""
    code = """
import signal, sys, threading
import openrouter_embeddings as ore
signal.signal(signal.SIGINT, signal.default_int_handler)
client = ore.Client("k", base_url=sys.argv[1], model="m")
try:
    client.embed(["a"] * 4, batch_size=1, concurrency=4)
except KeyboardInterrupt:
    left = [t.name for t in threading.enumerate() if t.name == "openrouter-embeddings"]
    print("interrupted", left, flush=True)
    sys.stdin.read()
"""
    with silent() as server:
        process = subprocess.Popen(
            [sys.executable, "-c", code, server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            server.wait_for(server.came, 4)
            process.send_signal(2)
            assert process.stdout is not None
            assert process.stdout.readline() == "interrupted []\n"
            server.wait_for(server.gone, 4)
            process.communicate("", timeout=30)


async def test_cancelling_a_task_aborts_its_requests() -> None:
    """A cancelled call leaves no request in flight and no task."""
    with silent() as server:
        async with ore.AsyncClient(KEY, base_url=server.url, model=MODEL) as client:
            call = asyncio.create_task(client.embed(["a"] * 4, batch_size=1))
            await asyncio.to_thread(server.wait_for, server.came, 4)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.to_thread(server.wait_for, server.gone, 4)
            assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_failing_call_interrupts_the_backoff_of_its_other_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads in a backoff of 200 seconds end when the call fails."""
    monkeypatch.setattr(_base, "GRACE_PERIOD", 30.0)
    retrying = threading.Semaphore(0)

    def script(body: dict[str, Any], _: int) -> Any:
        if body["input"] == ["a"]:
            assert retrying.acquire(timeout=30)
            return lambda: httpx.Response(401, json={"error": {"code": 401, "message": "no"}})
        retrying.release()
        return lambda: httpx.Response(
            500, json={"error": {"code": 500, "message": "no"}}, headers={"retry-after": "200"}
        )

    stamina.set_testing(False)
    with pytest.raises(ore.AuthenticationError):
        Scripted(script).embed("sync", ["a", "b"], batch_size=1, concurrency=2)
    assert worker_threads() == []


@both
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
def test_an_error_has_the_responses_that_were_in_flight(kind: Kind, method: str) -> None:
    """Requests in flight are finished, because they are billed; no further ones are sent."""
    both_came = threading.Barrier(2, timeout=30)

    class Paired(httpx.BaseTransport, httpx.AsyncBaseTransport):
        requests = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            Paired.requests += 1
            text = json.loads(request.content)["input"][0]
            if text in "ab":
                both_came.wait()
            if text == "a":
                return httpx.Response(402, json={"error": {"code": 402, "message": "no"}})
            return httpx.Response(200, json=answer([text]))

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await asyncio.to_thread(self.handle_request, request)

    service = Scripted()
    service.transport = Paired
    options: Any = {"batch_size": 1, "concurrency": 2}
    with pytest.raises(ore.PaymentRequiredError) as caught:
        service.run(kind, lambda c: getattr(c, method)([*"abcdefghijklmnopqrstuvwxyz"], **options))
    assert 2 <= Paired.requests < 26
    partial = caught.value.partial
    assert partial is not None
    assert partial.mask[:2].tolist() == [False, True]
    assert np.array_equal(partial.vectors[0], expected(["b"])[0])
    assert caught.value.usage == partial.usage


@both
def test_the_error_of_a_stream_does_not_repeat_yielded_parts(kind: Kind) -> None:
    """`partial` leaves out the parts that the caller already has."""
    service = Service(Fault("status", status=402, requests=[2]))
    seen: list[int] = []
    with (
        client_of(service, kind, batch_size=1, concurrency=1) as client,
        pytest.raises(ore.PaymentRequiredError) as caught,
    ):
        seen.extend(part.start for part in client.embed_stream([*"abcd"]))
    assert seen == [0, 1]
    assert caught.value.partial is None
    assert caught.value.usage is not None
    assert caught.value.usage.requests == 2


@both
def test_a_budget_stops_a_call(kind: Kind) -> None:
    """The error has what was paid for, and the cost stays within the budget."""
    service = Service()
    texts = [f"text {i}" for i in range(64)]
    options: Any = {"batch_size": 1, "concurrency": 8, "budget": Decimal("0.000002")}
    with (
        client_of(service, kind) as client,
        pytest.raises(ore.BudgetExceededError, match="might exceed the budget") as caught,
    ):
        client.embed(texts, **options)
    spent = sum(Decimal(str(bill.cost)) for bill in service.faults.billed)
    assert Decimal("0.000001") < spent <= Decimal("0.000002")
    partial = caught.value.partial
    assert partial is not None
    assert len(partial) == len(service.faults.billed)
    assert partial.usage.cost == spent


@both
def test_a_budget_that_suffices_changes_nothing(kind: Kind) -> None:
    """All rows arrive."""
    with client_of(Service(), kind) as client:
        assert len(client.embed([*"abcdefgh"], batch_size=4, budget=Decimal(1))) == 8


@both
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_delays_every_request_of_the_client(
    kind: Kind, status: int, clock: JumpingClock
) -> None:
    """A Retry-After also delays the requests of other calls."""
    service = Service(Fault("status", status=status, retry_after=20, requests=[0]))
    with client_of(service, kind) as client:
        client.embed(["a"])
    assert 20 <= max(clock.waited) <= 22


def test_a_closed_client_raises_although_its_http_client_is_open() -> None:
    """The client raises InputError after `close`; closing twice is fine."""
    with httpx.Client(transport=httpx.MockTransport(Scripted().handle)) as http:
        client = ore.Client(KEY, http_client=http, model=MODEL)
        client.close()
        client.close()
        with pytest.raises(ore.InputError, match="the client is closed"):
            client.embed("a")


@both
def test_copying_a_client_returns_the_client(kind: Kind) -> None:
    """A library that copies an object with a client (sklearn, pydantic) keeps using that client."""
    client = ore.Client(KEY) if kind == "sync" else ore.AsyncClient(KEY)
    assert copy.copy(client) is client
    assert copy.deepcopy({"pipeline": [client]})["pipeline"][0] is client
    asyncio.run(client.close()) if isinstance(client, ore.AsyncClient) else client.close()


@both
def test_a_client_cannot_be_pickled(kind: Kind) -> None:
    """Pickling raises TypeError and says what to do instead."""
    client = ore.Client(KEY) if kind == "sync" else ore.AsyncClient(KEY)
    with pytest.raises(TypeError, match=r"cannot be pickled, .* make one in each process"):
        pickle.dumps(client)
    asyncio.run(client.close()) if isinstance(client, ore.AsyncClient) else client.close()


def test_an_overlong_response_is_not_read_to_its_end() -> None:
    """The number of inputs bounds how much of a response is read into memory."""

    class Endless(httpx.SyncByteStream):
        sent = 0

        def __iter__(self) -> Iterator[bytes]:
            while True:
                Endless.sent += 1 << 20
                yield b" " * (1 << 20)

    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Endless())

    with (
        httpx.Client(transport=httpx.MockTransport(handle)) as http,
        pytest.raises(ore.ResponseError, match="exceeds 1,448,576 bytes"),
    ):
        ore.Client(KEY, http_client=http, model=MODEL, max_retries=0).embed("a")
    assert Endless.sent <= 3 << 20


def test_the_interpreter_exits_with_a_stream_half_read() -> None:
    """Exiting does not wait for worker threads, which are frozen by then from Python 3.13."""
    code = """
import sys
import openrouter_embeddings as ore
from openrouter_embeddings.client import _base
_base.GRACE_PERIOD = 1e6
client = ore.Client("k", base_url=sys.argv[1], model="m")
for part in (parts := client.embed_stream(["first", *"abc"], batch_size=1, concurrency=4)):
    break
print(part.start)
"""
    with silent() as server:
        done = ended(sys.executable, "-c", code, server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_closing_a_stream_at_exit_waits_for_no_thread_and_no_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A frozen thread may hold the lock."""
    with silent() as server, ore.Client(KEY, base_url=server.url, model=MODEL) as client:
        parts: Any = client.embed_stream(["first", *"abc"], batch_size=1, concurrency=4)
        next(parts)
        threads = worker_threads()
        with held_by_another(client._throttle.lock), monkeypatch.context() as patched:
            patched.setattr(sys, "is_finalizing", lambda: True)
            patched.setattr(threading.Thread, "join", lambda *_: pytest.fail("waited"))
            parts.close()
        client.close()
        for thread in threads:
            thread.join(30)
