"""The README's table beside the plain `openai` package: both sides of each row."""

import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from statistics import median
from typing import Any

import httpx
import numpy as np
import openai
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.local.faults import Fault
from openrouter_embeddings.testing import Service, no_waiting

from tests.support import ROOT, in_threads

TEXTS = [f"text {number}" for number in range(12)]
RIGHT = ore.Client.local(model="local/hash").embed(TEXTS).vectors


def always(kind: str) -> Service:
    """The stand-in with a fault in every response."""
    return Service(Fault(kind, probability=1.0))


def plain(service: Service) -> openai.OpenAI:
    """The openai client, connected to the stand-in in this process."""
    http: Any = httpx.Client(transport=service.transport())  # typed as a client of httpx2
    return openai.OpenAI(api_key="local", base_url="http://127.0.0.1/api/v1", http_client=http)


def embedded(service: Service) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """TEXTS through the openai client."""
    with plain(service) as client:
        response = client.embeddings.create(model="local/hash", input=TEXTS)
    return np.array([item.embedding for item in response.data], np.float32)


def test_vectors_come_in_the_order_of_the_texts_or_not_at_all() -> None:
    """The openai client returns shuffled vectors shuffled, and 11 vectors for 12 texts."""
    assert not np.array_equal(embedded(always("shuffled")), RIGHT)
    assert len(embedded(always("missing-item"))) == 11
    with always("shuffled").client() as client:
        assert np.array_equal(client.embed(TEXTS).vectors, RIGHT)
    with always("missing-item").client() as client, pytest.raises(ore.ResponseError, match="11"):
        client.embed(TEXTS)


def test_one_refused_text_does_not_cost_the_others() -> None:
    """The openai client does not say which text it was; this package names it or skips it."""
    poisoned = Fault("poison", text="text 7")
    with pytest.raises(openai.BadRequestError) as refused:
        embedded(Service(poisoned))
    assert "7" not in str(refused.value)
    with Service(poisoned).client() as client:
        with pytest.raises(ore.BadRequestError) as caught:
            client.embed(TEXTS)
        assert caught.value.inputs == (7,)
        assert len(client.embed(TEXTS, on_error="skip")) == 11


def outcomes(embed: Callable[[], object]) -> Counter[str]:
    """What 100 calls at the same time end with."""
    ended: list[str] = []

    def call() -> None:
        try:
            embed()
            ended.append("answered")
        except (openai.APIError, ore.EmbeddingsError) as error:
            ended.append(type(error).__name__)

    in_threads(100, call)
    return Counter(ended)


def test_calls_survive_a_rate_limit() -> None:
    """Of 100 calls at once to a service that takes 20 a second, openai fails some."""
    limited = Fault("rate-limit", per_second=20, burst=5)
    with plain(Service(limited)) as client:
        found = outcomes(lambda: client.embeddings.create(model="local/hash", input="a text"))
    assert found["RateLimitError"] > 20
    with no_waiting(), Service(limited).client() as ours:
        assert outcomes(lambda: ours.embed("a text")) == {"answered": 100}


def test_the_cost_is_summed_and_bounded() -> None:
    """This package adds up batches and retries, and stops at a budget."""
    with always("nan-vector").client() as client:
        with pytest.raises(ore.ResponseError) as failed:
            client.embed(TEXTS)
        assert failed.value.usage is not None
        assert failed.value.usage.cost is not None
        assert failed.value.usage.requests == 2
    with Service().client() as client:
        result = client.embed(TEXTS, batch_size=4)
        assert result.usage.requests == 3
        assert isinstance(result.usage.cost, Decimal)
        with pytest.raises(ore.BudgetExceededError):
            client.embed(TEXTS, budget=result.usage.cost / 2, batch_size=1)


def test_the_factor_of_cpu_time_is_the_measured_one() -> None:
    """The README's figure is a ratio of medians in docs/performance.json."""
    found = json.loads((ROOT / "docs" / "performance.json").read_text())
    ours, plain_openai = (
        median(record["cpu"])
        for who in ("ours", "openai")
        for record in found["runs"][-1]["results"]
        if (record["case"], record["contender"]) == ("2048 × 1536", who)
    )
    readme = (ROOT / "README.md").read_text()
    assert plain_openai / ours > 10
    assert "more than ten times the CPU time" in readme
