"""The limiter against simulated services: no clock, no socket, the same every time."""

import heapq
import itertools
import math
import random

import pytest
from openrouter_embeddings.core.limiter import Limiter
from openrouter_embeddings.local.limits import Bucket


def simulate(
    rate: float, latency: float, burst: float, retry_after: float | None, concurrency: int
) -> tuple[float, float]:
    """Goodput as a fraction of what is possible, and the part refused, over four minutes."""
    seconds, now, answered, refused = 240.0, 0.0, 0, 0
    chance, limiter, service = random.Random(1), Limiter(), Bucket(rate, burst, 0.0)
    numbers = itertools.count()
    under_way: list[tuple[float, int, float, bool]] = []
    while now < seconds:
        wait = limiter.wait(now, concurrency)
        if wait <= 0:
            limiter.begin(now)
            ends = now + latency * chance.uniform(0.7, 1.3)
            heapq.heappush(under_way, (ends, next(numbers), now, service.take(now)))
            assert limiter.in_flight <= concurrency
            continue
        now = min(under_way[0][0] if under_way else math.inf, now + wait)
        while under_way and under_way[0][0] <= now:
            _, _, began, accepted = heapq.heappop(under_way)
            answered, refused = answered + accepted, refused + (not accepted)
            if accepted:
                limiter.served(now)
            else:
                limiter.too_fast(now, began, retry_after)
            limiter.end()
    possible = min(rate * seconds + burst, concurrency / latency * seconds)
    return answered / possible, refused / (answered + refused)


@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("concurrency", [8, 32])
@pytest.mark.parametrize("latency", [0.01, 0.1])
@pytest.mark.parametrize("rate", [10, 50, 200])
def test_a_service_that_counts_requests_is_used_and_not_pestered(
    rate: float, latency: float, concurrency: int, retry_after: float | None
) -> None:
    """At least 90 % of what it allows, from a cold start, and at most 5 % refused."""
    goodput, refused = simulate(rate, latency, rate, retry_after, concurrency)
    assert goodput >= 0.9
    assert refused <= 0.05


def full(concurrency: int) -> Limiter:
    """A limiter with as many requests under way as are allowed."""
    limiter = Limiter()
    for _ in range(concurrency):
        assert limiter.wait(0.0, concurrency) == 0
        limiter.begin(0.0)
    return limiter


def test_no_more_are_under_way_than_allowed() -> None:
    """Another has to end first."""
    limiter = full(8)
    assert limiter.wait(0.0, 8) == math.inf
    assert limiter.wait(0.0, 9) == 0
    limiter.end()
    assert limiter.wait(0.0, 8) == 0


def test_overload_halves_what_is_under_way_once_a_round() -> None:
    """The other refusals of the same round say nothing new."""
    limiter = full(16)
    for _ in range(4):
        limiter.overloaded(1.0, 0.0, None)
        limiter.end()
    assert limiter.window == 8
    for _ in range(4):
        limiter.end()
    assert limiter.wait(1.0, 16) == math.inf
    limiter.end()
    assert limiter.wait(1.0, 16) == 0
    limiter.begin(1.5)
    limiter.overloaded(2.0, 1.5, None)
    assert limiter.window == 4


def test_it_climbs_back_by_one_a_round() -> None:
    """Additive increase: as many answers as the window is wide make it wider by one."""
    limiter = full(16)
    limiter.overloaded(1.0, 0.0, None)
    for _ in range(8):
        limiter.served(2.0)
    assert 8.9 < limiter.window < 9


def test_the_window_never_closes() -> None:
    """One request at a time is always tried."""
    limiter = full(1)
    for second in range(9):
        limiter.overloaded(second, second, None)
    limiter.end()
    assert limiter.wait(9.0, 8) == 0


@pytest.mark.parametrize("refuse", [Limiter.overloaded, Limiter.too_fast])
def test_everyone_waits_as_long_as_the_service_asks(refuse: object) -> None:
    """Retry-After holds for every request that has not begun."""
    limiter = full(4)
    assert callable(refuse)
    refuse(limiter, 1.0, 0.0, 7.0)
    limiter.end()
    limiter.end()
    limiter.end()
    assert limiter.wait(2.0, 4) == 6.0


def test_after_a_pause_for_too_many_requests_they_begin_one_by_one() -> None:
    """No storm: the rate that was learned spaces them."""
    limiter = full(4)
    limiter.too_fast(1.0, 0.0, 7.0)
    for _ in range(4):
        limiter.end()
    assert limiter.wait(8.0, 4) == 0
    limiter.begin(8.0)
    assert limiter.wait(8.0, 4) > 0.5


def test_after_a_pause_for_overload_they_do_not_begin_together() -> None:
    """What is left of the window begins over a second."""
    limiter = full(16)
    limiter.overloaded(1.0, 0.0, 7.0)
    for _ in range(16):
        limiter.end()
    starts, now = [], 8.0
    for _ in range(8):
        now += limiter.wait(now, 16)
        limiter.begin(now)
        starts.append(now)
    assert starts[0] == 8.0
    assert 0.5 < starts[-1] - starts[0] <= 1.0
    assert max(b - a for a, b in itertools.pairwise(starts)) < 0.2


def test_a_limit_that_is_gone_is_forgotten() -> None:
    """Ten minutes of answers later nothing is held back any more."""
    limiter = full(1)
    limiter.too_fast(1.0, 0.0, None)
    limiter.end()
    now = 1.0
    while math.isfinite(limiter.rate) and now < 600:
        now += limiter.wait(now, 32)
        limiter.begin(now)
        now += 0.001
        limiter.served(now)
        limiter.end()
    assert math.isinf(limiter.rate)


def test_an_outage_is_not_taken_for_a_rate() -> None:
    """After ten minutes of nothing but refusals the next answers soon come as before."""
    limiter, now = Limiter(), 0.0
    while now < 600:
        now += limiter.wait(now, 8)
        limiter.begin(now)
        limiter.too_fast(now + 0.1, now, None)
        limiter.end()
        now += 0.1
    began = now
    for _ in range(300):
        now += limiter.wait(now, 8)
        limiter.begin(now)
        limiter.served(now + 0.1)
        limiter.end()
        now += 0.1
    assert now - began < 60
