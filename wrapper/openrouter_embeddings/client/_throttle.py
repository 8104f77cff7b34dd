"""When a request may start: one queue for all calls of a client.

Requests start in the order in which they came, except that a model which has to wait does not delay
the others. Every change of the queue at once starts all requests that may start, so none can be
overtaken.
"""

import asyncio
import itertools
import math
import random
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from typing import Self

from openrouter_embeddings.core.limiter import Limiter
from openrouter_embeddings.core.retry_policy import is_overload, pause
from openrouter_embeddings.errors import EmbeddingsError, RateLimitError, ResponseError

from . import _clock
from ._call import RequestState

# Clients that were told to wait equally long should not all come back at the same time.
_PAUSE_JITTER = 0.1
_ROUNDING = 1e-6  # seconds between two results for the same time


class _Waiter(ABC):
    """A request that waits in the queue, or is in flight."""

    def __init__(self, request: RequestState) -> None:
        self.request = request
        self.number = 0  # in the order of arrival
        self.started_at: float | None = None
        self.starts_at = math.inf  # infinite while that depends on other requests
        self.has_ended = False

    def times(self) -> tuple[float, float]:
        """Seconds until the start and until the deadline. Raises as `check_can_start`."""
        wait = self.starts_at - _clock.clock.now()
        return wait, self.request.check_can_start(wait)

    @abstractmethod
    def wake(self) -> None:
        """The request has started, or should check its call again."""


class _Thread(_Waiter):
    """A request that a thread sends."""

    def __init__(self, request: RequestState) -> None:
        super().__init__(request)
        self.wakeup: threading.Event | None = None  # unless the request starts at once

    def wake(self) -> None:
        if self.wakeup is not None:
            self.wakeup.set()


class _ModelQueue:
    """The requests for one model: the service limits each model separately."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        # An OrderedDict finds its first entry at once; a dict would skip over all removed ones.
        self.waiting: OrderedDict[_Waiter, None] = OrderedDict()
        self.in_flight: set[_Waiter] = set()
        self._next: _Waiter | None = None  # the only one that waits for a certain time

    def first(self) -> _Waiter | None:
        """The first that may start; one that waits for its own call's budget is passed over."""
        found, stopped = None, []
        for waiter in self.waiting:
            readiness = waiter.request.readiness()
            if readiness == "go":
                found = waiter
                break
            if readiness == "stop":
                stopped.append(waiter)
        for waiter in stopped:
            self.waiting.pop(waiter, None)
            waiter.wake()  # it raises the reason
        return found

    def schedule(self, waiter: _Waiter | None, starts_at: float) -> None:
        """Set when the next one starts. The others are woken when it does."""
        if self._next is not None and self._next is not waiter:
            self._next.starts_at = math.inf
        self._next = waiter
        if waiter and not math.isclose(waiter.starts_at, starts_at, rel_tol=0, abs_tol=_ROUNDING):
            waiter.wake()  # it waits again, until the new time
            waiter.starts_at = starts_at  # last, so that an interrupt before it repeats the above


class _RequestQueue:
    """The queue of both throttles. `Throttle` holds its lock around every call.

    Ctrl-C may interrupt any method between two steps, even in a thread that is starting another
    thread's request. Therefore the requests in flight are a set: adding or removing a waiter is one
    step, and can be repeated.
    """

    def __init__(self, concurrency: int, limiters: dict[str, Limiter] | None = None) -> None:
        self.concurrency = concurrency
        self._models = {model: _ModelQueue(limiter) for model, limiter in (limiters or {}).items()}
        self._numbers = itertools.count()

    def limiter(self, model: str) -> Limiter:
        """The limiter of a model."""
        return self._model(model).limiter

    def renewed(self) -> Self:
        """A throttle for another event loop or process, with these limits and an empty queue."""
        limiters = {model: replace(one.limiter, in_flight=0) for model, one in self._models.items()}
        return type(self)(self.concurrency, limiters)

    def _model(self, model: str) -> _ModelQueue:
        if model not in self._models:
            self._models[model] = _ModelQueue(Limiter())
        return self._models[model]

    def add(self, waiter: _Waiter) -> None:
        waiter.number = next(self._numbers)
        self._model(waiter.request.call.options.model).waiting[waiter] = None
        self.start_ready()

    def start_ready(self) -> None:
        """Start, in order, every request that may start now."""
        now = _clock.clock.now()
        while ready := [*self._ready(now)]:
            queue, waiter = min(ready, key=lambda pair: pair[1].number)
            try:
                self._start(queue, waiter, now)
            except BaseException:  # Ctrl-C, perhaps while starting another thread's request
                self._start(queue, waiter, now)
                raise

    def _start(self, queue: _ModelQueue, waiter: _Waiter, now: float) -> None:
        """Start a request. Safe to repeat after an interrupt."""
        queue.in_flight.add(waiter)
        queue.waiting.pop(waiter, None)
        if waiter.started_at is None:
            queue.limiter.begin(now)
            waiter.request.on_start()
            waiter.started_at = now
        waiter.wake()

    def _ready(self, now: float) -> Iterator[tuple[_ModelQueue, _Waiter]]:
        """The first waiter of each model that may start now; schedules those of the others."""
        in_flight = sum(len(queue.in_flight) for queue in self._models.values())
        for queue in self._models.values():
            queue.limiter.in_flight = len(queue.in_flight)
            if (waiter := queue.first()) is None:
                queue.schedule(None, math.inf)
                continue
            concurrency = max(self.concurrency, waiter.request.call.options.concurrency)
            wait = math.inf if in_flight >= concurrency else queue.limiter.wait(now, concurrency)
            if wait > 0:
                queue.schedule(waiter, now + wait)
            else:
                yield queue, waiter

    def remove(self, waiter: _Waiter, outcome: BaseException | None) -> None:
        """Remove a request that waits or has ended. Safe to repeat."""
        queue = self._model(waiter.request.call.options.model)
        queue.waiting.pop(waiter, None)
        queue.in_flight.discard(waiter)
        if not waiter.has_ended and waiter.started_at is not None:
            waiter.has_ended = True
            self._update_limiter(queue.limiter, waiter.started_at, outcome)
            waiter.request.on_end(outcome)
        self.start_ready()

    def wake_all(self) -> None:
        """Let every waiter check whether its call has ended."""
        for queue in self._models.values():
            for waiter in queue.waiting:
                waiter.wake()

    def _update_limiter(
        self, limiter: Limiter, started_at: float, outcome: BaseException | None
    ) -> None:
        now = _clock.clock.now()
        if outcome is None or isinstance(outcome, ResponseError):
            limiter.served(now, started_at)
        if not isinstance(outcome, EmbeddingsError):
            return
        wait = pause(outcome)
        wait = None if wait is None else wait * (1 + random.uniform(0, _PAUSE_JITTER))  # noqa: S311 - no secret
        if isinstance(outcome, RateLimitError):
            limiter.too_fast(now, started_at, wait)
        elif is_overload(outcome):
            limiter.overloaded(now, started_at, wait)


