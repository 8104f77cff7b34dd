"""Attempts, backoff, deadlines, and what attempts cost."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
import stamina
from openrouter_embeddings.client._call import CallState, RequestState
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.options import Options
from openrouter_embeddings.core.splitting import ModelLimits
from openrouter_embeddings.testing import JumpingClock
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from tests.support import Kind, Service, answer, both


def failing(times: int, failure: Any) -> Service:
    """A service that fails a number of times before it answers."""
    return Service(lambda body, n: failure if n < times else answer(body["input"]))


def error(status: int, **headers: str) -> Callable[[], httpx.Response]:
    """The service's error response with a status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"error": {"code": status, "message": "no"}}
    return lambda: httpx.Response(status, json=body, headers=named)


TRANSIENT = [
    error(429),
    error(503, retry_after="1"),
    error(529),
    lambda: httpx.Response(502, html="<html>"),
    lambda: httpx.Response(200, json={"error": {"code": 429, "message": "late"}}),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("cut off"),
]


@both
@pytest.mark.usefixtures("http")
@pytest.mark.parametrize("failure", TRANSIENT)
def test_a_transient_failure_is_retried(kind: Kind, failure: Any) -> None:
    """The call succeeds after two failed attempts."""
    service = failing(2, failure)
    result = service.embed(kind, ["a"])
    assert (len(result), result.usage.retries) == (1, 2)
    assert len(service.requests) == 3


@both
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_max_retries_counts_retries(kind: Kind, retries: int) -> None:
    """`max_retries=0` allows one attempt."""
    service = failing(99, error(500))
    with pytest.raises(ore.InternalServerError) as caught:
        service.embed(kind, ["a", "b"], max_retries=retries)
    assert len(service.requests) == retries + 1
    assert caught.value.inputs == (0, 1)


@both
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_permanent_error_is_not_retried(kind: Kind, status: int) -> None:
    """A permanent error raises after one request."""
    service = failing(99, error(status))
    with pytest.raises(ore.APIStatusError):
        service.embed(kind, ["a"])
    assert len(service.requests) == 1


@both
@pytest.mark.usefixtures("http")
@pytest.mark.parametrize(
    ("failure", "kind_of_error"),
    [
        (httpx.ConnectError("refused"), ore.APIConnectionError),
        (httpx.ConnectTimeout("slow"), ore.APIConnectionError),
        (httpx.ReadError("reset"), ore.APIConnectionError),
        (httpx.DecodingError("bad gzip"), ore.APIConnectionError),
        (httpx.ReadTimeout("slow"), ore.APITimeoutError),
        (httpx.PoolTimeout("busy"), ore.APITimeoutError),
    ],
)
def test_connection_failures_raise_errors_of_this_package(
    kind: Kind, failure: Any, kind_of_error: type[ore.EmbeddingsError]
) -> None:
    """Exceptions of httpx or httpx2 become errors of this package and name the inputs."""
    with pytest.raises(kind_of_error) as caught:
        failing(9, failure).embed(kind, ["a"], max_retries=0)
    assert type(caught.value) is kind_of_error
    assert caught.value.inputs == (0,)


@both
def test_the_cost_of_an_invalid_response_is_in_the_usage(kind: Kind) -> None:
    """The usage of a call includes a 200 response that failed validation."""
    service = Service(lambda body, n: answer(body["input"], **({"data": []} if n == 0 else {})))
    result = service.embed(kind, ["a"])
    assert len(service.requests) == 2
    assert result.usage.cost == Decimal("2.8e-7")
    assert result.usage.requests == 2


@both
def test_an_invalid_response_is_retried_once(kind: Kind) -> None:
    """After the second 200 response that fails validation, the error has the cost of both."""
    service = Service(lambda body, _: answer(body["input"], data=[]))
    with pytest.raises(ore.ResponseError) as caught:
        service.embed(kind, ["a"])
    assert len(service.requests) == 2
    assert caught.value.usage is not None
    assert caught.value.usage.cost == Decimal("2.8e-7")


@both
def test_an_invalid_response_after_another_failure_is_retried(kind: Kind) -> None:
    """The one retry after an invalid response does not count earlier failures of other kinds."""

    def script(body: dict[str, Any], n: int) -> Any:
        return [error(503), answer(body["input"], data=[]), answer(body["input"])][n]

    assert len(Service(script).embed(kind, ["a"])) == 1


@both
def test_an_error_has_the_usage_of_the_whole_call(kind: Kind) -> None:
    """The usage includes other batches and invalid responses of the failed one."""

    def script(body: dict[str, Any], n: int) -> Any:
        if n < 3:
            return answer(body["input"], **({"data": []} if n == 2 else {}))
        return error(400)

    service = Service(script)
    with pytest.raises(ore.BadRequestError) as caught:
        service.embed(kind, ["a", "b", "c"], batch_size=1, concurrency=1)
    assert caught.value.inputs == (2,)
    assert caught.value.usage is not None
    assert caught.value.usage.cost == Decimal("4.2e-7")


