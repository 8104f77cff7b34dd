"""How many requests may be under way, and how fast they may begin: learned from refusals.

Two limits, because services have two. Overload (503, 529) halves the requests in flight, and
answers add to them again, as in TCP (Chiu and Jain 1989).

A 429 has two possible causes: this client is too fast, or somebody else is (an upstream provider,
say), and then going slower helps nobody. So the limiter compares the share of refusals at different
paces, as PCC does (Dong et al., NSDI 2015). It goes slower only where a faster pace was refused
significantly more often than a slower one, or where more than a quarter is refused.

One limiter serves all calls of a client for one model. It holds no clock: the caller passes the
time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

FEWER = 0.5  # of the requests in flight, when the service is overloaded

# A pace is kept for a second and for so many requests, which then say how it is refused.
_SECOND = 1.0
_INSTANT = 0.1
_REQUESTS = 30
_FEW = 4  # are enough in the first search for the limit, while none is refused
_PACES = 6  # that are remembered, to compare with
_REFUSED = 4  # refusals that are needed to say anything
_DOUBT = 2  # refusals more than at slower paces: keep the pace until it is clear
_DEVIATIONS = 2.0  # of a Poisson distribution, above which more refusals are no accident
_FLOOD = 0.25  # refused; no provider's constant share is as large

_BELOW = 0.9  # of what the service lets through: how fast to go when it was too fast
_LEAST = 0.5  # of a pace that was too fast; the next refusals say whether that is enough
_SLOWEST = 0.2  # requests per second
_SEARCH = 1.0  # growth from one pace to the next, until the limit was met for the first time
_START, _FINEST = 0.02, 0.005  # the first growth after that; half as much each time it is met again
_FASTEST = 0.3  # growth doubles from pace to pace, up to this
_SAME = 0.3  # a limit that differs by less has not moved
_FREE = 10_000.0  # requests per second; a rate as high limits nobody, and is forgotten

_MOMENT = 1e-6  # seconds; a clock may be too coarse to tell less from nothing
_MEASURED_SECONDS = 5.0
_LATE = 0.01  # seconds that a thread may wake up too late; the next requests make up for it
_SPREAD_SECONDS = 1.0  # over which requests begin after a pause


class _Pace(NamedTuple):
    """What came of the requests at one pace."""

    rate: float
    requests: int
    refused: int


@dataclass
class Limiter:
    """What one client has learned of what the service can take.

    Attributes:
        in_flight: requests that are under way; whoever ends one counts it down.
        window: requests that may be under way at once; infinite until the service is overloaded.
        rate: requests that may begin in a second; infinite until the service refuses for their
            number.
    """

    in_flight: int = 0
    window: float = math.inf
    rate: float = math.inf
    _paused_until: float = -math.inf
    _waited: int = 1  # requests under way when the pause was asked for
    _next_start: float = -math.inf
    _decreased_at: float = -math.inf
    _since: float = -math.inf  # when the present pace began; older requests do not count for it
    _answered: int = 0
    _refused: int = 0
    _before: int = 0  # answers before the first refusal, which a burst may have let through
    _past: deque[_Pace] = field(default_factory=lambda: deque(maxlen=_PACES))
    _growth: float = _SEARCH
    _first_growth: float = _START
    _limit: float = math.inf  # where the service stopped us last
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
        if not spacing and now < self._paused_until + _SPREAD_SECONDS:
            spacing = _SPREAD_SECONDS / min(self.window, self._waited)
        if spacing:
            self._next_start = max(now - _LATE, self._next_start) + spacing

    def served(self, now: float, began: float) -> None:
        """A request that began at `began` was answered."""
        self._served.append(now)
        if math.isfinite(self.window):
            self.window += 1 / self.window
        if began < self._since:
            return
        self._answered += 1
        if self._has_shown_enough(now):
            rate = self.rate
            if self._paused_until > self._since:  # the pace that came through has pauses in it
                rate = min(rate, max(1.0, self._measured(now)))
            self._go_on(now, rate * (1 + self._growth))
            most = _FASTEST if math.isfinite(self._limit) else _SEARCH
            self._growth = min(most, 2 * self._growth)

    def _has_shown_enough(self, now: float) -> bool:
        """Whether the present pace may be left for a faster one."""
        requests = self._answered + self._refused
        searching = self._growth > _FASTEST and math.isfinite(self.rate) and not self._refused
        second = _SECOND * min(self.rate, self._measured(now))
        if requests < max(_FEW if searching else _REQUESTS, second):
            return False
        usual = self._usual()
        if usual is None:
            return True
        expected = usual * requests
        return self._refused - expected < _DOUBT + _DEVIATIONS / 2 * math.sqrt(expected)

    def _usual(self) -> float | None:
        """The share that was refused at slower paces; None where there were none of late."""
        slower = [pace for pace in self._past if pace.rate < self.rate]
        requests = sum(pace.requests for pace in slower)
        return sum(pace.refused for pace in slower) / requests if requests else None

    def overloaded(self, now: float, began: float, retry_after: float | None) -> None:
        """A request that began at `began` was refused for want of capacity: fewer at once.

        Only a request that began after the last decrease can tell that it was not enough.
        """
        self._pause(now, retry_after)
        if began >= self._decreased_at:
            self._decreased_at = now
            self.window = max(1.0, FEWER * min(self.window, self.in_flight))

    def too_fast(self, now: float, began: float, retry_after: float | None) -> None:
        """A request was refused for the number of requests (429): slower, if that can help."""
        self._pause(now, retry_after)
        if began < self._since:
            return
        if not self._refused:
            self._before = self._answered
        self._refused += 1
        if math.isfinite(self.rate) and not self._answered:
            return  # an outage, which tells of no rate
        if excess := self._excess():
            self._slow_down(now, excess)

    def _excess(self) -> float:
        """The share that is refused because of the pace; 0 where the pace is not to blame."""
        requests, refused = self._answered + self._refused, self._refused
        if refused < _REFUSED:
            return 0.0
        # since the first refusal, and without it: it is there by choice
        since = requests - self._before
        share = (refused - 1) / max(1, since - 1)
        if refused >= _REFUSED + _FLOOD * since:
            return share
        if all(pace.rate == self.rate for pace in self._past):
            if requests < _REQUESTS:
                return 0.0
            return refused / requests  # nothing to compare with, until another pace was tried
        usual = self._usual()
        if usual is None:
            return 0.0
        expected = usual * requests
        if refused - expected < _REFUSED + _DEVIATIONS * math.sqrt(expected):
            return 0.0
        return max(share - usual, _FINEST)

    def _slow_down(self, now: float, excess: float) -> None:
        if math.isinf(self.rate):
            # a burst that let a flood of requests through is no rate; without one there was none
            least = _SECOND if excess > _FLOOD else _INSTANT
            self._go_on(now, _BELOW * max(1.0, self._measured(now, least)))
        else:
            limit = self.rate * max(1 - excess, _LEAST)
            moved = abs(limit / self._limit - 1) > _SAME
            self._first_growth = _START if moved else max(_FINEST, self._first_growth / 2)
            self._growth, self._limit = self._first_growth, limit
            self._go_on(now, _BELOW * limit)
        self._next_start = max(self._next_start, now + 1 / self.rate)

    def _go_on(self, now: float, rate: float) -> None:
        """At another pace, from now on."""
        self._past.append(_Pace(self.rate, self._answered + self._refused, self._refused))
        self.rate = max(_SLOWEST, rate) if rate < _FREE else math.inf
        self._answered = self._refused = self._before = 0
        self._since = now

    def _pause(self, now: float, seconds: float | None) -> None:
        """Nobody begins before the service wants to be asked again."""
        if seconds:
            self._paused_until = max(self._paused_until, now + seconds)
            self._waited = max(1, self.in_flight)

    def _measured(self, now: float, least: float = _SECOND) -> float:
        """Answers per second of late, as if they had taken `least` seconds where it was less."""
        while self._served and self._served[0] < now - _MEASURED_SECONDS:
            self._served.popleft()
        return len(self._served) / max(now - self._served[0], least) if self._served else 0.0