class Throttle(_RequestQueue):
    """The throttle for threads.

    Attributes:
        lock: can be taken again by the thread that holds it, because the garbage collector may
            close an unused stream at any time, even in the methods below.
    """

    def __init__(self, concurrency: int, limiters: dict[str, Limiter] | None = None) -> None:
        super().__init__(concurrency, limiters)
        self.lock = threading.RLock()

    def limiter(self, model: str) -> Limiter:
        """The limiter of a model."""
        with self.lock:
            return super().limiter(model)

    def is_locked_by_this_thread(self) -> bool:
        """Whether this thread holds the lock.

        RLock has no public method for this. A test fails if the private name changes.
        """
        return bool(self.lock._is_owned())  # type: ignore[attr-defined] # noqa: SLF001

    @contextmanager
    def acquire(self, request: RequestState) -> Iterator[float]:
        """Around one attempt: waits until it may start, and gives the seconds it may take."""
        request.check_can_start(0.0)
        waiter = _Thread(request)
        outcome: BaseException | None = None
        try:
            with self.lock:
                self.add(waiter)
                if waiter.started_at is None:
                    waiter.wakeup = threading.Event()  # under the lock, so no other can wake it yet
            while (wakeup := waiter.wakeup) is not None and waiter.started_at is None:
                wait, remaining = waiter.times()
                if math.isfinite(wait):
                    _clock.clock.wait(wakeup, max(0.0, min(wait, remaining)))
                else:
                    wakeup.wait(remaining if math.isfinite(remaining) else None)
                wakeup.clear()
                with self.lock:
                    self.start_ready()
            yield request.timeout()
        except BaseException as error:
            outcome = error
            raise
        finally:
            try:
                self._remove(waiter, outcome)
            except KeyboardInterrupt:  # inside `_remove` itself
                self._remove(waiter, outcome)
                raise

    def _remove(self, waiter: _Waiter, outcome: BaseException | None) -> None:
        with self.lock:
            self.remove(waiter, outcome)

    def wake_all(self) -> None:
        """Let every waiter check whether its call has ended."""
        with self.lock:
            super().wake_all()


class AsyncThrottle(_RequestQueue):
    """The throttle for tasks."""

    def acquire(self, request: RequestState) -> AbstractAsyncContextManager[float]:
        """See `Throttle.acquire`."""
        return _Task(self, request)


class _Task(_Waiter):
    """A request that a task sends; a context manager around one attempt.

    Thousands may wait: a generator and an `asyncio.Event` would be six more objects for each.
    """

    def __init__(self, throttle: AsyncThrottle, request: RequestState) -> None:
        super().__init__(request)
        self._throttle = throttle
        self._woken: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _until_woken(self) -> asyncio.Future[None]:
        self._woken = asyncio.get_running_loop().create_future()
        return self._woken

    async def wait(self) -> None:
        """For the clock."""
        await self._until_woken()

    async def __aenter__(self) -> float:
        request = self.request
        request.check_can_start(0.0)
        try:
            self._throttle.add(self)
            while self.started_at is None:
                wait, remaining = self.times()
                if math.isfinite(wait):
                    await _clock.clock.wait_async(self, max(0.0, min(wait, remaining)))
                elif math.isfinite(remaining):
                    await _clock.wait(self, remaining)
                else:
                    await self._until_woken()
                self._throttle.start_ready()
            return request.timeout()
        except BaseException as error:
            self._throttle.remove(self, error)
            raise

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._throttle.remove(self, error)