@both
def test_only_the_failed_batch_is_sent_again(kind: Kind) -> None:
    """Batches that succeeded are not billed twice."""

    def script(body: dict[str, Any], _: int) -> Any:
        failed = body["input"] == ["b"] and service.bodies.count(body) == 1
        return error(503) if failed else answer(body["input"])

    service = Service(script)
    service.embed(kind, ["a", "b", "c"], batch_size=1)
    assert sorted(body["input"][0] for body in service.bodies) == ["a", "b", "b", "c"]


def request(**options: Any) -> RequestState:
    """A request of one input, which is never sent."""
    call, batch = CallState(Options(model="m", **options), ModelLimits()), Batch([0], ["a"])
    return RequestState(call, call.splitter(batch), batch)


def decide(request_state: RequestState, error: Exception, backoff: float = 0.5) -> bool | float:
    """What stamina is told after an attempt that ended with `error`."""
    request_state.backoff = backoff
    hook = request_state.retry_options["on"]
    decision: bool | float = hook(error)
    return decision


def test_retry_after_overrides_the_backoff() -> None:
    """A longer Retry-After replaces the client's own backoff."""
    limited = ore.RateLimitError("x", status=429, retry_after=7.5)
    assert decide(request(), limited) == 7.5
    assert decide(request(deadline=100), limited) == 7.5
    assert decide(request(), ore.RateLimitError("x", status=429)) is True


def test_a_backoff_longer_than_the_deadline_ends_the_call_at_once() -> None:
    """The call raises the deadline error at once, with the last error as its cause."""
    limited_request = request(deadline=5)
    limited = ore.RateLimitError("slow down", status=429, retry_after=7.5)
    assert decide(limited_request, limited) is False
    with pytest.raises(ore.DeadlineExceededError, match="slow down") as caught:
        limited_request.failed(limited)
    assert caught.value.__cause__ is limited
    assert (caught.value.retry_after, caught.value.status) == (7.5, 429)
    assert caught.value.body is limited.body


def test_without_retries_left_the_error_of_the_service_is_raised() -> None:
    """The deadline is not blamed for a retry that `max_retries` did not allow."""
    limited_request = request(deadline=5, max_retries=0)
    limited = ore.RateLimitError("slow down", status=429, retry_after=7.5)
    assert decide(limited_request, limited) is False
    with pytest.raises(ore.RateLimitError):
        limited_request.failed(limited)


def test_retry_after_zero_does_not_disable_the_backoff() -> None:
    """A `Retry-After: 0` leaves the client's own backoff in place."""
    now = ore.RateLimitError("x", status=429, retry_after=0.0)
    assert decide(request(), now, backoff=2.0) is True
    assert decide(request(), ore.RateLimitError("x", status=429, retry_after=1.0), 2.0) is True


def test_the_backoff_is_bounded() -> None:
    """The backoff grows from half a second to half a minute, plus jitter."""
    options = request(max_retries=6).retry_options
    assert options["attempts"] == 7
    assert (options["wait_initial"], options["wait_max"], options["wait_jitter"]) == (0.5, 30, 1)
    assert options["timeout"] is None


def test_jitter_does_not_pass_the_deadline() -> None:
    """Close to the deadline the backoff has no jitter."""
    assert decide(request(deadline=2), ore.APIConnectionError("x"), backoff=1.5) == 1.5
    assert decide(request(deadline=9), ore.APIConnectionError("x"), backoff=1.5) is True


def test_the_timeout_of_an_attempt_ends_at_the_deadline(clock: JumpingClock) -> None:
    """An attempt may take no longer than the time left until the deadline."""
    assert request(timeout=3).timeout() == 3
    assert 0 < request(timeout=30, deadline=2).timeout() <= 2
    late = request(deadline=3)
    clock.wait(threading.Event(), 4)
    with pytest.raises(ore.DeadlineExceededError, match="the deadline of 3 s"):
        late.check_can_start(0)
    with pytest.raises(ore.DeadlineExceededError, match="the deadline of 5 s"):
        request(deadline=5).check_can_start(7)


