"""How many requests may be under way, and how fast they may begin: learned from refusals.

Additive increase, multiplicative decrease (Chiu and Jain 1989; TCP's congestion control) of two
things: the requests in flight, which an overloaded service cannot serve, and the rate at which they
begin, which a service that counts requests per second refuses. One limiter serves all calls of a
client. It holds no clock: whoever asks says what time it is.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from .policy import LONGEST_WAIT

FEWER = 0.5  # of the requests in flight, when the service is overloaded
_FEWER_TOO = 0.8  # when it counts requests: the rate does most
_SLOWER = 0.95  # of the rate that was too fast
_ROUND = 1.0  # seconds that a round takes at least; else, as long as a request
_COARSE = 1.0  # growth in one round, while the rate is searched for
_FINER = 0.25  # of the growth before, once it was too fast
_FINEST = 1e-4
_SLOWEST = 0.2  # requests per second, whatever the service says
_STEADY_SECONDS = 30.0  # until a rate that is known is tried a little above: no sooner, and …
_STEADY_ANSWERS = 100.0  # … not before so many answers
_MOMENT = 1e-6  # seconds; a clock may be too coarse to tell less from nothing
_MEASURED_SECONDS = 5.0
_SPREAD_SECONDS = 1.0  # over which requests begin after a pause
_FREE = 10_000.0  # requests per second; a rate as high limits nobody, and is forgotten


@dataclass
class Limiter:
    """What one client has learned of what the service can take.

    Attributes:
        in_flight: requests that are under way.
        window: requests that may be under way at once; infinite until the service is overloaded.
        rate: requests that may begin in a second; infinite until it refuses for their number.
    """

    in_flight: int = 0
    window: float = math.inf
    rate: float = math.inf
    _paused_until: float = -math.inf
    _next_start: float = -math.inf
    _decreased_at: float = -math.inf
    _growth: float = _COARSE
    _answers: int = 0  # since the last decrease, or the last time the growth was raised
    _served: deque[float] = field(default_factory=deque)  # when the last answers came

    def wait(self, now: float, concurrency: int) -> float:
        """Seconds until a request may begin: 0 now, infinite when another has to end first."""
        if self.in_flight >= max(1, math.floor(min(self.window, concurrency))):
            return math.inf
        wait = max(self._paused_until - now, self._next_start - now)
        return wait if wait > _MOMENT else 0.0

    def begin(self, now: float) -> None:
        """A request begins, to which `wait` has said 0."""
        self.in_flight += 1
        spacing = 1 / self.rate
        just_paused = now < self._paused_until + _SPREAD_SECONDS
        if not spacing and just_paused and math.isfinite(self.window):
            spacing = _SPREAD_SECONDS / self.window
        if spacing:
            self._next_start = max(now, self._next_start) + spacing

    def end(self) -> None:
        """A request has ended, however it did."""
        self.in_flight -= 1

    def served(self, now: float) -> None:
        """It was answered: a little more may be tried."""
        self._served.append(now)
        while self._served[0] < now - _MEASURED_SECONDS:
            self._served.popleft()
        if math.isfinite(self.window):
            self.window += 1 / self.window
        if math.isfinite(self.rate):
            self._try_faster()

    def _try_faster(self) -> None:
        steady = max(_STEADY_ANSWERS, _STEADY_SECONDS * self.rate)
        least = (1 / _SLOWER - 1) / steady
        self.rate *= 1 + max(self._growth / max(self.in_flight, _ROUND * self.rate), least)
        self._answers += 1
        if self._answers > steady:  # the limit may be gone
            self._answers = 0
            self._growth = min(_COARSE, max(2 * self._growth, least))
        if self.rate > _FREE:
            self.rate = math.inf

    def overloaded(self, now: float, began: float, retry_after: float | None) -> None:
        """It was refused for want of capacity: fewer at once.

        `began` is when the request did. Only a request that began after the last decrease can tell
        that the decrease was not enough.
        """
        self._pause(now, retry_after)
        if began >= self._decreased_at:
            self._decreased_at = now
            self.window = max(1.0, FEWER * min(self.window, self.in_flight))

    def too_fast(self, now: float, began: float, retry_after: float | None) -> None:
        """It was refused for the number of requests (429): fewer at once, and slower."""
        self._pause(now, retry_after)
        if began < self._decreased_at:
            return
        if math.isfinite(self.rate) and not self._answers:
            return  # nothing was served since: an outage, which tells of no rate
        self._decreased_at = now
        self._answers = 0
        self.window = max(1.0, _FEWER_TOO * min(self.window, self.in_flight))
        if math.isinf(self.rate):
            self.rate = _SLOWER * max(1.0, self._measured(now))
            self._growth = _COARSE
        else:
            self.rate *= _SLOWER / (1 + self._growth)
            self._growth = max(self._growth * _FINER, _FINEST)
            self.rate = max(self.rate, _SLOWEST)
        self._next_start = max(self._next_start, now + 1 / self.rate)

    def _pause(self, now: float, seconds: float | None) -> None:
        """Nobody begins before the service wants to be asked again."""
        if seconds:
            self._paused_until = max(self._paused_until, now + min(seconds, LONGEST_WAIT))

    def _measured(self, now: float) -> float:
        """Answers per second of late; a burst of less than a second is no rate."""
        recent = [at for at in self._served if at >= now - _MEASURED_SECONDS]
        return len(recent) / max(now - recent[0], 1.0) if recent else 0.0
