"""The limiter in simulations of services, without a clock or a socket."""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest
from openrouter_embeddings.core.limiter import Limiter
from openrouter_embeddings.local.fault_kinds import Bucket


@dataclass
class Outcome:
    """The result of a simulation."""

    answered: int = 0
    refused: int = 0  # because of the rate limit
    unlucky: int = 0  # at any pace

    @property
    def share(self) -> float:
        """The share of all requests that the limit refused."""
        return self.refused / (self.answered + self.refused + self.unlucky)


def simulate(
    limit: Callable[[float], float] | None,
    latency: float,
    concurrency: int,
    *,
    unlucky: float = 0.0,
    retry_after: float | None = None,
    seconds: float = 240.0,
    seed: int = 1,
) -> Outcome:
    """Send without pause to a service whose rate limit (None: no limit) depends on the time.

    `unlucky` is the share refused at any pace; such requests do not count for the limit.
    """
    now, outcome, chance, limiter = 0.0, Outcome(), random.Random(seed), Limiter()
    bucket = None if limit is None else Bucket(limit(0.0), limit(0.0), 0.0)
    numbers = itertools.count()
    under_way: list[tuple[float, int, float, Literal["answered", "refused", "unlucky"]]] = []
    while now < seconds:
        wait = limiter.wait(now, concurrency)
        if wait <= 0:
            limiter.begin(now)
            assert limiter.in_flight <= concurrency
            fate: Literal["answered", "refused", "unlucky"] = "answered"
            if bucket is not None and limit is not None:
                bucket.rate = bucket.burst = limit(now)
            if chance.random() < unlucky:
                fate = "unlucky"
            elif bucket is not None and not bucket.take(now):
                fate = "refused"
            ends = now + latency * chance.uniform(0.7, 1.3)
            heapq.heappush(under_way, (ends, next(numbers), now, fate))
            continue
        now = min(under_way[0][0] if under_way else math.inf, now + wait)
        while under_way and under_way[0][0] <= now:
            _, _, began, fate = heapq.heappop(under_way)
            setattr(outcome, fate, getattr(outcome, fate) + 1)
            if fate == "answered":
                limiter.served(now, began)
            else:
                limiter.too_fast(now, began, retry_after)
            limiter.in_flight -= 1
    return outcome


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("concurrency", [8, 32])
@pytest.mark.parametrize("latency", [0.01, 0.1])
@pytest.mark.parametrize("rate", [10, 50, 200])
def test_a_rate_limit_is_used_fully_with_few_refusals(
    rate: float, latency: float, concurrency: int, retry_after: float | None
) -> None:
    """From a cold start, at least 90 % of the limit are used and at most 5 % refused."""
    outcome = simulate(lambda _: rate, latency, concurrency, retry_after=retry_after)
    possible = min(rate * 240 + rate, concurrency / latency * 240)
    assert outcome.answered >= 0.9 * possible
    assert outcome.share <= 0.05


@pytest.mark.parametrize(("latency", "concurrency"), [(0.1, 16), (0.01, 16), (0.4, 8), (0.1, 1)])
@pytest.mark.parametrize("unlucky", [0.01, 0.02, 0.05, 0.1])
def test_a_constant_share_of_429s_does_not_slow_it_down(
    unlucky: float, latency: float, concurrency: int
) -> None:
    """Slowing down would not help, so the rest is almost as fast as without refusals."""
    outcome = simulate(None, latency, concurrency, unlucky=unlucky)
    assert outcome.unlucky > 0
    assert outcome.answered >= 0.9 * (1 - unlucky) * concurrency / latency * 240


def test_chance_rarely_looks_like_a_limit() -> None:
    """In the first 15 seconds too, 10 % of 429s cost less than a fifth of the speed."""
    possible = 0.9 * 16 / 0.014 * 15
    for seed in range(40):
        outcome = simulate(None, 0.014, 16, unlucky=0.1, seconds=15, seed=seed)
        assert outcome.answered >= 0.8 * possible, seed


