"""Attempts, waiting, deadlines, and what they cost."""

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
from openrouter_embeddings.client._call import CallState
from openrouter_embeddings.client._request import RequestState
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.options import Options
from openrouter_embeddings.core.splitting import ModelLimits
from openrouter_embeddings.testing import JumpingClock
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from tests.support import KINDS, Kind, Service, answer

both = pytest.mark.parametrize("kind", KINDS)


def failing(times: int, failure: Any) -> Service:
    """A service that fails some times before it answers."""
    return Service(lambda body, n: failure if n < times else answer(body["input"]))


def error(status: int, **headers: str) -> Callable[[], httpx.Response]:
    """The service's error of a status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"error": {"code": status, "message": "no"}}
    return lambda: httpx.Response(status, json=body, headers=named)


PASSING = [
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
@pytest.mark.parametrize("failure", PASSING)
def test_a_passing_fault_is_retried(kind: Kind, failure: Any) -> None:
    """The call succeeds as if nothing had been."""
    service = failing(2, failure)
    result = service.embed(kind, ["a"])
    assert (len(result), result.usage.retries) == (1, 2)
    assert len(service.requests) == 3


@both
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_max_retries_counts_retries(kind: Kind, retries: int) -> None:
    """Zero retries are one attempt."""
    service = failing(99, error(500))
    with pytest.raises(ore.InternalServerError) as caught:
        service.embed(kind, ["a", "b"], max_retries=retries)
    assert len(service.requests) == retries + 1
    assert caught.value.inputs == (0, 1)


@both
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_a_lasting_fault_is_not_retried(kind: Kind, status: int) -> None:
    """One request, one error."""
    service = failing(99, error(status))
    with pytest.raises(ore.APIStatusError):
        service.embed(kind, ["a"])
    assert len(service.requests) == 1


@both
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
def test_failures_of_the_connection_are_typed(
    kind: Kind, failure: Any, kind_of_error: type[ore.EmbeddingsError]
) -> None:
    """Httpx's exceptions become this tree's, and name the inputs."""
    with pytest.raises(kind_of_error) as caught:
        failing(9, failure).embed(kind, ["a"], max_retries=0)
    assert type(caught.value) is kind_of_error
    assert caught.value.inputs == (0,)


@both
def test_a_bad_success_is_paid_for_and_counted(kind: Kind) -> None:
    """The refused answer's cost is in the usage of the call: nothing is billed in silence."""
    service = Service(lambda body, n: answer(body["input"], **({"data": []} if n == 0 else {})))
    result = service.embed(kind, ["a"])
    assert len(service.requests) == 2
    assert result.usage.cost == Decimal("2.8e-7")
    assert result.usage.requests == 2


@both
def test_a_bad_success_is_asked_for_again_once(kind: Kind) -> None:
    """Then the error tells what both answers cost."""
    service = Service(lambda body, _: answer(body["input"], data=[]))
    with pytest.raises(ore.ResponseError) as caught:
        service.embed(kind, ["a"])
    assert len(service.requests) == 2
    assert caught.value.usage is not None
    assert caught.value.usage.cost == Decimal("2.8e-7")


@both
def test_a_bad_success_after_another_fault_is_still_asked_for_again(kind: Kind) -> None:
    """Each kind of failure has its own patience."""

    def script(body: dict[str, Any], n: int) -> Any:
        return [error(503), answer(body["input"], data=[]), answer(body["input"])][n]

    assert len(Service(script).embed(kind, ["a"])) == 1


@both
def test_an_error_tells_what_the_call_has_cost(kind: Kind) -> None:
    """All answers until then: of other batches, and refused ones of its own."""

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
    """The others are not billed twice."""

    def script(body: dict[str, Any], _: int) -> Any:
        failed = body["input"] == ["b"] and service.bodies.count(body) == 1
        return error(503) if failed else answer(body["input"])

    service = Service(script)
    service.embed(kind, ["a", "b", "c"], batch_size=1)
    assert sorted(body["input"][0] for body in service.bodies) == ["a", "b", "b", "c"]


