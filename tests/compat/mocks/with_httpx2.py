"""httpx2's clients in `http_client=`, and programs in which `import httpx` gives httpx2."""

import asyncio
import subprocess
import sys
from typing import Any

import httpx
import httpx2
import openai
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.testing import no_waiting

from tests.compat.mocks.service import KEY, OPTIONS, REFUSED, LoopbackService, answer, vectors
from tests.compat.rows import Row

HTTPX2 = Row("httpx2", how="`http_client=httpx2.Client()`")
OPENAI = Row("openai", how="`http_client=openai.DefaultHttpx2Client()`")
PYTEST = Row("pytest-httpx2", how="with `http_client=httpx2.Client()`")
CASES = [
    pytest.param("sync", httpx2.Client, marks=HTTPX2.sync),
    pytest.param("async", httpx2.AsyncClient, marks=HTTPX2.asynchronous),
    pytest.param("sync", openai.DefaultHttpx2Client, marks=OPENAI.sync),
    pytest.param("async", openai.DefaultAsyncHttpx2Client, marks=OPENAI.asynchronous),
]


def embed_through(kind: str, make: Any, url: str) -> ore.EmbeddingResult:
    """The result of one call through the caller's client, which is closed afterwards."""

    async def run() -> ore.EmbeddingResult:
        async with make() as http:
            client = ore.AsyncClient(KEY, base_url=url, http_client=http, **OPTIONS)
            return await client.embed(["a", "bb"])

    if kind == "async":
        return asyncio.run(run())
    with make() as http:
        return ore.Client(KEY, base_url=url, http_client=http, **OPTIONS).embed(["a", "bb"])


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_requests_go_through_the_callers_client(kind: str, make: Any) -> None:
    """Retries too; a refused connection is a typed error."""
    with no_waiting(), LoopbackService(429) as service:
        result = embed_through(kind, make, service.url)
        assert result.vectors.tolist() == vectors(["a", "bb"])
        assert result.usage.retries == 1
        with pytest.raises(ore.APIConnectionError, match="cannot connect to") as caught:
            embed_through(kind, make, REFUSED)
    assert not caught.value.maybe_billed
    assert service.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        pytest.param("sync", httpx2.Client, marks=PYTEST.sync),
        pytest.param("async", httpx2.AsyncClient, marks=PYTEST.asynchronous),
    ],
)
def test_a_mock_of_httpx2_answers(kind: str, make: Any, httpx2_mock: Any) -> None:
    """It replaces methods of httpcore2, under the caller's client."""
    response = httpx.Response(200, json=answer(["a", "bb"]))
    route = httpx2_mock.post(f"{REFUSED}/embeddings").mock(return_value=response)
    assert embed_through(kind, make, REFUSED).vectors.tolist() == vectors(["a", "bb"])
    assert route.call_count == 1


@HTTPX2.sync
@HTTPX2.asynchronous
def test_everything_works_where_httpx_is_an_alias_of_httpx2() -> None:
    """A program may call `httpx2.alias_httpx()` before it imports this package."""
    code = """
import httpx2
httpx2.alias_httpx()
from tests.compat.mocks.service import LoopbackService, embed
with LoopbackService() as service:
    embed("sync", service.url, ["a"], ["bb"])
    embed("async", service.url, ["a"], ["bb"])
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
