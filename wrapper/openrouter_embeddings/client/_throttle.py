"""Where requests wait for their turn: one turnstile for all calls of a client.

First come, first served, but a model that must wait does not hold up another. Whoever changes
something lets in those whose turn it is then, so that nobody can slip past a request that has been
told to go.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import threading
import time
from collections import OrderedDict
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from openrouter_embeddings.core.limiter import Limiter
from openrouter_embeddings.core.retry_policy import is_overload, pause
from openrouter_embeddings.errors import EmbeddingsError, RateLimitError, ResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ._request import RequestState

# Clients that are told to wait equally long must not come back together.
_JITTER = 0.1
_MOMENT = 1e-6  # seconds; the same time, though it was computed anew


class Clock:
    """The time, and waiting for it; tests put their own in its place."""

    def now(self) -> float:
        """Seconds, from some beginning."""
        return time.monotonic()

    def wait(self, called: threading.Event, seconds: float) -> None:
        """Until called, or until so much time has passed."""
        called.wait(seconds)

    async def wait_async(self, called: asyncio.Event, seconds: float) -> None:
        """The same for asyncio."""
        await until(called, seconds)


clock: Clock = Clock()


class _Waiter:
    """One request's place in the queue, and later among those that are under way."""

    def __init__(self, exchange: RequestState, called: threading.Event | asyncio.Event) -> None:
        self.exchange = exchange
        self.called = called
        self.number = 0  # in the order of their coming
        self.began: float | None = None
        self.starts = math.inf  # when its time comes; infinite: when somebody else ends
        self.over = False


class _ModelQueue:
    """The requests for one model: the service limits each by itself."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        # a dict would step over all that have left to find its first
        self.waiting: OrderedDict[_Waiter, None] = OrderedDict()
        self.under_way: set[_Waiter] = set()
        self._next: _Waiter | None = None  # waits for a time, and nobody else in the line does

    def first(self) -> _Waiter | None:
        """The first that may go. One that waits for its own call's budget holds nobody up."""
        found, over = None, []
        for ticket in self.waiting:
            verdict = ticket.exchange.verdict()
            if verdict == "go":
                found = ticket
                break
            if verdict == "stop":
                over.append(ticket)
        for ticket in over:
            self.waiting.pop(ticket, None)
            ticket.called.set()  # to hear why
        return found

    def expect(self, ticket: _Waiter | None, starts: float) -> None:
        """Say when the next one begins; those behind it are called when it does."""
        if self._next is not None and self._next is not ticket:
            self._next.starts = math.inf
        self._next = ticket
        if ticket and not math.isclose(ticket.starts, starts, rel_tol=0, abs_tol=_MOMENT):
            ticket.called.set()  # to wait anew, till then
            ticket.starts = starts  # last: an interrupt before it leaves this to be done again


class _RequestQueue:
    """What both turnstiles decide alike; the blocking one holds a lock around every call.

    Ctrl-C may end any of this between two steps, also in a thread that lets in another's request.
    So who is under way is a set, which takes and loses a ticket in one step and may do so twice.
    """

    def __init__(self, concurrency: int, limiters: dict[str, Limiter] | None = None) -> None:
        self.concurrency = concurrency
        self._lines = {model: _ModelQueue(limiter) for model, limiter in (limiters or {}).items()}
        self._numbers = itertools.count()

    def limiter(self, model: str) -> Limiter:
        """What has been learned of a model."""
        return self._line(model).limiter

    def limiters(self) -> dict[str, Limiter]:
        """What has been learned, for a queue in which nothing is under way yet."""
        return {model: replace(line.limiter, in_flight=0) for model, line in self._lines.items()}

    def _line(self, model: str) -> _ModelQueue:
        if model not in self._lines:
            self._lines[model] = _ModelQueue(Limiter())
        return self._lines[model]

    def join(self, ticket: _Waiter) -> None:
        """Stand at the end."""
        ticket.number = next(self._numbers)
        self._line(ticket.exchange.call.options.model).waiting[ticket] = None
        self.call()

    def call(self) -> None:
        """Let in, in order, everyone who may begin now."""
        now = clock.now()
        while ready := [*self._ready(now)]:
            line, ticket = min(ready, key=lambda each: each[1].number)
            try:
                self._begin(line, ticket, now)
            except BaseException:  # Ctrl-C, perhaps in the thread of another's request
                self._begin(line, ticket, now)
                raise

    def _begin(self, line: _ModelQueue, ticket: _Waiter, now: float) -> None:
        """Let one in. Doing so again, where the first time was cut short, is fine."""
        line.under_way.add(ticket)
        line.waiting.pop(ticket, None)
        if ticket.began is None:
            line.limiter.begin(now)
            ticket.exchange.begun()
            ticket.began = now
        ticket.called.set()

    def _ready(self, now: float) -> Iterator[tuple[_ModelQueue, _Waiter]]:
        """The first of each line, where it may begin now; the others learn when they may."""
        under_way = sum(len(line.under_way) for line in self._lines.values())
        for line in self._lines.values():
            line.limiter.in_flight = len(line.under_way)
            if (ticket := line.first()) is None:
                line.expect(None, math.inf)
                continue
            concurrency = max(self.concurrency, ticket.exchange.call.options.concurrency)
            wait = math.inf if under_way >= concurrency else line.limiter.wait(now, concurrency)
            if wait > 0:
                line.expect(ticket, now + wait)
            else:
                yield line, ticket

    def leave(self, ticket: _Waiter, outcome: BaseException | None) -> None:
        """Give a place back, in the queue or under way. Doing so twice is fine."""
        line = self._line(ticket.exchange.call.options.model)
        line.waiting.pop(ticket, None)
        line.under_way.discard(ticket)
        if not ticket.over and ticket.began is not None:
            ticket.over = True
            self._learn(line.limiter, ticket.began, outcome)
            ticket.exchange.ended(outcome)
        self.call()

    def call_everyone(self) -> None:
        """Let everyone look whether their call is over."""
        for line in self._lines.values():
            for ticket in line.waiting:
                ticket.called.set()

    def _learn(self, limiter: Limiter, began: float, outcome: BaseException | None) -> None:
        now = clock.now()
        if outcome is None or isinstance(outcome, ResponseError):
            limiter.served(now, began)
        if not isinstance(outcome, EmbeddingsError):
            return
        wait = pause(outcome)
        wait = None if wait is None else wait * (1 + random.uniform(0, _JITTER))  # noqa: S311 - no secret
        if isinstance(outcome, RateLimitError):
            limiter.too_fast(now, began, wait)
        elif is_overload(outcome):
            limiter.overloaded(now, began, wait)