def request(**options: Any) -> RequestState:
    """One batch's attempts, without anything being sent."""
    call, batch = CallState(Options(model="m", **options), ModelLimits()), Batch([0], ["a"])
    return RequestState(call, call.splitter(batch), batch)


def decide(one: RequestState, error: Exception, backoff: float = 0.5) -> bool | float:
    """What stamina is told after an attempt that ended with `error`."""
    one.backoff = backoff
    hook = one.retry_options["on"]
    decision: bool | float = hook(error)
    return decision


def test_retry_after_is_waited_for() -> None:
    """Seconds from the service beat our own back-off."""
    limited = ore.RateLimitError("x", status=429, retry_after=7.5)
    assert decide(request(), limited) == 7.5
    assert decide(request(deadline=100), limited) == 7.5
    assert decide(request(), ore.RateLimitError("x", status=429)) is True


def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    """The call ends at once, with the reason, instead of sleeping to no purpose."""
    one = request(deadline=5)
    limited = ore.RateLimitError("slow down", status=429, retry_after=7.5)
    assert decide(one, limited) is False
    with pytest.raises(ore.DeadlineExceededError, match="slow down") as caught:
        one.failed(limited)
    assert caught.value.__cause__ is limited
    assert (caught.value.retry_after, caught.value.status) == (7.5, 429)
    assert caught.value.body is limited.body


def test_without_retries_left_the_error_is_the_services() -> None:
    """No deadline is blamed for a retry that was not allowed anyway."""
    one = request(deadline=5, max_retries=0)
    limited = ore.RateLimitError("slow down", status=429, retry_after=7.5)
    assert decide(one, limited) is False
    with pytest.raises(ore.RateLimitError):
        one.failed(limited)


def test_a_retry_after_of_nothing_does_not_switch_the_back_off_off() -> None:
    """`Retry-After: 0` is no invitation to a storm."""
    now = ore.RateLimitError("x", status=429, retry_after=0.0)
    assert decide(request(), now, backoff=2.0) is True
    assert decide(request(), ore.RateLimitError("x", status=429, retry_after=1.0), 2.0) is True


def test_the_back_off_is_bounded() -> None:
    """It grows from half a second to half a minute, with jitter."""
    options = request(max_retries=6).retry_options
    assert options["attempts"] == 7
    assert (options["wait_initial"], options["wait_max"], options["wait_jitter"]) == (0.5, 30, 1)
    assert options["timeout"] is None


def test_jitter_does_not_pass_the_deadline() -> None:
    """Close to the deadline the wait is the back-off alone."""
    assert decide(request(deadline=2), ore.APIConnectionError("x"), backoff=1.5) == 1.5
    assert decide(request(deadline=9), ore.APIConnectionError("x"), backoff=1.5) is True


def test_an_attempt_has_no_more_time_than_is_left(clock: JumpingClock) -> None:
    """The time-out of an attempt is cut at the deadline."""
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
    """Nothing is sent once it has passed."""
    service = Service()
    monkeypatch.setattr(clock, "now", itertools.count().__next__)
    with pytest.raises(ore.DeadlineExceededError) as caught:
        service.embed(kind, ["a", "b"], deadline=1e-9)
    assert service.requests == []
    assert caught.value.inputs == (0, 1)


@both
def test_the_queue_and_the_deadline_have_one_clock(kind: Kind, clock: JumpingClock) -> None:
    """Time that a test pretends to wait for its turn counts for the deadline."""
    service = failing(1, error(503, retry_after="40"))
    with pytest.raises(ore.ServiceUnavailableError):
        service.embed(kind, ["a"], max_retries=0)

    def slow(body: dict[str, Any], _: int) -> Any:
        clock.wait(threading.Event(), 40)
        return error(503)

    with pytest.raises(ore.DeadlineExceededError):
        Service(slow).embed(kind, ["a"], deadline=30)


