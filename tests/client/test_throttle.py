"""`Throttle` and `AsyncThrottle`: every waiting request starts in its turn."""

import asyncio
import gc
import math
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, cast

import numpy as np
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.client import _clock, _throttle
from openrouter_embeddings.client._call import CallState, RequestState
from openrouter_embeddings.client._throttle import (
    AsyncThrottle,
    Throttle,
    _RequestQueue,
    _Thread,
    _Waiter,
)
from openrouter_embeddings.core.batching import Batch
from openrouter_embeddings.core.budget import Budget
from openrouter_embeddings.core.limiter import Limiter
from openrouter_embeddings.core.options import Options
from openrouter_embeddings.core.splitting import ModelLimits
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.result import Usage
from openrouter_embeddings.testing import JumpingClock, Service

from stress.servers import served
from tests.support import Kind, both, client_of, in_threads


def request(model: str = "m", budget: Decimal | None = None) -> RequestState:
    """One request of its own call."""
    options = Options(model=model, concurrency=1, budget=budget)
    call, batch = CallState(options, ModelLimits()), Batch([0], ["a"])
    return RequestState(call, call.splitter(batch), batch)


async def hold(throttle: AsyncThrottle, waiting: RequestState, until: asyncio.Event) -> str:
    """Acquire the throttle, and release it after an event."""
    async with throttle.acquire(waiting):
        await until.wait()
    return "passed"


@pytest.mark.parametrize("how", ["its call has ended", "its task is cancelled"])
async def test_a_request_that_gives_up_lets_the_next_one_start(how: str) -> None:
    """Of three waiting requests the first two give up when woken, and the third still starts."""
    throttle, done = AsyncThrottle(1), asyncio.Event()
    requests = [request() for _ in range(4)]
    tasks = [asyncio.create_task(hold(throttle, waiting, done)) for waiting in requests]
    while len(throttle._model("m").waiting) < 3:  # noqa: ASYNC110 - nothing reports when a task waits
        await asyncio.sleep(0)
    for waiting, task in zip(requests[1:3], tasks[1:3], strict=True):
        if how == "its call has ended":
            waiting.call.end()
        else:
            task.cancel()
    done.set()
    async with asyncio.timeout(10):
        first, second, third, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == ("passed", "passed")
    error = ore.EmbeddingsError if how == "its call has ended" else asyncio.CancelledError
    assert isinstance(second, error)
    assert isinstance(third, error)


async def test_requests_start_in_the_order_of_arrival() -> None:
    """No later request overtakes a waiting one."""
    throttle, served = AsyncThrottle(2), list[int]()

    async def user(number: int) -> None:
        for _ in range(3):
            async with throttle.acquire(request()):
                served.append(number)
                await asyncio.sleep(0)

    await asyncio.gather(*map(user, range(10)))
    for start in (0, 10, 20):
        assert sorted(served[start : start + 10]) == [*range(10)]


async def test_a_call_that_waits_for_its_budget_does_not_delay_others() -> None:
    """Other calls use the place that a call waiting for its own budget cannot use."""
    passed = []
    throttle, done = AsyncThrottle(2), asyncio.Event()
    call = CallState(Options(model="m", budget=Decimal(1)), ModelLimits())
    careful = [RequestState(call, call.splitter(b), b) for b in (Batch([0], "a"), Batch([1], "b"))]
    first = asyncio.create_task(hold(throttle, careful[0], done))
    await asyncio.sleep(0)
    second = asyncio.create_task(hold(throttle, careful[1], done))
    await asyncio.sleep(0)
    for _ in range(5):
        async with asyncio.timeout(10), throttle.acquire(request()):
            passed.append(second.done())
    call.spend(Usage(total_tokens=1, cost=Decimal("0.001"), requests=1))
    done.set()
    async with asyncio.timeout(10):
        await asyncio.gather(first, second)
    assert passed == [False] * 5


def test_threads_do_not_abort_each_others_requests() -> None:
    """A call that ends does not abort requests on connections that its threads used before."""
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

        in_threads(4, work)
    assert wrong == []
    assert faults.requests == 4 * 25 * 8


