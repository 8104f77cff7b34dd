"""Where requests wait for their turn: one turnstile for all calls of a client.

First come, first served. Whoever changes something lets in those whose turn it is then, so that
nobody can slip past a request that has been told to go.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from openrouter_embeddings.core.limiter import Limiter
from openrouter_embeddings.core.policy import is_overload
from openrouter_embeddings.errors import EmbeddingsError, RateLimitError, ResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ._call import Exchange

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


class _Ticket:
    """One request's place in the queue, and later among those that are under way."""

    def __init__(self, exchange: Exchange, called: threading.Event | asyncio.Event) -> None:
        self.exchange = exchange
        self.called = called
        self.began: float | None = None
        self.starts = math.inf  # when its time comes; infinite: when somebody else ends
        self.over = False


class _Queue:
    """What both turnstiles decide alike; the blocking one holds a lock around every call."""

    def __init__(self, concurrency: int, limiter: Limiter | None = None) -> None:
        self.concurrency = concurrency
        self.limiter = limiter or Limiter()
        self._waiting: deque[_Ticket] = deque()
        self._next: _Ticket | None = None  # waits for a time, and nobody else does

    def join(self, ticket: _Ticket) -> None:
        """Stand at the end."""
        self._waiting.append(ticket)
        self.call()

    def call(self) -> None:
        """Let in, in order, everyone who may begin now.

        A call that waits for its own budget holds nobody up; one that waits for the service does.
        """
        now = clock.now()
        for ticket in list(self._waiting):
            verdict = ticket.exchange.verdict()
            if verdict == "stop":
                ticket.called.set()  # to hear why
            if verdict != "go":
                continue
            concurrency = max(self.concurrency, ticket.exchange.call.options.concurrency)
            wait = self.limiter.wait(now, concurrency)
            if wait > 0:
                self._expect(ticket, now + wait)
                return
            self._waiting.remove(ticket)
            self.limiter.begin(now)
            ticket.exchange.begun()
            ticket.began = now
            ticket.called.set()
        self._expect(None, math.inf)

    def _expect(self, ticket: _Ticket | None, starts: float) -> None:
        """Say when the next one begins; those behind it are called when it does."""
        if self._next is not None and self._next is not ticket:
            self._next.starts = math.inf
        self._next = ticket
        if ticket and not math.isclose(ticket.starts, starts, rel_tol=0, abs_tol=_MOMENT):
            ticket.starts = starts
            ticket.called.set()  # to wait anew, till then

    def leave(self, ticket: _Ticket, outcome: BaseException | None) -> None:
        """Give a place back, in the queue or under way. Doing so twice is fine."""
        if ticket.over:
            return
        ticket.over = True
        if ticket.began is None:
            self._waiting.remove(ticket)
        else:
            self._learn(ticket.began, outcome)
            self.limiter.end()
            ticket.exchange.ended(outcome)
        self.call()

    def call_everyone(self) -> None:
        """Let everyone look whether their call is over."""
        for ticket in self._waiting:
            ticket.called.set()

    def _learn(self, began: float, outcome: BaseException | None) -> None:
        now = clock.now()
        if outcome is None or isinstance(outcome, ResponseError):
            self.limiter.served(now)
        if not isinstance(outcome, EmbeddingsError):
            return
        wait = outcome.retry_after
        wait = None if wait is None else wait * (1 + random.uniform(0, _JITTER))  # noqa: S311 - no secret
        if isinstance(outcome, RateLimitError):
            self.limiter.too_fast(now, began, wait)
        elif is_overload(outcome):
            self.limiter.overloaded(now, began, wait)


class Turnstile:
    """For threads."""

    def __init__(self, concurrency: int, limiter: Limiter | None = None) -> None:
        self._queue = _Queue(concurrency, limiter)
        # The collector may end a forgotten stream at any time, also of a thread that is in here.
        self.lock = threading.RLock()

    @property
    def limiter(self) -> Limiter:
        """What it has learned of the service's limits."""
        return self._queue.limiter

    def anew(self) -> Turnstile:
        """For another process, in which nothing is under way yet; the service is the same."""
        return Turnstile(self._queue.concurrency, replace(self._queue.limiter, in_flight=0))

    def is_mine(self) -> bool:
        """Whether this thread is in the middle of a look at the queue.

        RLock has no public name for it; a test fails should the private one change.
        """
        return bool(self.lock._is_owned())  # type: ignore[attr-defined] # noqa: SLF001

    @contextmanager
    def turn(self, exchange: Exchange) -> Iterator[float]:
        """Around one attempt, when its turn has come; gives the seconds that it may take."""
        exchange.check(0.0)
        called = threading.Event()
        ticket = _Ticket(exchange, called)
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

    def _leave(self, ticket: _Ticket, outcome: BaseException | None) -> None:
        with self.lock:
            self._queue.leave(ticket, outcome)

    def wake(self) -> None:
        """Let everyone look whether their call is over."""
        with self.lock:
            self._queue.call_everyone()


class AsyncTurnstile:
    """For tasks."""

    def __init__(self, concurrency: int, limiter: Limiter | None = None) -> None:
        self._queue = _Queue(concurrency, limiter)

    def anew(self) -> AsyncTurnstile:
        """For another event loop or process, in which nothing is under way yet."""
        return AsyncTurnstile(self._queue.concurrency, replace(self._queue.limiter, in_flight=0))

    @asynccontextmanager
    async def turn(self, exchange: Exchange) -> AsyncIterator[float]:
        """As `Turnstile.turn`."""
        exchange.check(0.0)
        called = asyncio.Event()
        ticket = _Ticket(exchange, called)
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
        """As `Turnstile.wake`."""
        self._queue.call_everyone()


async def until(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, or so many seconds; without end where they are infinite."""
    try:
        async with asyncio.timeout(seconds if math.isfinite(seconds) else None):
            await event.wait()
    except TimeoutError:
        pass
