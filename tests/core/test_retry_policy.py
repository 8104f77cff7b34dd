"""Which errors are retried, and after how long."""

import datetime as dt
from email.utils import format_datetime
from functools import partial

import openrouter_embeddings as ore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.core.retry_policy import (
    MAX_WAIT,
    can_retry,
    error_class,
    exceeded_limit,
    retry_after,
)
from openrouter_embeddings.core.wire import Reply


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529])
def test_temporary_errors_are_retried(status: int) -> None:
    """The number of earlier attempts does not matter."""
    assert can_retry(error_class(status)("x", status=status), invalid_so_far=3)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 402, 403, 404, 405, 413, 422, 499, 501])
def test_permanent_errors_are_not_retried(status: int) -> None:
    """Another attempt would fail the same way."""
    assert not can_retry(error_class(status)("x", status=status), invalid_so_far=0)


def test_connection_errors_and_timeouts_are_retried() -> None:
    """Another attempt may reach a healthier server, but not after the deadline."""
    assert can_retry(ore.APIConnectionError("x"), 0)
    assert can_retry(ore.APITimeoutError("x"), 0)
    assert not can_retry(ore.DeadlineExceededError("x"), 0)


def test_an_invalid_200_response_is_retried_once() -> None:
    """It was billed; one retry may reach another provider."""
    assert can_retry(ore.ResponseError("x"), 0)
    assert not can_retry(ore.ResponseError("x"), 1)


def test_a_very_long_retry_after_is_not_waited_for() -> None:
    """The error with its `retry_after` goes to the caller instead."""
    assert can_retry(ore.RateLimitError("x", status=429, retry_after=MAX_WAIT), 0)
    assert not can_retry(ore.RateLimitError("x", status=429, retry_after=MAX_WAIT + 1), 0)


@given(st.integers(0, 10**6))
def test_retry_after_in_seconds(seconds: int) -> None:
    """A number means seconds."""
    assert retry_after(Reply(429, {"retry-after": f" {seconds} "}, b"")) == seconds


@given(st.integers(10**9, 4 * 10**9), st.integers(-100, 100))
def test_retry_after_as_a_date(now: int, later: int) -> None:
    """A date means the seconds until then, never a negative number."""
    date = format_datetime(dt.datetime.fromtimestamp(now + later, dt.UTC), usegmt=True)
    reply = Reply(503, {"retry-after": date}, b"", received_at=now)
    assert retry_after(reply) == max(0, later)


@pytest.mark.parametrize("value", [None, "", "soon", "nan", "inf", "Mon, 99 Foo 2026 00:00:00"])
def test_an_unreadable_retry_after_is_ignored(value: str | None) -> None:
    """The usual backoff applies instead."""
    headers = {} if value is None else {"retry-after": value}
    assert retry_after(Reply(429, headers, b"")) is None


def test_the_largest_of_several_retry_after_values_counts() -> None:
    """A proxy may add its own."""
    assert retry_after(Reply(429, {"retry-after": "4, 7.5, 1"}, b"")) == 7.5


@pytest.mark.parametrize("skew", [-600, 0, 600])
def test_a_retry_after_date_is_compared_with_the_services_clock(skew: int) -> None:
    """That clock may differ from this machine's."""
    now = 1_800_000_000
    at = partial(dt.datetime.fromtimestamp, tz=dt.UTC)
    headers = {
        "retry-after": format_datetime(at(now + skew + 4), usegmt=True),
        "date": format_datetime(at(now + skew), usegmt=True),
    }
    assert retry_after(Reply(429, headers, b"", now)) == 4


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("failed to process batch", None),
        ("invalid inputs", None),
        ("batch size 128 exceeds the limit", "count"),
        ("too many inputs", "count"),
        ("Requested 900 tokens, max 300 tokens per request are allowed", "size"),
    ],
)
def test_a_failed_batch_has_not_exceeded_a_limit(message: str, what: str | None) -> None:
    """A limit is learned only from messages that mention one, because it is kept."""
    assert exceeded_limit(ore.BadRequestError(message, status=400)) == what
