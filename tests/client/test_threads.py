"""State that threads share: what two of them do at the same moment is done one after the other."""

import threading
from collections.abc import Callable
from typing import Any

import httpcore
import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings._secret import Secret
from openrouter_embeddings.client import _base
from openrouter_embeddings.client._call import CallState
from openrouter_embeddings.core.splitting import Limit, ModelLimits
from openrouter_embeddings.core.streaming import StreamDecoder
from openrouter_embeddings.testing import JumpingClock
from openrouter_embeddings.transport import Transport, _send, _sync_backend
from openrouter_embeddings.transport._stream_state import ResponseTimes
from openrouter_embeddings.transport._sync_backend import abort_attempts

from tests.http_service import HTTPService
from tests.socket_service import SocketService, correct_response, response_to, socket_service
from tests.support import KEY, Service, answer, in_threads, worker_threads


class WatchedLock:
    """A lock that tells when a thread has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.waited_for = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.waited_for.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def meanwhile(self, work: Callable[[], object]) -> threading.Thread:
        """Another thread that works, and has now ended or waits for this lock."""

        def whole() -> None:
            try:
                work()
            finally:
                self.waited_for.set()

        thread = threading.Thread(target=whole)
        thread.start()
        assert self.waited_for.wait(20)
        return thread


class Interrupted(float):
    """A number; `meanwhile` runs in the middle of an operation with it."""

    __slots__ = ("meanwhile",)
    meanwhile: Callable[[], object]

    def __gt__(self, other: float) -> bool:
        self.meanwhile()
        return float(self) > other

    def __radd__(self, other: float) -> float:
        self.meanwhile()
        return other + float(self)


def test_two_threads_count_a_response_at_the_same_moment() -> None:
    """The fastest response stays the fastest."""
    times, lock = ResponseTimes(), WatchedLock()
    times._lock = lock  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    slow, threads = Interrupted(0.5), []
    slow.meanwhile = lambda: threads.append(lock.meanwhile(lambda: times.add(0.1)))
    times.add(slow)
    threads[0].join(20)
    assert times.fastest == 0.1


def test_two_threads_wait_at_the_same_moment() -> None:
    """The clock of tests adds both waits."""
    clock, lock = JumpingClock(), WatchedLock()
    clock._lock = lock  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    wait, threads = Interrupted(2.0), []
    wait.meanwhile = lambda: threads.append(
        lock.meanwhile(lambda: clock.wait(threading.Event(), 1.0))
    )
    clock.wait(threading.Event(), wait)
    threads[0].join(20)
    assert clock.now() == 3.0


def test_only_one_of_two_calls_tries_a_larger_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls share the limits that the client has learned, and a trial is the only one at a time."""
    both_sent, lock, threads = threading.Event(), WatchedLock(), []

    def script(body: dict[str, Any], number: int) -> Any:
        if number:
            both_sent.set()
        else:
            assert both_sent.wait(20)  # the trial is in flight as long as the other call decides
        return answer(body["input"])

    def fits(self: ModelLimits, model: str, batch: Any) -> bool:
        monkeypatch.undo()
        found = self.fits(model, batch)
        threads.append(lock.meanwhile(lambda: client.embed([*"efgh"])))
        return found

    service = Service(script)
    http = httpx.Client(transport=service.transport())
    with http, ore.Client(KEY, http_client=http, model="m") as client:
        client._throttle.lock = lock  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
        client._model_limits.counts["m"] = Limit(2, _full=32)
        monkeypatch.setattr(ModelLimits, "fits", fits)
        assert len(client.embed([*"abcd"])) == 4
        threads[0].join(20)
    sizes = [len(body["input"]) for body in service.bodies]
    assert sorted(sizes) == [2, 2, 4]