@both
def test_a_deadline_ends_the_call(
    kind: Kind, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request is sent after the deadline."""
    service = Service()
    monkeypatch.setattr(clock, "now", itertools.count().__next__)
    with pytest.raises(ore.DeadlineExceededError) as caught:
        service.embed(kind, ["a", "b"], deadline=1e-9)
    assert service.requests == []
    assert caught.value.inputs == (0, 1)


@both
def test_the_throttle_and_the_deadline_use_the_same_clock(kind: Kind, clock: JumpingClock) -> None:
    """Time spent waiting for the throttle counts toward the deadline, even with a test's clock."""
    service = failing(1, error(503, retry_after="40"))
    with pytest.raises(ore.ServiceUnavailableError):
        service.embed(kind, ["a"], max_retries=0)

    def slow(body: dict[str, Any], _: int) -> Any:
        clock.wait(threading.Event(), 40)
        return error(503)

    with pytest.raises(ore.DeadlineExceededError):
        Service(slow).embed(kind, ["a"], deadline=30)


@both
def test_the_backoff_and_the_deadline_use_the_same_clock(kind: Kind) -> None:
    """Backoff that a test's clock skips counts toward the deadline."""
    with pytest.raises(ore.DeadlineExceededError):
        failing(99, error(500)).embed(kind, ["a"], max_retries=50, deadline=60)


@both
@pytest.mark.parametrize("status", [408, 504, 520, 524])
def test_a_gateway_timeout_counts_as_unanswered(kind: Kind, status: int) -> None:
    """The provider behind the gateway may have computed the vectors and billed them."""
    with pytest.raises(ore.ServerError) as caught:
        failing(9, error(status)).embed(kind, ["a"], max_retries=1)
    assert caught.value.usage is not None
    assert caught.value.usage.unanswered == 2


@both
@pytest.mark.parametrize("status", [429, 500, 502, 503, 521, 522, 523, 529])
def test_other_error_responses_do_not_count_as_unanswered(kind: Kind, status: int) -> None:
    """An error response of these statuses was not billed."""
    result = failing(1, error(status)).embed(kind, ["a"])
    assert result.usage.unanswered == 0


@both
def test_a_gateway_timeout_counts_toward_the_budget(kind: Kind) -> None:
    """The budget assumes the highest cost that the request can have had."""

    def script(body: dict[str, Any], n: int) -> Any:
        return error(504) if n else answer(body["input"])

    with pytest.raises(ore.BudgetExceededError):
        Service(script).embed(
            kind, ["a", "b"], batch_size=1, concurrency=1, budget=Decimal("2e-6"), max_retries=5
        )


@both
def test_retry_hooks_of_stamina_see_every_retry(kind: Kind) -> None:
    """Instrumentation of stamina sees the client's retries."""
    seen: list[RetryDetails] = []

    def remember(details: RetryDetails) -> None:
        seen.append(details)

    set_on_retry_hooks([remember])
    try:
        failing(1, error(503)).embed(kind, ["a"])
    finally:
        set_on_retry_hooks(None)
    (details,) = seen
    assert isinstance(details.caused_by, ore.ServiceUnavailableError)


@both
def test_stamina_set_active_disables_retries(kind: Kind) -> None:
    """`stamina.set_active(False)` disables the client's retries."""
    stamina.set_active(False)
    try:
        service = failing(9, error(503))
        with pytest.raises(ore.ServiceUnavailableError):
            service.embed(kind, ["a"])
    finally:
        stamina.set_active(True)
    assert len(service.requests) == 1


class Dripping(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that arrives byte by byte, so that no single read times out."""

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(10**6):
            yield b" "
        raise AssertionError("the whole body was read")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(10**6):
            await asyncio.sleep(0)
            yield b" "
        raise AssertionError("the whole body was read")


@both
def test_the_timeout_bounds_the_whole_attempt(kind: Kind) -> None:
    """A body that arrives slowly, byte by byte, still times out."""
    service = Service(lambda *_: lambda: httpx.Response(200, stream=Dripping()))
    with pytest.raises(ore.APITimeoutError, match=r"0\.05 s"):
        service.embed(kind, ["a"], timeout=0.05, max_retries=0)


@both
@pytest.mark.usefixtures("http")
def test_redirects_are_not_followed(kind: Kind) -> None:
    """The key is never sent to another URL."""
    location = {"location": "https://evil.example/v1/embeddings"}
    service = Service(lambda *_: lambda: httpx.Response(307, headers=location))
    with pytest.raises(ore.APIStatusError) as caught:
        service.embed(kind, ["a"])
    assert caught.value.status == 307
    assert len(service.requests) == 1


@both
def test_concurrency_limits_the_requests_in_flight(kind: Kind) -> None:
    """The number of requests in flight reaches `concurrency` and does not exceed it."""
    lock, now, most = threading.Lock(), 0, 0
    threads: set[int] = set()
    enough = threading.Event()

    def enter() -> None:
        nonlocal now, most
        with lock:
            now += 1
            threads.add(threading.get_ident())
            most = max(most, now)
            if most == 3:
                enough.set()

    def leave() -> None:
        nonlocal now
        with lock:
            now -= 1

    class Slow(httpx.BaseTransport, httpx.AsyncBaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            enter()
            assert enough.wait(30)
            leave()
            return Service().handle(request)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            enter()
            assert await asyncio.to_thread(enough.wait, 30)
            leave()
            return Service().handle(request)

    service = Service()
    service.transport = Slow
    service.embed(kind, ["a"] * 12, batch_size=1, concurrency=3)
    assert len(threads) == (3 if kind == "sync" else 1)
    assert most == 3
