"""How calls end before they are done: cancelled, failed, out of money, in another process."""

import asyncio
import contextvars
import copy
import gc
import json
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client import _request
from openrouter_embeddings.client._workers import Job, Workers
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import JumpingClock, Service

from tests.support import KEY, KINDS, MODEL, Kind, answer, expected, held_by_another
from tests.support import Service as Scripted

both = pytest.mark.parametrize("kind", KINDS)


class Silent:
    """A server that answers a text "first", when three others have come, and nothing else.

    It notices when a request is given up.
    """

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/api/v1"
        self.came = threading.Semaphore(0)
        self.gone = threading.Semaphore(0)
        self.others = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._hold, args=(connection,), daemon=True).start()

    def _hold(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while b'"input"' not in request:  # headers and body come by themselves
                request += connection.recv(1 << 16)
            if b'"first"' in request:
                self.wait_for(self.others, 3)
                body = json.dumps(answer(["first"])).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                connection.sendall(body)
                connection.recv(1 << 16)
            self.came.release()
            self.others.release()
            try:
                while connection.recv(1 << 16):
                    pass
            except OSError:
                pass
            self.gone.release()

    def wait_for(self, event: threading.Semaphore, times: int) -> None:
        """Until it has happened so often."""
        for _ in range(times):
            assert event.acquire(timeout=10)


@contextmanager
def silent() -> Iterator[Silent]:
    """A silent server."""
    server = Silent()
    with closing(server.listener):
        yield server


def embed(kind: Kind, service: Service, inputs: list[str], **options: Any) -> ore.EmbeddingResult:
    """One call of a new client of the service."""
    if kind == "sync":
        with service.client() as client:
            return client.embed(inputs, **options)

    async def run() -> ore.EmbeddingResult:
        async with service.async_client() as client:
            return await client.embed(inputs, **options)

    return asyncio.run(run())


def our_threads() -> list[threading.Thread]:
    """Threads of this package that are alive."""
    return [t for t in threading.enumerate() if t.name == "openrouter-embeddings"]


def test_leaving_a_stream_cuts_its_requests() -> None:
    """No request is under way and no thread alive when it has been left."""
    with silent() as server, ore.Client(KEY, base_url=server.url, model=MODEL) as client:
        parts = client.embed_stream(["first", *"abc"], batch_size=1, concurrency=4)
        assert isinstance(parts, Generator)
        assert next(parts).start == 0
        server.wait_for(server.came, 3)
        parts.close()
        assert our_threads() == []
        server.wait_for(server.gone, 3)


def test_leaving_an_asynchronous_stream_cuts_its_requests() -> None:
    """The same for tasks."""

    async def run() -> None:
        with silent() as server:
            async with ore.AsyncClient(KEY, base_url=server.url, model=MODEL) as client:
                parts = client.embed_stream(["first", *"abc"], batch_size=1, concurrency=4)
                assert (await anext(parts)).start == 0
                await asyncio.to_thread(server.wait_for, server.came, 3)
                await parts.aclose()
                assert asyncio.all_tasks() == {asyncio.current_task()}
                await asyncio.to_thread(server.wait_for, server.gone, 3)

    asyncio.run(run())


def test_ctrl_c_cuts_what_is_under_way() -> None:
    """KeyboardInterrupt reaches the caller at once; no connection and no thread is left."""
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


def test_a_cancelled_task_leaves_nothing_under_way() -> None:
    """Neither a request nor a task."""

    async def run() -> None:
        with silent() as server:
            async with ore.AsyncClient(KEY, base_url=server.url, model=MODEL) as client:
                call = asyncio.create_task(client.embed(["a"] * 4, batch_size=1))
                await asyncio.to_thread(server.wait_for, server.came, 4)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                await asyncio.to_thread(server.wait_for, server.gone, 4)
                assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_call_that_ends_in_its_back_off_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other threads do not sleep on: stamina waits by something that can be cut short."""
    import stamina

    monkeypatch.setattr(_request, "GRACE", 30.0)
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
    assert our_threads() == []


@both
@pytest.mark.parametrize("method", ["embed", "embed_stream"])
def test_what_is_in_flight_when_a_call_fails_is_handed_over(kind: Kind, method: str) -> None:
    """It is being paid for; what has not begun is not sent."""
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
def test_a_failed_stream_hands_over_what_nobody_has_seen(kind: Kind) -> None:
    """Parts that were taken are the caller's already."""
    service = Service(Fault("status", status=402, requests=[2]))
    seen: list[int] = []

    async def take() -> None:
        async with service.async_client(batch_size=1, concurrency=1) as client:
            async for part in client.embed_stream([*"abcd"]):
                seen.extend([part.start])

    def take_here() -> None:
        with service.client(batch_size=1, concurrency=1) as client:
            seen.extend(part.start for part in client.embed_stream([*"abcd"]))

    with pytest.raises(ore.PaymentRequiredError) as caught:
        take_here() if kind == "sync" else asyncio.run(take())
    assert seen == [0, 1]
    assert caught.value.partial is None
    assert caught.value.usage is not None
    assert caught.value.usage.requests == 2


@both
def test_a_budget_stops_a_call(kind: Kind) -> None:
    """With what was paid for, and never past it."""
    service = Service()
    texts = [f"text {i}" for i in range(64)]
    options: Any = {"batch_size": 1, "concurrency": 8, "budget": Decimal("0.000002")}
    with pytest.raises(ore.BudgetExceededError, match="might exceed the budget") as caught:
        embed(kind, service, texts, **options)
    spent = sum(Decimal(str(bill.cost)) for bill in service.faults.billed)
    assert Decimal("0.000001") < spent <= Decimal("0.000002")
    partial = caught.value.partial
    assert partial is not None
    assert len(partial) == len(service.faults.billed)
    assert partial.usage.cost == spent


@both
def test_a_budget_that_suffices_changes_nothing(kind: Kind) -> None:
    """All rows come."""
    service = Service()
    options: Any = {"batch_size": 4, "budget": Decimal(1)}
    assert len(embed(kind, service, [*"abcdefgh"], **options)) == 8


@both
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_for_every_request_of_the_client(
    kind: Kind, status: int, clock: JumpingClock
) -> None:
    """Also for those of another call."""
    service = Service(Fault("status", status=status, retry_after=20, requests=[0]))
    embed(kind, service, ["a"])
    assert 20 <= max(clock.waited) <= 22


@both
def test_a_closed_client_says_so(kind: Kind) -> None:
    """Whosever httpx client it was; and closing twice is fine."""
    if kind == "sync":
        with httpx.Client(transport=httpx.MockTransport(Scripted().handle)) as http:
            client = ore.Client(KEY, http_client=http, model=MODEL)
            client.close()
            client.close()
            with pytest.raises(ore.InputError, match="the client is closed"):
                client.embed("a")
        return

    async def run() -> None:
        other = ore.AsyncClient.local()
        await other.close()
        await other.close()
        with pytest.raises(ore.InputError, match="the client is closed"):
            await other.embed("a")

    asyncio.run(run())


@both
def test_a_client_is_its_own_copy(kind: Kind) -> None:
    """Whatever copies what holds one (sklearn's clone, pydantic) goes on with the same client."""
    client = ore.Client(KEY) if kind == "sync" else ore.AsyncClient(KEY)
    assert copy.copy(client) is client
    assert copy.deepcopy({"pipeline": [client]})["pipeline"][0] is client
    asyncio.run(client.close()) if isinstance(client, ore.AsyncClient) else client.close()


@both
def test_a_client_is_not_pickled(kind: Kind) -> None:
    """It holds a key, and the error says what to do."""
    client = ore.Client(KEY) if kind == "sync" else ore.AsyncClient(KEY)
    with pytest.raises(TypeError, match="holds an API key and is not pickled; make one in each"):
        pickle.dumps(client)
    asyncio.run(client.close()) if isinstance(client, ore.AsyncClient) else client.close()


def test_an_answer_longer_than_could_be_right_is_not_read_on() -> None:
    """Memory is bounded by what was asked."""

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


def test_the_interpreter_ends_though_a_stream_was_left_in_the_middle() -> None:
    """Its other threads stand still by then, from Python 3.13 on, and are not waited for."""
    code = """
import sys
import openrouter_embeddings as ore
from openrouter_embeddings.client import _request
from openrouter_embeddings.client._workers import Job, Workers
_request.GRACE = 1e6
client = ore.Client("k", base_url=sys.argv[1], model="m")
for part in (parts := client.embed_stream(["first", *"abc"], batch_size=1, concurrency=4)):
    break
print(part.start)
"""
    with silent() as server:
        ended = subprocess.run(
            [sys.executable, "-c", code, server.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert (ended.stdout, ended.stderr) == ("0\n", "")


def test_an_interpreter_that_ends_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for a lock, which a thread that stands still may hold."""
    with silent() as server, ore.Client(KEY, base_url=server.url, model=MODEL) as client:
        parts: Any = client.embed_stream(["first", *"abc"], batch_size=1, concurrency=4)
        next(parts)
        threads = our_threads()
        with held_by_another(client._throttle.lock), monkeypatch.context() as patched:
            patched.setattr(sys, "is_finalizing", lambda: True)
            patched.setattr(threading.Thread, "join", lambda *_: pytest.fail("waited"))
            parts.close()
        client.close()
        for thread in threads:
            thread.join(30)


_who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@both
def test_context_variables_reach_every_request(kind: Kind) -> None:
    """Tracers keep the span there, under which a request is to appear."""
    seen: list[str] = []

    def script(body: dict[str, Any], _: int) -> Any:
        seen.append(_who.get())
        return answer(body["input"])

    token = _who.set("the caller")
    try:
        Scripted(script).embed(kind, [*"abcd"], batch_size=2)
        Scripted(script).embed(kind, ["a"])
    finally:
        _who.reset(token)
    assert seen == ["the caller"] * 3


def test_a_worker_sees_the_context_of_its_own_job() -> None:
    """Not that of whoever made the thread."""
    workers = Workers[str](1)
    found: list[str] = []
    for name in "ab":
        token = _who.set(name)
        found.append(workers.result(workers.submit(_who.get)))
        _who.reset(token)
    workers.stop()
    assert found == ["a", "b"]


def test_workers_that_nobody_has_end() -> None:
    """Ctrl-C may come before anybody could stop them."""
    workers = Workers[int](2)
    workers.result(workers.submit(int))
    threads = our_threads()
    assert threads
    del workers
    gc.collect()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_a_stop_begins_no_more_jobs() -> None:
    """What waited is forgotten."""
    workers, go_on, done = Workers[bool | None](1), threading.Event(), list[int]()
    first = workers.submit(go_on.wait, 30)
    workers.submit(done.append, 1)
    workers.stop()
    go_on.set()
    workers.result(first)
    assert workers.join(30) == []
    assert done == []


def test_no_future_is_waited_for_by_its_own_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in there may leave it held; the thread with the result would wait for ever."""

    def result(job: Job[Any], timeout: float | None = None) -> Any:
        assert job.has_ended
        return got(job, timeout)

    got = Future.result
    monkeypatch.setattr(Future, "result", result)
    monkeypatch.setattr(Future, "done", lambda _: pytest.fail("asked"))
    assert len(Scripted().embed("sync", [*"abcdefgh"], batch_size=1)) == 8


def test_ctrl_c_while_a_thread_starts_is_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though Python makes another error of it, where it comes in the middle of a lock."""

    def interrupted(_: threading.Thread) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            threading.Lock().release()

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Workers[int](1).submit(int)
