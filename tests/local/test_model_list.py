"""The list of models: `GET /models`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openrouter_embeddings.local.model_list import list_models
from openrouter_embeddings.local.models import MODELS, with_aliases

ALIASES = {f"acme/{number}": "local/hash" for number in range(3)}


@given(st.integers(1, 7), st.sampled_from(["/models", "/api/v1/embeddings/models"]))
def test_pages_of_models_make_the_whole_list(limit: int, path: str) -> None:
    """A client that follows `links.next` gets every model once, in order."""
    models = with_aliases(ALIASES)
    whole = json.loads(list_models(models, path, "").body)
    found: list[Any] = []
    following: str | None = f"{path}?limit={limit}"
    while following:
        where, _, query = following.partition("?")
        assert where == path
        page = json.loads(list_models(models, where, query).body)
        assert len(page["data"]) <= limit
        assert page["total_count"] == len(models)
        found += page["data"]
        following = page["links"]["next"]
    assert found == whole["data"]
    assert whole["links"]["next"] is None
    beyond = json.loads(list_models(models, path, "offset=500").body)
    assert (beyond["data"], beyond["links"]["next"]) == ([], None)


def test_the_list_is_complete_unless_a_page_is_requested() -> None:
    """`offset` alone asks for a page of 500 models."""
    models = with_aliases({f"acme/{n}": "local/hash" for n in range(600)})
    for query, count in (("", 603), ("offset=0", 500), ("offset=600", 3)):
        assert len(json.loads(list_models(models, "/models", query).body)["data"]) == count


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "limit=x", "offset=٣"])
def test_an_invalid_page_is_refused(query: str) -> None:
    """`offset` and `limit` outside the documented bounds get a 400 that names the parameter."""
    reply = list_models(MODELS, "/models", query)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["message"].startswith(query.partition("=")[0])