class Throttle:
    """For threads."""

    def __init__(self, concurrency: int, limiters: dict[str, Limiter] | None = None) -> None:
        self._queue = _RequestQueue(concurrency, limiters)
        # The collector may end a forgotten stream at any time, also of a thread that is in here.
        self.lock = threading.RLock()

    def limiter(self, model: str) -> Limiter:
        """What it has learned of a model's limits."""
        with self.lock:
            return self._queue.limiter(model)

    def anew(self) -> Throttle:
        """For another process, in which nothing is under way yet; the service is the same."""
        return Throttle(self._queue.concurrency, self._queue.limiters())

    def is_mine(self) -> bool:
        """Whether this thread is in the middle of a look at the queue.

        RLock has no public name for it; a test fails should the private one change.
        """
        return bool(self.lock._is_owned())  # type: ignore[attr-defined] # noqa: SLF001

    @contextmanager
    def acquire(self, exchange: RequestState) -> Iterator[float]:
        """Around one attempt, when its turn has come; gives the seconds that it may take."""
        exchange.check(0.0)
        called = threading.Event()
        ticket = _Waiter(exchange, called)
        outcome: BaseException | None = None
        try:
            with self.lock:
                self._queue.join(ticket)
            while ticket.began is None:
                wait = ticket.starts - clock.now()
                remaining = exchange.check(wait)
                if math.isfinite(wait):
                    clock.wait(called, max(0.0, min(wait, remaining)))
                else:
                    called.wait(remaining if math.isfinite(remaining) else None)
                called.clear()
                with self.lock:
                    self._queue.call()
            yield exchange.timeout()
        except BaseException as error:
            outcome = error
            raise
        finally:
            try:
                self._leave(ticket, outcome)
            except KeyboardInterrupt:  # in here, of all places
                self._leave(ticket, outcome)
                raise

    def _leave(self, ticket: _Waiter, outcome: BaseException | None) -> None:
        with self.lock:
            self._queue.leave(ticket, outcome)

    def wake(self) -> None:
        """Let everyone look whether their call is over."""
        with self.lock:
            self._queue.call_everyone()


class AsyncThrottle:
    """For tasks."""

    def __init__(self, concurrency: int, limiters: dict[str, Limiter] | None = None) -> None:
        self._queue = _RequestQueue(concurrency, limiters)

    def anew(self) -> AsyncThrottle:
        """For another event loop or process, in which nothing is under way yet."""
        return AsyncThrottle(self._queue.concurrency, self._queue.limiters())

    @asynccontextmanager
    async def acquire(self, exchange: RequestState) -> AsyncIterator[float]:
        """As `Throttle.turn`."""
        exchange.check(0.0)
        called = asyncio.Event()
        ticket = _Waiter(exchange, called)
        self._queue.join(ticket)
        outcome: BaseException | None = None
        try:
            while ticket.began is None:
                wait = ticket.starts - clock.now()
                remaining = exchange.check(wait)
                if math.isfinite(wait):
                    await clock.wait_async(called, max(0.0, min(wait, remaining)))
                else:
                    await until(called, remaining)
                called.clear()
                self._queue.call()
            yield exchange.timeout()
        except BaseException as error:
            outcome = error
            raise
        finally:
            self._queue.leave(ticket, outcome)

    def wake(self) -> None:
        """As `Throttle.wake`."""
        self._queue.call_everyone()


async def until(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, or so many seconds; without end where they are infinite."""
    try:
        async with asyncio.timeout(seconds if math.isfinite(seconds) else None):
            await event.wait()
    except TimeoutError:
        pass