def test_a_call_that_begins_while_the_client_closes_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Either the call sees that the client is closed, or `close` sees the call."""
    service = Service()
    http = httpx.Client(transport=service.transport())
    client = ore.Client(KEY, http_client=http, model="m")

    def late(*arguments: Any) -> CallState:
        in_threads(1, client.close)
        return CallState(*arguments)

    monkeypatch.setattr(_base, "CallState", late)
    with pytest.raises(ore.EmbeddingsError, match="the client was closed"):
        client.embed("a")
    assert not service.requests


def test_no_request_begins_while_the_transport_closes(
    counting: HTTPService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once `close` aborts what is in flight, nothing else can come into flight."""
    transport = Transport(counting.url, Secret(KEY), None, allow_http=True)
    refused: list[bool] = []

    def send() -> None:
        with pytest.raises(ore.InputError, match="closed"):
            transport.send(b"{}", 5.0, StreamDecoder(1, 1 << 20, lambda _: None))
        refused.append(True)

    def abort(owner: object) -> None:
        abort_attempts(owner)
        in_threads(1, send)

    monkeypatch.setattr(_send, "abort_attempts", abort)
    transport.close()
    assert refused


def test_leaving_a_stream_ends_no_request_of_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even in a thread that has got the number of a thread that the stream had."""
    started, left, aborted = threading.Event(), threading.Event(), threading.Event()
    arrived = threading.Semaphore(0)
    results: list[ore.EmbeddingResult] = []
    waits = {
        response_to(["a"]): started,  # so that the stream has a request in flight when it is left
        response_to(["bb"]): left,
        response_to(["ccc"]): aborted,
    }
    announces: dict[bytes, Callable[[], object]] = {
        response_to(["a"]): list,
        response_to(["bb"]): started.set,
        response_to(["ccc"]): arrived.release,
    }

    def respond(_: SocketService, connection: Any) -> None:
        while response := correct_response(connection):
            announces[response]()
            waits[response].wait(20)
            connection.sendall(response)

    def late(self: Transport, owner: Any) -> None:
        before = worker_threads()
        left.set()
        for thread in before:
            thread.join(20)
        others = threading.Thread(target=in_threads, args=[6, embed])
        others.start()
        for _ in range(6):
            assert arrived.acquire(timeout=20)
        abort(self, owner)
        aborted.set()
        others.join(20)

    def embed() -> None:
        results.append(client.embed("ccc"))

    abort = Transport.abort
    monkeypatch.setattr(Transport, "abort", late)
    with socket_service(respond) as service:
        client = ore.Client(KEY, base_url=service.url, model="m", max_retries=0)
        with client:
            parts = client.embed_stream(["a", *["bb"] * 5], batch_size=1, concurrency=4)
            next(parts)
            parts.close()  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
    assert len(results) == 6


def test_a_call_inside_a_request_leaves_the_request_as_it_was() -> None:
    """A hook, a signal handler or the garbage collector may embed in the same thread."""
    inner = Service()

    def script(body: dict[str, Any], number: int) -> Any:
        assert len(inner.embed("sync", ["inner"])) == 1
        return answer(body["input"]) if number else (lambda: httpx.Response(429, json={}))

    assert len(Service(script).embed("sync", ["outer"], max_retries=1)) == 1


def test_an_interrupted_attempt_keeps_its_deadline_and_can_be_aborted() -> None:
    """The one inside it has its own."""
    outer, inner = object(), object()
    _sync_backend.begin_attempt(60, outer)
    interrupted = _sync_backend.current_attempt()
    try:
        _sync_backend.begin_attempt(0, inner)
        with pytest.raises(httpcore.ReadTimeout):
            _sync_backend.check_attempt()
        _sync_backend.end_attempt(interrupted)
        _sync_backend.check_attempt()
        _sync_backend.begin_attempt(60, inner)
        abort_attempts(outer)
        _sync_backend.check_attempt()
        abort_attempts(inner)
        with pytest.raises(httpcore.ReadError):
            _sync_backend.check_attempt()
        _sync_backend.end_attempt(interrupted)
        with pytest.raises(httpcore.ReadError):
            _sync_backend.check_attempt()
    finally:
        _sync_backend.end_attempt(None)
    assert _sync_backend.current_attempt() is None