@both
def test_a_retry_after_that_is_too_long_does_not_delay_other_requests(
    kind: Kind, clock: JumpingClock
) -> None:
    """A Retry-After of an hour raises for its own request; the next request starts at once."""
    service = Service(Fault("status", status=429, retry_after=3600, requests=[0]))
    with client_of(service, kind) as client:
        with pytest.raises(ore.RateLimitError):
            client.embed("a")
        client.embed("a")
    assert clock.waited == []


@both
def test_waiting_for_a_place_does_not_use_up_the_deadline(kind: Kind) -> None:
    """A request that waits for another one to end does not move the clock to its deadline."""
    service = Service(Fault("status", status=503, requests=range(4)))
    options: Any = {"batch_size": 1, "concurrency": 4, "deadline": 60}
    with client_of(service, kind) as client:
        assert len(client.embed([*"abcdefgh"], **options)) == 8


def test_only_the_next_request_waits_for_a_certain_time(
    clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests behind the next one, or waiting for a budget, are woken; they do not poll."""
    queue = _RequestQueue(8)
    first, second = _Thread(request()), _Thread(request())
    says = {first: "wait", second: "go"}
    monkeypatch.setattr(first.request, "readiness", lambda: says[first])
    monkeypatch.setattr(second.request, "readiness", lambda: says[second])
    queue.limiter("m").overloaded(clock.now(), clock.now(), retry_after=5.0)
    queue.add(first)
    queue.add(second)
    in_time = second.starts_at
    assert first.starts_at == math.inf
    assert in_time == pytest.approx(clock.now() + 5)
    says[first] = "go"
    queue.start_ready()
    assert first.starts_at == pytest.approx(in_time)
    assert second.starts_at == math.inf
    says = dict.fromkeys(says, "wait")
    queue.start_ready()
    assert {first.starts_at, second.starts_at} == {math.inf}


@both
def test_a_model_that_has_to_wait_does_not_delay_other_models(
    kind: Kind, clock: JumpingClock
) -> None:
    """The service limits each model separately."""
    service = Service(Fault("status", status=429, retry_after=60, requests=[0]))
    with client_of(service, kind, max_retries=0) as client:
        with pytest.raises(ore.RateLimitError):
            client.embed("a", model="local/visual")
        client.embed("a", model="local/hash")
    assert clock.waited == []


def test_concurrency_counts_the_requests_of_all_models() -> None:
    """A free place goes to the request that arrived first, whatever its model."""
    queue = _RequestQueue(2)
    waiters = [_Thread(request(model)) for model in "abcab"]
    for waiter in waiters:
        queue.add(waiter)
    assert [waiter.started_at is not None for waiter in waiters] == [True] * 2 + [False] * 3
    queue.remove(waiters[1], None)
    assert [waiter.started_at is not None for waiter in waiters[2:]] == [True, False, False]


@pytest.mark.parametrize("how", ["each is answered", "all give up"])
def test_the_cost_of_queueing_does_not_depend_on_the_queue_length(how: str) -> None:
    """Adding and removing a request once took one step for every waiting request."""

    class Counted(OrderedDict[_Waiter, None]):
        steps = 0

        def __iter__(self) -> Iterator[_Waiter]:
            for waiter in super().__iter__():
                self.steps += 1
                yield waiter

    def cost(calls: int) -> float:
        queue, waiting = _RequestQueue(8), Counted()
        queue._model("m").waiting = waiting
        waiters = [_Thread(request()) for _ in range(calls)]
        for waiter in waiters:
            queue.add(waiter)
        if how == "all give up":
            for waiter in waiters:
                waiter.request.call.end()
            queue.wake_all()
        for waiter in waiters:
            queue.remove(waiter, None)
        return waiting.steps / calls

    assert cost(1) > 0
    assert cost(4000) <= 2 * cost(250)


@pytest.mark.parametrize("deadline", [None, 1000])
async def test_a_call_that_waits_holds_few_objects(
    deadline: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector visits all while the event loop stands still; a call once held 66."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)  # spans add objects
    calls = 200
    async with Service().async_client(model="m", concurrency=1, deadline=deadline) as client:
        throttle = client._bind_to_loop()
        async with throttle.acquire(request()):
            gc.collect()
            before = len(gc.get_objects())
            tasks = [asyncio.create_task(client.embed("a")) for _ in range(calls)]
            await asyncio.sleep(0)
            assert len(throttle._model("m").waiting) == calls
            gc.collect()
            held = (len(gc.get_objects()) - before) / calls
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert held <= (29 if deadline is None else 36)


def interrupt_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, after: bool) -> None:
    """Let Ctrl-C come before or after the first call of this method."""
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


@pytest.mark.parametrize(
    "where",
    [
        (Limiter, "begin"),
        (RequestState, "on_start"),
        (_RequestQueue, "start_ready"),
        (RequestState, "on_end"),
    ],
)
@pytest.mark.parametrize("after", [True, False])
def test_an_interrupt_in_the_queue_leaves_no_request_in_flight(
    where: tuple[type, str], after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KeyboardInterrupt reaches the caller, and the next request can start."""
    throttle = Throttle(1)
    interrupt_once(monkeypatch, *where, after=after)
    with pytest.raises(KeyboardInterrupt), throttle.acquire(request()):
        pass
    assert throttle.limiter("m").in_flight == 0
    passed = []
    with throttle.acquire(request()):
        passed.append(throttle.limiter("m").in_flight)
    assert passed == [1]


@pytest.mark.parametrize("where", [(Limiter, "begin"), (RequestState, "on_start")])
@pytest.mark.parametrize("after", [True, False])
def test_an_interrupt_does_not_strand_the_request_of_another_thread(
    where: tuple[type, str], after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that an interrupted thread was just starting for another thread still starts."""
    throttle, other = Throttle(1), _Thread(request(budget=Decimal(1)))
    own = _Thread(request())
    wakeup = other.wakeup = threading.Event()
    throttle.add(own)
    throttle.add(other)
    interrupt_once(monkeypatch, *where, after=after)
    with pytest.raises(KeyboardInterrupt):
        throttle._remove(own, None)
    assert other.started_at is not None
    assert wakeup.is_set()
    throttle._remove(other, None)
    assert cast("Any", other.request.call.shared_budget).budget == Budget(Decimal(1))
    with throttle.acquire(request()):
        assert throttle.limiter("m").in_flight == 1


class _HonestClock(JumpingClock):
    """Like the real clock, it does not wait if the event is set; it records every wait."""

    def wait(self, event: threading.Event, seconds: float) -> None:
        super().wait(event, 0 if event.is_set() else seconds)


@both
def test_waiting_for_a_time_does_not_poll(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting request does not wake itself again and again, which would block asyncio's loop."""
    clock = _HonestClock()
    monkeypatch.setattr(_clock, "clock", clock)
    service = Service(Fault("status", status=429, retry_after=4, requests=[0]))

    async def run() -> None:
        async with service.async_client() as client:
            await asyncio.gather(*(client.embed(text) for text in "abc"))

    if kind == "async":
        asyncio.run(run())
    else:
        with service.client() as client:
            client.embed([*"abc"], batch_size=1, concurrency=1)
    assert sum(clock.waited) >= 4
    assert len(clock.waited) < 20


def test_a_forgotten_stream_can_be_collected_inside_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The collector may close a stream while a thread of the same client is inside the queue."""

    class Forgetful:
        """Holds a reference to itself, so only the garbage collector frees it."""

        def __init__(self, client: ore.Client) -> None:
            self.me = self
            self.parts = client.embed_stream(["x"] * 40, batch_size=1, concurrency=2)
            next(self.parts)

    call = _throttle._RequestQueue.start_ready
    outcomes: list[Any] = []

    def collect(queue: Any) -> None:
        gc.collect()
        call(queue)

    def work() -> None:
        with Service().client() as client:
            gc.disable()
            try:
                Forgetful(client)
                monkeypatch.setattr(_throttle._RequestQueue, "start_ready", collect)
                outcomes.append(client.embed("a").vectors.shape)
            finally:
                gc.enable()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert outcomes == [(1, 256)]
