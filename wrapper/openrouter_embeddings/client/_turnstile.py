"""Where requests wait for their turn: one turnstile for all calls of a client."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from openrouter_embeddings.core.limiter import Limiter
from openrouter_embeddings.core.policy import is_overload
from openrouter_embeddings.errors import EmbeddingsError, RateLimitError, ResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ._call import Exchange

# Clients that are told to wait equally long must not come back together.
_JITTER = 0.1


class Clock:
    """The time, and waiting for it or for a change; tests put their own in its place."""

    def now(self) -> float:
        """Seconds, from some beginning."""
        return time.monotonic()

    def wait(self, changed: threading.Condition, seconds: float | None) -> None:
        """Until notified, or so long."""
        changed.wait(seconds)

    async def wait_async(self, changed: asyncio.Future[None], seconds: float | None) -> None:
        """The same for asyncio."""
        await asyncio.wait([changed], timeout=seconds)


clock: Clock = Clock()


class _Turns:
    """What both turnstiles decide alike."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._limiter = Limiter()

    def wait(self, exchange: Exchange) -> float:
        """Seconds until the exchange may send; infinite: until another has ended.

        Raises EmbeddingsError where it never may.
        """
        concurrency = max(self._concurrency, exchange.call.options.concurrency)
        return exchange.admitted_in(self._limiter.wait(clock.now(), concurrency))

    def begin(self, exchange: Exchange) -> float:
        """The request is sent now; gives the time."""
        now = clock.now()
        self._limiter.begin(now)
        exchange.begun()
        return now

    def end(self, exchange: Exchange, began: float, outcome: BaseException | None) -> None:
        """It has ended."""
        now = clock.now()
        if isinstance(outcome, EmbeddingsError):
            self._learn(now, began, outcome)
        elif outcome is None:
            self._limiter.served(now)
        self._limiter.end()
        exchange.ended(outcome)

    def _learn(self, now: float, began: float, error: EmbeddingsError) -> None:
        wait = error.retry_after
        wait = None if wait is None else wait * (1 + random.uniform(0, _JITTER))  # noqa: S311 - no secret
        if isinstance(error, RateLimitError):
            self._limiter.too_fast(now, began, wait)
        elif is_overload(error):
            self._limiter.overloaded(now, began, wait)
        elif isinstance(error, ResponseError):
            self._limiter.served(now)


class Turnstile:
    """For threads."""

    def __init__(self, concurrency: int) -> None:
        self._turns = _Turns(concurrency)
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, exchange: Exchange) -> Iterator[float]:
        """Around one attempt, when its turn has come; gives the seconds that it may take."""
        with self._changed:
            while (wait := self._turns.wait(exchange)) > 0:
                clock.wait(self._changed, exchange.at_most(wait))
            began = self._turns.begin(exchange)
        outcome: BaseException | None = None
        try:
            yield exchange.timeout()
        except BaseException as error:
            outcome = error
            raise
        finally:
            with self._changed:
                self._turns.end(exchange, began, outcome)
                self._changed.notify_all()

    def wake(self) -> None:
        """Let everyone look whether their call has ended."""
        with self._changed:
            self._changed.notify_all()


class AsyncTurnstile:
    """For tasks. They are woken in the order in which they came."""

    def __init__(self, concurrency: int) -> None:
        self._turns = _Turns(concurrency)
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, exchange: Exchange) -> AsyncIterator[float]:
        """As `Turnstile.turn`."""
        try:
            while (wait := self._turns.wait(exchange)) > 0:
                await self._sleep(exchange.at_most(wait))
        except BaseException:
            self._wake(1)  # it may have been this one's turn, which it does not take
            raise
        began = self._turns.begin(exchange)
        outcome: BaseException | None = None
        try:
            yield exchange.timeout()
        except BaseException as error:
            outcome = error
            raise
        finally:
            self._turns.end(exchange, began, outcome)
            self._wake(2)  # one for the place that is free, one for a window that has grown

    async def _sleep(self, seconds: float | None) -> None:
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(changed)
        try:
            await clock.wait_async(changed, seconds)
        finally:
            if not changed.done():
                self._waiting.remove(changed)
                changed.cancel()

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            self._waiting.popleft().set_result(None)