@pytest.mark.parametrize("unlucky", [0.01, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("rate", [50, 200])
def test_a_limit_is_found_behind_a_constant_share_of_429s(rate: float, unlucky: float) -> None:
    """With both, 90 % of the limit are used, and the limit itself refuses little."""
    for seed in range(3):
        outcome = simulate(lambda _: rate, 0.1, 32, unlucky=unlucky, seed=seed)
        assert outcome.answered >= 0.9 * min(rate, 32 / 0.1 * (1 - unlucky)) * 240
        assert outcome.share <= 0.06


@pytest.mark.parametrize(
    ("low", "high", "goodput"), [(20, 50, 0.8), (40, 50, 0.9), (20, 100, 0.65)]
)
@pytest.mark.parametrize("unlucky", [0.0, 0.02])
def test_a_changing_limit_is_followed(
    low: float, high: float, goodput: float, unlucky: float
) -> None:
    """It changes every 20 seconds in both directions."""

    def limit(now: float) -> float:
        return low if now // 20 % 2 else high

    outcome = simulate(limit, 0.1, 32, unlucky=unlucky)
    assert outcome.answered >= goodput * (low + high) / 2 * 240
    assert outcome.share <= 0.08


@pytest.mark.parametrize("rate", [20.0, 200.0, 2000.0])
def test_threads_that_wake_up_late_keep_the_pace(rate: float) -> None:
    """A start that is 2 ms late lets the next request start sooner, within the limit."""
    limiter, now, begun = Limiter(rate=rate), 0.0, 0
    while now < 10:
        wait = limiter.wait(now, 10**6)
        now += wait + 0.002 if wait else 0.0
        if not wait:
            limiter.begin(now)
            begun += 1
    assert 0.98 * rate * 10 <= begun <= rate * 10 + 0.02 * rate + 1


def full(concurrency: int) -> Limiter:
    """A limiter with as many requests in flight as allowed."""
    limiter = Limiter()
    for _ in range(concurrency):
        assert limiter.wait(0.0, concurrency) == 0
        limiter.begin(0.0)
    return limiter


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    """Another request has to end first."""
    limiter = full(8)
    assert limiter.wait(0.0, 8) == math.inf
    assert limiter.wait(0.0, 9) == 0
    limiter.in_flight -= 1
    assert limiter.wait(0.0, 8) == 0


def test_overload_halves_the_window_once_per_round() -> None:
    """Further refusals of the same round carry no new information."""
    limiter = full(16)
    for _ in range(4):
        limiter.overloaded(1.0, 0.0, None)
        limiter.in_flight -= 1
    assert limiter.window == 8
    limiter.in_flight -= 4
    assert limiter.wait(1.0, 16) == math.inf
    limiter.in_flight -= 1
    assert limiter.wait(1.0, 16) == 0
    limiter.begin(1.5)
    limiter.overloaded(2.0, 1.5, None)
    assert limiter.window == 4


def test_the_window_grows_by_one_per_round() -> None:
    """Additive increase: one more request after as many responses as the window is wide."""
    limiter = full(16)
    limiter.overloaded(1.0, 0.0, None)
    for _ in range(8):
        limiter.served(2.0, 1.5)
    assert 8.9 < limiter.window < 9


def test_the_window_never_closes() -> None:
    """One request at a time is always allowed."""
    limiter = full(1)
    for second in range(9):
        limiter.overloaded(second, second, None)
    limiter.in_flight -= 1
    assert limiter.wait(9.0, 8) == 0


@pytest.mark.parametrize("refuse", [Limiter.overloaded, Limiter.too_fast])
def test_retry_after_delays_every_request(refuse: object) -> None:
    """It applies to every request that has not started."""
    limiter = full(4)
    assert callable(refuse)
    refuse(limiter, 1.0, 0.0, 7.0)
    limiter.in_flight -= 3
    assert limiter.wait(2.0, 4) == 6.0


def test_requests_start_one_by_one_after_a_rate_limit_pause() -> None:
    """As many as were in flight start over the course of a second."""
    limiter = full(4)
    limiter.too_fast(1.0, 0.0, 7.0)
    limiter.in_flight -= 4
    assert limiter.wait(8.0, 4) == 0
    limiter.begin(8.0)
    assert limiter.wait(8.0, 4) == pytest.approx(0.25, abs=0.01)


def test_requests_start_one_by_one_after_an_overload_pause() -> None:
    """The remaining window starts over the course of a second."""
    limiter = full(16)
    limiter.overloaded(1.0, 0.0, 7.0)
    limiter.in_flight -= 16
    starts, now = [], 8.0
    for _ in range(8):
        now += limiter.wait(now, 16)
        limiter.begin(now)
        starts.append(now)
    assert starts[0] == 8.0
    assert 0.5 < starts[-1] - starts[0] <= 1.0
    assert max(b - a for a, b in itertools.pairwise(starts)) < 0.2


def test_a_limit_that_is_gone_is_forgotten() -> None:
    """After ten minutes of responses nothing is held back any more."""
    limiter, now = full(8), 1.0
    for _ in range(8):
        limiter.too_fast(now, 0.0, None)
        limiter.in_flight -= 1
    assert math.isfinite(limiter.rate)
    while math.isfinite(limiter.rate) and now < 600:
        now += limiter.wait(now, 32)
        limiter.begin(now)
        limiter.served(now + 0.001, now)
        now += 0.001
        limiter.in_flight -= 1
    assert math.isinf(limiter.rate)


def test_a_single_429_sets_no_rate() -> None:
    """It may be another client's fault; a pace is judged by several refusals."""
    limiter = full(4)
    limiter.too_fast(1.0, 0.0, None)
    limiter.in_flight -= 1
    assert math.isinf(limiter.rate)
    assert limiter.wait(1.0, 4) == 0


def test_an_outage_sets_no_rate() -> None:
    """After ten minutes of refusals, requests soon run at full speed again."""
    limiter, now = Limiter(), 0.0
    while now < 600:
        now += limiter.wait(now, 8)
        limiter.begin(now)
        limiter.too_fast(now + 0.1, now, None)
        limiter.in_flight -= 1
        now += 0.1
    began = now
    for _ in range(300):
        now += limiter.wait(now, 8)
        limiter.begin(now)
        limiter.served(now + 0.1, now)
        limiter.in_flight -= 1
        now += 0.1
    assert now - began < 60
