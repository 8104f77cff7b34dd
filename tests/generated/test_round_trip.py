"""The generated client preserves requests and responses: dict → model → JSON → dict."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from openrouter_embeddings_api import AuthenticatedClient, models
from openrouter_embeddings_api.api.embeddings import create_embeddings

from tests.contract.oracle import REQUEST, bodies, examined, schema_of

INPUTS: dict[str, Any] = {
    "text": "a",
    "texts": ["a", "b"],
    "tokens": [101, 2023, 102],
    "token lists": [[101, 102], [7]],
    "multimodal": [
        {"content": [{"type": "text", "text": "a"}]},
        {"content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
        {
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ]
        },
    ],
}
CUTOFFS = {"p50": 1, "p75": 2.5, "p90": None, "p99": 4}
PREFERENCES: dict[str, list[Any]] = {
    "allow_fallbacks": [True, False, None],
    "data_collection": ["deny", "allow", None],
    "enforce_distillable_text": [True, None],
    "ignore": [["OpenAI", "nobody-knows-it"], [], None],
    "max_price": [
        {"prompt": "0.1", "completion": 1, "image": "2", "audio": 0.5, "request": 0},
        {"prompt": "0.1", "completion": "1", "image": "2", "audio": "0.5", "request": "0"},
        {},
    ],
    "only": [["Azure"], None],
    "order": [["DeepInfra", "Mistral"], None],
    "preferred_max_latency": [2, 1.5, CUTOFFS, {}],
    "preferred_min_throughput": [50, CUTOFFS],
    "quantizations": [["int8", "fp32", "unknown"], None],
    "require_parameters": [True, None],
    "sort": ["price", "exacto", {"by": "latency", "partition": "none"}, {"by": None}],
    "zdr": [True, False, None],
}


def through(request: dict[str, Any]) -> dict[str, Any]:
    """dict → model → JSON → dict."""
    model = models.EmbeddingRequest.from_dict(request)
    back: dict[str, Any] = json.loads(json.dumps(model.to_dict()))
    return back


def same(one: Any, other: Any) -> bool:
    """Whether both are equal, with integers still integers."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def allowed(**fields: Any) -> bool:
    """Whether the edition that the client was generated from allows these fields."""
    return bool(REQUEST.is_valid({"input": "a", "model": "m", **fields}))


@pytest.mark.parametrize("form", [form for form in INPUTS if allowed(input=INPUTS[form])])
def test_every_form_of_input_is_preserved(form: str) -> None:
    """All five forms, and integers stay integers."""
    request = {"input": INPUTS[form], "model": "m"}
    assert same(through(request), request)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in PREFERENCES.items()
        for value in values
        if allowed(provider={name: value})
    ],
)
def test_every_provider_preference_is_preserved(name: str, value: Any) -> None:
    """Each alone, in each of its forms."""
    request = {"input": "a", "model": "m", "provider": {name: value}}
    assert same(through(request), request)


@examined
@given(request=bodies(schema_of("requestBody")))
def test_every_request_that_the_contract_allows_is_preserved(request: Any) -> None:
    """This covers whatever the edition has beyond the cases above."""
    assert same(through(request), request)


def test_all_options_together_are_preserved() -> None:
    """Every other field of a request."""
    request = {
        "input": "a",
        "model": "m",
        "dimensions": 64,
        "encoding_format": "base64",
        "input_type": "search_query",
        "user": "me",
        "provider": {name: values[0] for name, values in PREFERENCES.items()},
        "something_new": {"kept": [1, None]},
    }
    assert same(through(request), request)


def test_typed_parts_need_no_tags() -> None:
    """`type` defaults to its only value."""
    image = models.ContentPartImage(image_url=models.ImageUrl(url="https://example.org/a.png"))
    parts = models.MultimodalInput(content=[models.ContentPartText(text="a"), image])
    request = models.EmbeddingRequest(input_=[parts], model="m")
    assert request.to_dict()["input"] == [
        {
            "content": [
                {"text": "a", "type": "text"},
                {"image_url": {"url": "https://example.org/a.png"}, "type": "image_url"},
            ]
        }
    ]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 1, "total_tokens": 1, "cost": None}])
def test_null_is_accepted_for_optional_response_fields(usage: Any) -> None:
    """Servers send it."""
    body = {"object": "list", "data": [], "model": "m", "usage": usage, "id": None}
    response = models.EmbeddingResponse.from_dict(body)
    assert same(response.to_dict(), body)


def test_the_low_level_client_works_by_itself() -> None:
    """Request, authentication and response work without the wrapper."""
    seen: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        item = {"object": "embedding", "index": 0, "embedding": [0.5]}
        return httpx.Response(200, json={"object": "list", "data": [item], "model": "m"})

    client = AuthenticatedClient(base_url="https://example.org/v1", token="k")
    http = httpx.Client(transport=httpx.MockTransport(serve), base_url="https://example.org/v1")
    client.set_httpx_client(http)
    with http:
        body = models.EmbeddingRequest(input_="a", model="m")
        response = create_embeddings.sync(client=client, body=body)
    assert isinstance(response, models.EmbeddingResponse)
    assert response.data[0].embedding == [0.5]
    assert str(seen[0].url) == "https://example.org/v1/embeddings"
