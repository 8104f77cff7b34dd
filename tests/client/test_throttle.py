"""Whoever waits for a turn gets one, whatever becomes of those before."""

import asyncio
import math
import signal
import threading
from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, cast

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client._request import CallState, RequestState
from openrouter_embeddings.client._throttle import AsyncThrottle, Throttle, _RequestQueue, _Waiter
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.core.limiter import Limiter
from openrouter_embeddings.core.options import Options
from openrouter_embeddings.core.splitting import ModelLimits
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.result import Usage
from openrouter_embeddings.testing import JumpingClock, Service

from stress.servers import served
from tests.support import KINDS


def exchange(model: str = "m", budget: Decimal | None = None) -> RequestState:
    """One request of a call of its own."""
    options = Options(model=model, concurrency=1, budget=budget)
    call, batch = CallState(options, ModelLimits()), Batch([0], ["a"])
    return RequestState(call, call.divide(batch), batch)


async def pass_through(throttle: AsyncThrottle, one: RequestState, until: asyncio.Event) -> str:
    """Take a turn, and hold it until an event."""
    async with throttle.acquire(one):
        await until.wait()
    return "passed"


@pytest.mark.parametrize("how", ["its call is over", "its task is cancelled"])
def test_a_turn_that_is_not_taken_is_passed_on(how: str) -> None:
    """Two wait; the two that are woken first go away instead, and the third is not forgotten."""

    async def run() -> Any:
        throttle, done = AsyncThrottle(1), asyncio.Event()
        ones = [exchange() for _ in range(4)]
        tasks = [asyncio.create_task(pass_through(throttle, one, done)) for one in ones]
        while len(throttle._queue._line("m").waiting) < 3:  # noqa: ASYNC110 - nothing tells when a task waits
            await asyncio.sleep(0)
        for one, task in zip(ones[1:3], tasks[1:3], strict=True):
            if how == "its call is over":
                one.call.over.set()
            else:
                task.cancel()
        done.set()
        async with asyncio.timeout(10):
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third, last = cast("list[Any]", asyncio.run(run()))
    assert (first, last) == ("passed", "passed")
    gone = ore.EmbeddingsError if how == "its call is over" else asyncio.CancelledError
    assert isinstance(second, gone)
    assert isinstance(third, gone)


def test_first_come_first_served() -> None:
    """Nobody who comes later slips past somebody who waits."""

    async def run() -> list[int]:
        throttle, served = AsyncThrottle(2), list[int]()

        async def user(number: int) -> None:
            for _ in range(3):
                async with throttle.acquire(exchange()):
                    served.append(number)
                    await asyncio.sleep(0)

        await asyncio.gather(*map(user, range(10)))
        return served

    served = asyncio.run(run())
    for start in (0, 10, 20):
        assert sorted(served[start : start + 10]) == [*range(10)]


def test_a_call_that_waits_for_its_budget_holds_nobody_up() -> None:
    """Others have the place that it cannot use."""
    passed = []

    async def run() -> None:
        throttle, done = AsyncThrottle(2), asyncio.Event()
        call = CallState(Options(model="m", budget=Decimal(1)), ModelLimits())
        careful = [
            RequestState(call, call.divide(b), b) for b in (Batch([0], "a"), Batch([1], "b"))
        ]
        first = asyncio.create_task(pass_through(throttle, careful[0], done))
        await asyncio.sleep(0)
        second = asyncio.create_task(pass_through(throttle, careful[1], done))
        await asyncio.sleep(0)
        for _ in range(5):
            async with asyncio.timeout(10), throttle.acquire(exchange()):
                passed.append(second.done())
        call.spend(Usage(total_tokens=1, cost=Decimal("0.001"), requests=1))
        done.set()
        async with asyncio.timeout(10):
            await asyncio.gather(first, second)

    asyncio.run(run())
    assert passed == [False] * 5


def test_calls_of_many_threads_leave_each_others_connections_alone() -> None:
    """A call that ends cuts nothing that a thread of its own once used."""
    faults = Faults()
    wanted = ore.Client.local(model="local/hash").embed([*"abcdefgh"], dimensions=8).vectors
    wrong: list[object] = []
    with (
        served(faults) as url,
        ore.Client("local", base_url=url, model="local/hash", max_retries=0) as client,
    ):

        def work() -> None:
            for _ in range(25):
                try:
                    found = client.embed([*"abcdefgh"], batch_size=1, dimensions=8)
                except ore.EmbeddingsError as error:
                    wrong.append(error)
                else:
                    wrong.extend([] if np.array_equal(found.vectors, wanted) else [found])

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert faults.requests == 4 * 25 * 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_that_is_refused_is_no_pause_for_others(kind: str, clock: JumpingClock) -> None:
    """An hour is raised for the request that was told so; the next one begins at once."""
    service = Service(Fault("status", status=429, retry_after=3600, requests=[0]))

    async def run() -> None:
        async with service.async_client() as client:
            with pytest.raises(ore.RateLimitError):
                await client.embed("a")
            await client.embed("a")

    if kind == "async":
        asyncio.run(run())
    else:
        with service.client() as client:
            with pytest.raises(ore.RateLimitError):
                client.embed("a")
            client.embed("a")
    assert clock.waited == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_deadline_and_a_full_turnstile_do_not_spin(kind: str) -> None:
    """Waiting for another request to end is no waiting for time."""
    service = Service(Fault("status", status=503, requests=range(4)))
    options: Any = {"batch_size": 1, "concurrency": 4, "deadline": 60}
    if kind == "sync":
        with service.client() as client:
            assert len(client.embed([*"abcdefgh"], **options)) == 8
    else:
        assert len(asyncio.run(service.async_client().embed([*"abcdefgh"], **options))) == 8


