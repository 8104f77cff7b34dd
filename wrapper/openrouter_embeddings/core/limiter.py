"""Decides how many requests of a client for a model may be in flight, and how fast they start.

There are two limits, because services have two. Overload (503, 529) halves the number of requests
in flight, and each response raises it again, as in TCP (Chiu and Jain 1989).

A 429 has two possible causes: this client is too fast, or another client is (of the same upstream
provider, say), and then slowing down helps nobody. So the limiter compares the share of refusals at
different paces, as PCC does (Dong et al., NSDI 2015). It slows down only if a faster pace was
refused significantly more often than a slower one, or if more than a quarter is refused.

The limiter has no clock: the caller passes the time.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

FEWER = 0.5  # of the requests in flight, when the service is overloaded

# A pace lasts for a second and this many requests, enough to measure its share of refusals.
_SECOND = 1.0
_BURST_SECONDS = 0.1
_REQUESTS = 30
_FEW = 4  # requests are enough in the first search for the limit, while none is refused
_PACES = 6  # remembered for comparison
_REFUSED = 4  # refusals needed for any conclusion
_DOUBTFUL_EXCESS = 2  # more refusals than at slower paces: keep the pace until it is clear
_DEVIATIONS = 2.0  # of a Poisson distribution; more refusals than that are significant
_FLOOD_SHARE = 0.25  # share of refusals; no provider's constant share is as large

_NEW_PACE_SHARE = 0.9  # of the rate that the service accepts, after a pace that was too fast
_MAX_SLOWDOWN = 0.5  # of a pace that was too fast; the next refusals show whether that is enough
_SLOWEST = 0.2  # requests per second
_SEARCH = 1.0  # growth from one pace to the next, until the limit is first reached
_FIRST_GROWTH, _FINEST = 0.02, 0.005  # after that; halved each time the limit is reached again
_FASTEST = 0.3  # growth doubles from pace to pace, up to this
_UNCHANGED_WITHIN = 0.3  # a limit that differs by less is considered unchanged
_UNLIMITED_RATE = 10_000.0  # requests per second; from here on there is no limit

_CLOCK_RESOLUTION = 1e-6  # seconds; a clock may not resolve less
_MEASURED_SECONDS = 5.0
_WAKEUP_TOLERANCE = 0.01  # seconds that a thread may wake up late; the next requests make up for it
_SPREAD_SECONDS = 1.0  # over which requests start after a pause


class _Pace(NamedTuple):
    """The outcome of the requests at one pace."""

    rate: float
    requests: int
    refused: int


@dataclass
class Limiter:
    """What one client has learned about how many requests the service accepts.

    Attributes:
        in_flight: requests in flight. The caller decrements it when one ends.
        window: maximum number of requests in flight; infinite until the service is overloaded.
        rate: maximum number of starts per second; infinite until the service limits the rate.
    """

    in_flight: int = 0
    window: float = math.inf
    rate: float = math.inf
    _paused_until: float = -math.inf
    _in_flight_at_pause: int = 1  # requests in flight when the pause began
    _next_start: float = -math.inf
    _decreased_at: float = -math.inf
    _since: float = -math.inf  # start of the current pace; earlier requests do not count for it
    _answered: int = 0
    _refused: int = 0
    _answered_before_refusal: int = 0  # responses before the first refusal, perhaps from a burst
    _past: deque[_Pace] = field(default_factory=lambda: deque(maxlen=_PACES))
    _growth: float = _SEARCH
    _first_growth: float = _FIRST_GROWTH
    _limit: float = math.inf  # the last rate at which the service refused
    _served: deque[float] = field(default_factory=deque)  # times of the last responses

    def wait(self, now: float, concurrency: int) -> float:
        """Seconds until a request may start; infinite if another has to end first."""
        if self.in_flight >= max(1, math.floor(min(self.window, concurrency))):
            return math.inf
        wait = max(self._paused_until - now, self._next_start - now)
        return wait if wait > _CLOCK_RESOLUTION else 0.0

    def begin(self, now: float) -> None:
        """Record that a request starts, after `wait` returned 0."""
        self.in_flight += 1
        spacing = 1 / self.rate
        if not spacing and now < self._paused_until + _SPREAD_SECONDS:
            spacing = _SPREAD_SECONDS / min(self.window, self._in_flight_at_pause)
        if spacing:
            self._next_start = max(now - _WAKEUP_TOLERANCE, self._next_start) + spacing

    def served(self, now: float, began: float) -> None:
        """Record the response to a request that started at `began`."""
        self._served.append(now)
        if math.isfinite(self.window):
            self.window += 1 / self.window
        if began < self._since:
            return
        self._answered += 1
        if self._has_shown_enough(now):
            rate = self.rate
            if self._paused_until > self._since:  # the measured pace includes pauses
                rate = min(rate, max(1.0, self._measured(now)))
            self._change_pace(now, rate * (1 + self._growth))
            max_growth = _FASTEST if math.isfinite(self._limit) else _SEARCH
            self._growth = min(max_growth, 2 * self._growth)

    def _has_shown_enough(self, now: float) -> bool:
        """Whether there is enough evidence to try a faster pace."""
        requests = self._answered + self._refused
        searching = self._growth > _FASTEST and math.isfinite(self.rate) and not self._refused
        second = _SECOND * min(self.rate, self._measured(now))
        if requests < max(_FEW if searching else _REQUESTS, second):
            return False
        if (found := self._expected_refusals()) is None:
            return True
        expected, deviation = found
        return self._refused - expected < _DOUBTFUL_EXCESS + deviation

    def _expected_refusals(self) -> tuple[float, float] | None:
        """The refusals to expect from slower paces, and the standard deviation of the difference.

        None if there were no slower paces recently. The difference of two Poisson variables: the
        share at slower paces is an estimate too.
        """
        slower = [pace for pace in self._past if pace.rate < self.rate]
        requests = sum(pace.requests for pace in slower)
        if not requests:
            return None
        ratio = (self._answered + self._refused) / requests
        expected = ratio * sum(pace.refused for pace in slower)
        return expected, math.sqrt(expected * (1 + ratio))

    def overloaded(self, now: float, began: float, retry_after: float | None) -> None:
        """Record a refusal for lack of capacity, and allow fewer requests in flight.

        Only a request that started after the last decrease shows that it was not enough.
        """
        self._pause(now, retry_after)
        if began >= self._decreased_at:
            self._decreased_at = now
            self.window = max(1.0, FEWER * min(self.window, self.in_flight))

    def too_fast(self, now: float, began: float, retry_after: float | None) -> None:
        """Record a refusal for the rate of requests (429), and slow down if that can help."""
        self._pause(now, retry_after)
        if began < self._since:
            return
        if not self._refused:
            self._answered_before_refusal = self._answered
        self._refused += 1
        if math.isfinite(self.rate) and not self._answered:
            return  # an outage, which shows nothing about the rate
        if excess := self._excess():
            self._slow_down(now, excess)

    def _excess(self) -> float:
        """The share refused because of the pace; 0 if the pace is not the cause."""
        requests, refused = self._answered + self._refused, self._refused
        if refused < _REFUSED:
            return 0.0
        # count from the first refusal on, and leave it out: the count starts there because of it
        since = requests - self._answered_before_refusal
        share = (refused - 1) / max(1, since - 1)
        if refused >= _REFUSED + _FLOOD_SHARE * since:
            return share
        if all(pace.rate == self.rate for pace in self._past):
            if requests < _REQUESTS:
                return 0.0
            return refused / requests  # nothing to compare with yet
        if (found := self._expected_refusals()) is None:
            return 0.0
        expected, deviation = found
        if refused - expected < _REFUSED + _DEVIATIONS * deviation:
            return 0.0
        return max(share - expected / requests, _FINEST)

    def _slow_down(self, now: float, excess: float) -> None:
        if math.isinf(self.rate):
            # a flood often follows a burst that was accepted; measure it as if it took a second
            least = _SECOND if excess > _FLOOD_SHARE else _BURST_SECONDS
            self._change_pace(now, _NEW_PACE_SHARE * max(1.0, self._measured(now, least)))
        else:
            limit = self.rate * max(1 - excess, _MAX_SLOWDOWN)
            moved = abs(limit / self._limit - 1) > _UNCHANGED_WITHIN
            self._first_growth = _FIRST_GROWTH if moved else max(_FINEST, self._first_growth / 2)
            self._growth, self._limit = self._first_growth, limit
            self._change_pace(now, _NEW_PACE_SHARE * limit)
        self._next_start = max(self._next_start, now + 1 / self.rate)

    def _change_pace(self, now: float, rate: float) -> None:
        """Change to another pace."""
        self._past.append(_Pace(self.rate, self._answered + self._refused, self._refused))
        self.rate = max(_SLOWEST, rate) if rate < _UNLIMITED_RATE else math.inf
        self._answered = self._refused = self._answered_before_refusal = 0
        self._since = now

    def _pause(self, now: float, seconds: float | None) -> None:
        """Start no request for as long as the service asks."""
        if seconds:
            self._paused_until = max(self._paused_until, now + seconds)
            self._in_flight_at_pause = max(1, self.in_flight)

    def _measured(self, now: float, least: float = _SECOND) -> float:
        """Recent responses per second, measured over at least `least` seconds."""
        while self._served and self._served[0] < now - _MEASURED_SECONDS:
            self._served.popleft()
        return len(self._served) / max(now - self._served[0], least) if self._served else 0.0