@both
def test_the_back_off_and_the_deadline_have_one_clock(kind: Kind) -> None:
    """Waits before retries are jumped over, and count for the deadline and the queue."""
    with pytest.raises(ore.DeadlineExceededError):
        failing(99, error(500)).embed(kind, ["a"], max_retries=50, deadline=60)


@both
@pytest.mark.parametrize("status", [408, 504, 520, 524])
def test_an_attempt_that_a_gateway_gave_up_may_have_been_billed(kind: Kind, status: int) -> None:
    """The provider behind it may have computed the vectors; other errors are answers."""
    with pytest.raises(ore.ServerError) as caught:
        failing(9, error(status)).embed(kind, ["a"], max_retries=1)
    assert caught.value.usage is not None
    assert caught.value.usage.unanswered == 2


@both
@pytest.mark.parametrize("status", [429, 500, 502, 503, 521, 522, 523, 529])
def test_an_error_that_says_no_is_an_answer(kind: Kind, status: int) -> None:
    """It was not billed, and does not count as unanswered."""
    result = failing(1, error(status)).embed(kind, ["a"])
    assert result.usage.unanswered == 0


@both
def test_a_gateways_time_out_counts_against_the_budget(kind: Kind) -> None:
    """At the dearest that it can have cost."""

    def script(body: dict[str, Any], n: int) -> Any:
        return error(504) if n else answer(body["input"])

    with pytest.raises(ore.BudgetExceededError):
        Service(script).embed(
            kind, ["a", "b"], batch_size=1, concurrency=1, budget=Decimal("2e-6"), max_retries=5
        )


@both
def test_stamina_is_told_the_wait(kind: Kind) -> None:
    """Whoever instruments stamina sees our retries."""
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
def test_retries_can_be_switched_off_in_one_place(kind: Kind) -> None:
    """stamina.set_active(False) holds here too."""
    stamina.set_active(False)
    try:
        service = failing(9, error(503))
        with pytest.raises(ore.ServiceUnavailableError):
            service.embed(kind, ["a"])
    finally:
        stamina.set_active(True)
    assert len(service.requests) == 1


class Dripping(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body of very many bytes, one at a time; whoever reads them all has no time-out."""

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
def test_a_dripping_body_meets_the_time_out(kind: Kind) -> None:
    """One attempt is bounded as a whole, not from byte to byte."""
    service = Service(lambda *_: lambda: httpx.Response(200, stream=Dripping()))
    with pytest.raises(ore.APITimeoutError, match=r"0\.05 s"):
        service.embed(kind, ["a"], timeout=0.05, max_retries=0)


@both
def test_redirects_are_not_followed(kind: Kind) -> None:
    """The key goes nowhere else."""
    location = {"location": "https://evil.example/v1/embeddings"}
    service = Service(lambda *_: lambda: httpx.Response(307, headers=location))
    with pytest.raises(ore.APIStatusError) as caught:
        service.embed(kind, ["a"])
    assert caught.value.status == 307
    assert len(service.requests) == 1


@both
def test_no_more_requests_are_under_way_than_concurrency_allows(kind: Kind) -> None:
    """The bound holds, and it is reached."""
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

    inputs = ["a"] * 12
    if kind == "sync":
        with httpx.Client(transport=Slow()) as http:
            client = ore.Client("k", http_client=http, model="m", batch_size=1, concurrency=3)
            client.embed(inputs)
        assert len(threads) == 3
    else:

        async def run() -> None:
            async with httpx.AsyncClient(transport=Slow()) as http:
                client = ore.AsyncClient(
                    "k", http_client=http, model="m", batch_size=1, concurrency=3
                )
                await client.embed(inputs)

        asyncio.run(run())
    assert most == 3
