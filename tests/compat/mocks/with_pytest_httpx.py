"""pytest-httpx."""

import httpx
import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.testing import no_waiting
from pytest_httpx import HTTPXMock  # pyright: ignore[reportMissingImports]

from tests.compat.mocks.service import REFUSED, answer, check_own_connections, embed
from tests.compat.rows import Row

ROW = Row("pytest-httpx", how="nothing to set up")
both = pytest.mark.parametrize(
    "kind", [pytest.param("sync", marks=ROW.sync), pytest.param("async", marks=ROW.asynchronous)]
)


@both
def test_the_mock_answers(kind: str, httpx_mock: HTTPXMock) -> None:
    """Nothing is sent, and the mock has the request."""
    httpx_mock.add_response(url=f"{REFUSED}/embeddings", json=answer(["a", "bb"]))
    embed(kind, REFUSED, ["a", "bb"])
    (seen,) = httpx_mock.get_requests()
    assert b'"bb"' in seen.content


@both
def test_a_retry_takes_the_next_response(kind: str, httpx_mock: HTTPXMock) -> None:
    """429, then 200."""
    refusal = {"error": {"code": 429, "message": "slow down"}}
    httpx_mock.add_response(status_code=429, json=refusal)
    httpx_mock.add_response(json=answer(["a"]))
    with no_waiting():
        (result,) = embed(kind, REFUSED, ["a"])
    assert result.usage.retries == 1


@both
def test_an_exception_of_the_mock_becomes_an_error_of_this_package(
    kind: str, httpx_mock: HTTPXMock
) -> None:
    """As if httpx had raised it."""
    httpx_mock.add_exception(httpx.ReadTimeout("the mock is slow"))
    with pytest.raises(ore.APITimeoutError, match="the mock is slow"):
        embed(kind, REFUSED, ["a"], max_retries=0)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_requests_without_the_fixture_are_sent(kind: str) -> None:
    """The plugin is loaded, but replaces nothing outside the tests that use it."""
    check_own_connections(kind)
