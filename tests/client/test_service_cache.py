"""Responses from the service's own cache: free, and without usage."""

import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings import jobs
from openrouter_embeddings.core.batching import FRAME_TOKENS

from tests.socket_service import SocketService, correct_response, http_response, socket_service
from tests.support import KEY, Kind, Service, answer, both, embed_over, every, expected

TEXTS = [letter * 12 for letter in "abcdefgh"]
CACHED = {"prompt_tokens": 0, "total_tokens": 0, "cost": 0}


# A server that repeats the tokens of the first answer, or leaves the cost out.
SLOPPY = {"prompt_tokens": 5, "total_tokens": 5}


def caching(hits: int, price: str = "1e-6", cached: dict[str, Any] = CACHED) -> Service:
    """A service whose cache has the first requests; it bills a token for each character."""

    def respond(body: dict[str, Any], number: int) -> Any:
        if number < hits:
            headers = {"X-OpenRouter-Cache-Status": "HIT", "X-OpenRouter-Cache-Age": "17"}
            hit = answer(body["input"], usage=cached)
            return lambda: httpx.Response(200, json=hit, headers=headers)
        tokens = sum(map(len, body["input"]))
        cost = float(Decimal(price) * tokens)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": cost}
        return answer(body["input"], usage=usage)

    return Service(respond)


@both
def test_a_result_tells_what_came_from_the_cache(kind: Kind) -> None:
    """`Served.headers` has the status of the cache; such a response adds nothing to the usage."""
    result = caching(1).embed(kind, TEXTS[:2], batch_size=1, concurrency=1)
    assert [one.headers.get("x-openrouter-cache-status") for one in result.served] == ["HIT", None]
    assert result.usage == ore.Usage(12, 12, Decimal("0.000012"), requests=2)
    assert (result.vectors == expected(TEXTS[:2])).all()


@both
@pytest.mark.parametrize("hits", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("cached", [CACHED, SLOPPY, {**SLOPPY, "cost": 0}])
def test_a_budget_holds_if_the_first_responses_come_from_the_cache(
    kind: Kind, hits: int, batch_size: int, cached: dict[str, Any]
) -> None:
    """Inputs are sent alone until a response shows the price; then the budget covers the rest."""
    budget = 3 * Decimal(12 + FRAME_TOKENS) * Decimal("1e-6")
    service = caching(hits, cached=cached)
    with pytest.raises(ore.BudgetExceededError, match="might exceed the budget") as caught:
        service.embed(kind, TEXTS, batch_size=batch_size, budget=budget)
    usage = caught.value.usage
    assert usage is not None
    assert usage.cost is not None
    assert 0 < usage.cost <= budget
    assert [len(body["input"]) for body in service.bodies[: hits + 1]] == [1] * (hits + 1)
    assert usage.requests == len(service.requests)


@both
@pytest.mark.parametrize("cached", [CACHED, SLOPPY, {**SLOPPY, "cost": 0}])
def test_the_usage_counts_no_tokens_of_cached_responses(kind: Kind, cached: dict[str, Any]) -> None:
    """They cost nothing, even if they repeat the tokens of the first answer."""
    result = caching(100, cached=cached).embed(kind, TEXTS[:2], batch_size=1)
    assert result.usage == ore.Usage(cost=Decimal(0), requests=2)


def test_only_one_request_exceeds_the_budget_after_free_responses() -> None:
    """Free responses allow full batches, one at a time, until a paid provider answers."""
    free, another = 20, threading.Event()

    def respond(body: dict[str, Any], number: int) -> Any:
        tokens = len(body["input"])
        cost = 0.01 * tokens if number >= free else 0
        if number > free:
            another.set()
        elif number == free:
            another.wait(0.2)  # for a request that would be in flight at the same time
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": cost}
        return answer(body["input"], usage=usage)

    service = Service(respond)
    with pytest.raises(ore.BudgetExceededError):
        service.embed("sync", TEXTS * 40, batch_size=8, budget=Decimal("0.05"))
    assert len(service.requests) == free + 1
    assert max(len(body["input"]) for body in service.bodies[:free]) == 8


@both
def test_a_corpus_in_the_cache_is_embedded_with_any_budget(kind: Kind) -> None:
    """Nothing is billed, so a budget below the price of one token suffices."""
    result = caching(100).embed(kind, TEXTS, batch_size=4, budget=Decimal("1e-9"))
    assert result.usage.cost == Decimal(0)
    assert (result.vectors == expected(TEXTS)).all()


def test_the_budget_of_a_job_holds_if_the_first_responses_come_from_the_cache(
    tmp_path: Path,
) -> None:
    """All runs of the job together stay within it."""
    source = tmp_path / "s.txt"
    source.write_text("\n".join(TEXTS))
    budget = 3 * Decimal(12 + FRAME_TOKENS) * Decimal("1e-6")
    service = caching(2)
    for _ in range(3):
        with pytest.raises(ore.BudgetExceededError):
            service.run(
                "sync",
                lambda c: jobs.embed_file(source, tmp_path / "t.npy", client=c, budget=budget),
            )
    billed = [sum(map(len, body["input"])) for body in service.bodies[2:]]
    assert 0 < sum(billed) * Decimal("1e-6") <= budget
    assert [len(body["input"]) for body in service.bodies[:3]] == [1, 1, 1]


@every
def test_served_headers_come_over_connections_of_our_own(kind: str) -> None:
    """They have no key, even if the service sends it back."""

    def handle(_: SocketService, connection: Any) -> None:
        body = correct_response(connection).partition(b"\r\n\r\n")[2]
        head = b"CF-Ray: 9a-ZRH\r\nX-Request-Id: for %b\r\nX-Other: 1\r\n" % KEY.encode()
        connection.sendall(http_response(200, body, head))

    with socket_service(handle) as service:
        (served,) = embed_over(kind, service.url, ["a"]).served
    assert served.headers == {"cf-ray": "9a-ZRH", "x-request-id": "for [API key]"}
    assert "headers" not in repr(served)