def test_only_the_next_waits_for_a_time(
    clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stands behind another, or for a budget, is called; he would look again and again."""
    queue, calling = _RequestQueue(8), threading.Event()
    first, second = (_Waiter(exchange(), calling) for _ in range(2))
    says = {first: "wait", second: "go"}
    monkeypatch.setattr(first.exchange, "verdict", lambda: says[first])
    monkeypatch.setattr(second.exchange, "verdict", lambda: says[second])
    queue.limiter("m").overloaded(clock.now(), clock.now(), retry_after=5.0)
    queue.join(first)
    queue.join(second)
    in_time = second.starts
    assert first.starts == math.inf
    assert in_time == pytest.approx(clock.now() + 5)
    says[first] = "go"
    queue.call()
    assert first.starts == pytest.approx(in_time)
    assert second.starts == math.inf
    says = dict.fromkeys(says, "wait")
    queue.call()
    assert {first.starts, second.starts} == {math.inf}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_must_wait_holds_up_no_other(kind: str, clock: JumpingClock) -> None:
    """The service limits each model by itself."""
    service = Service(Fault("status", status=429, retry_after=60, requests=[0]))

    async def run() -> None:
        async with service.async_client(max_retries=0) as client:
            with pytest.raises(ore.RateLimitError):
                await client.embed("a", model="local/visual")
            await client.embed("a", model="local/hash")

    if kind == "async":
        asyncio.run(run())
    else:
        with service.client(max_retries=0) as client:
            with pytest.raises(ore.RateLimitError):
                client.embed("a", model="local/visual")
            client.embed("a", model="local/hash")
    assert clock.waited == []


def test_concurrency_counts_the_requests_of_all_models() -> None:
    """And a place that is free goes to whoever came first, whatever the model."""
    queue = _RequestQueue(2)
    tickets = [_Waiter(exchange(model), threading.Event()) for model in "abcab"]
    for ticket in tickets:
        queue.join(ticket)
    assert [ticket.began is not None for ticket in tickets] == [True, True, False, False, False]
    queue.leave(tickets[1], None)
    assert [ticket.began is not None for ticket in tickets[2:]] == [True, False, False]


@pytest.mark.parametrize("how", ["each is served", "all are given up"])
def test_a_call_that_waits_costs_the_same_however_many_wait(how: str) -> None:
    """Steps along the queue, of which each join and end once needed one for each that waits."""

    class Counted(OrderedDict[_Waiter, None]):
        steps = 0

        def __iter__(self) -> Iterator[_Waiter]:
            for ticket in super().__iter__():
                self.steps += 1
                yield ticket

    def cost(calls: int) -> float:
        queue, waiting = _RequestQueue(8), Counted()
        queue._line("m").waiting = waiting
        tickets = [_Waiter(exchange(), threading.Event()) for _ in range(calls)]
        for ticket in tickets:
            queue.join(ticket)
        if how == "all are given up":
            for ticket in tickets:
                ticket.exchange.call.end()
            queue.call_everyone()
        for ticket in tickets:
            queue.leave(ticket, None)
        return waiting.steps / calls

    assert cost(1) > 0
    assert cost(4000) <= 2 * cost(250)


@pytest.mark.parametrize(
    "where",
    [(Limiter, "begin"), (RequestState, "begun"), (_RequestQueue, "call"), (RequestState, "ended")],
)
@pytest.mark.parametrize("after", [True, False])
def test_an_interrupt_anywhere_in_the_queue_keeps_no_place(
    where: tuple[type, str], after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes out as it is, and the next request has its turn."""
    throttle, (owner, name) = Throttle(1), where
    step, done = getattr(owner, name), False

    def interrupted(*arguments: Any) -> Any:
        nonlocal done
        first, done = not done, True
        if first and not after:
            signal.raise_signal(signal.SIGINT)
        outcome = step(*arguments)
        if first and after:
            signal.raise_signal(signal.SIGINT)
        return outcome

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt), throttle.acquire(exchange()):
        pass
    assert throttle.limiter("m").in_flight == 0
    passed = []
    with throttle.acquire(exchange()):
        passed.append(throttle.limiter("m").in_flight)
    assert passed == [1]


@pytest.mark.parametrize("owner", [Limiter, RequestState])
@pytest.mark.parametrize("after", [True, False])
def test_an_interrupt_does_not_strand_the_request_of_another_thread(
    owner: type, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was just being let in by the thread that Ctrl-C came to has its turn all the same."""
    throttle, other = Throttle(1), _Waiter(exchange(budget=Decimal(1)), threading.Event())
    name = "begin" if owner is Limiter else "begun"
    step, done = getattr(owner, name), False

    def interrupted(*arguments: Any) -> None:
        nonlocal done
        first, done = not done, True
        if first and not after:
            signal.raise_signal(signal.SIGINT)
        step(*arguments)
        if first and after:
            signal.raise_signal(signal.SIGINT)

    own = _Waiter(exchange(), threading.Event())
    throttle._queue.join(own)
    throttle._queue.join(other)
    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        throttle._leave(own, None)
    assert other.began is not None
    assert other.called.is_set()
    throttle._leave(other, None)
    assert cast("Any", other.exchange.call.purse).budget == Budget(Decimal(1))
    with throttle.acquire(exchange()):
        assert throttle.limiter("m").in_flight == 1
