"""`Client.embed` and `AsyncClient.embed`: inputs, options, results."""

import asyncio
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openrouter_embeddings as ore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import KEY, KINDS, MODEL, PNG, Kind, Service, answer, both, expected, items_of


@both
def test_texts_become_one_matrix(kind: Kind) -> None:
    """The matrix has one float32 row per input and is C-contiguous."""
    result = Service().embed(kind, ["a", "bb"])
    assert np.array_equal(result.vectors, expected(["a", "bb"]))
    assert result.vectors.dtype == np.float32
    assert result.vectors.flags.c_contiguous


@both
@pytest.mark.parametrize(
    ("inputs", "wire"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([101, 7], [[101, 7]]),
        ([[101, 7], [8]], [[101, 7], [8]]),
        (
            ["a", ore.Content("b", "c")],
            [
                {"content": [{"type": "text", "text": "a"}]},
                {"content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
            ],
        ),
    ],
)
def test_each_kind_of_input_is_sent_in_the_format_of_the_api(
    kind: Kind, inputs: Any, wire: Any
) -> None:
    """A text, texts, tokens, lists of tokens and multimodal inputs are sent in the API's format."""
    service = Service()
    result = service.embed(kind, inputs)
    assert service.bodies == [{"input": wire, "model": MODEL, "encoding_format": "base64"}]
    assert len(result) == len(wire)


@both
def test_images_are_sent_from_paths_bytes_and_urls(kind: Kind, tmp_path: Path) -> None:
    """A path and bytes become a data URL; a URL is sent as it is."""
    path = tmp_path / "named.jpeg"
    path.write_bytes(PNG)
    service = Service()
    url = "https://example.org/x.png"
    service.embed(kind, ["a", ore.Image(path), ore.Image(PNG), ore.Image(url)])
    (body,) = service.bodies
    urls = [item["content"][0]["image_url"]["url"] for item in body["input"][1:]]
    assert urls[0] == urls[1]
    assert urls[0].startswith("data:image/png;base64,")
    assert urls[2] == url


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.text("ab", min_size=1), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 5),
    st.sampled_from(KINDS),
)
def test_batching_does_not_change_the_matrix(
    texts: list[str], batch_size: int, concurrency: int, kind: Kind
) -> None:
    """The matrix does not depend on `batch_size` or `concurrency`."""
    service = Service()
    result = service.embed(kind, texts, batch_size=batch_size, concurrency=concurrency)
    assert np.array_equal(result.vectors, expected(texts))
    assert sum(len(body["input"]) for body in service.bodies) == len(texts)
    assert len(service.requests) == -(-len(texts) // batch_size)


@both
def test_usage_is_summed_exactly_over_all_requests(kind: Kind) -> None:
    """Three requests of 1.4e-7 credits cost 4.2e-7, not 4.199999e-7."""
    usage = {"prompt_tokens": 5, "total_tokens": 6, "cost": 1.4e-7}
    details = {
        "prompt_tokens_details": {"text_tokens": 2, "image_tokens": 3},
        "is_byok": False,
        "cost_details": {"upstream_inference_prompt_cost": 1.4e-7, "new": None},
    }
    service = Service(lambda body, _: answer(body["input"], usage={**usage, **details}))
    result = service.embed(kind, ["a"] * 5, batch_size=2)
    assert result.usage == ore.Usage(
        prompt_tokens=15,
        total_tokens=18,
        cost=Decimal("4.2e-7"),
        prompt_tokens_details={"text_tokens": 6, "image_tokens": 9},
        is_byok=False,
        cost_details={"upstream_inference_prompt_cost": Decimal("4.2e-7")},
        requests=3,
    )


@both
def test_the_result_says_which_response_each_row_came_from(kind: Kind) -> None:
    """A result keeps each response's provider, ID, extra fields and positions."""
    service = Service(
        lambda body, n: answer(
            body["input"], provider="AB"[len(body["input"]) % 2], id=f"gen-{n}", is_byok=False
        )
    )
    result = service.embed(kind, ["a", "b", "c"], batch_size=2, concurrency=1)
    assert result.model == "embed-1"
    assert result.requested_model == MODEL
    assert result.providers == ("A", "B")
    assert result.ids == ("gen-0", "gen-1")
    assert [[*served.positions] for served in result.served] == [[0, 1], [2]]
    assert result.served[1].body["is_byok"] is False


@both
def test_options_of_a_call_override_the_defaults_of_the_client(kind: Kind) -> None:
    """The request has the client's default options, changed by those of the call."""
    service = Service()
    service.run(
        kind,
        lambda c: c.embed(
            "a", dimensions=None, user="me", encoding_format="float", extra_body={"new": [None]}
        ),
        dimensions=4,
        provider={"zdr": True, "max_price": {"prompt": 0.02}},
        user="you",
        extra_body={"new": 1, "newer": 2},
    )
    assert service.bodies == [
        {
            "input": ["a"],
            "model": MODEL,
            "encoding_format": "float",
            "provider": {"zdr": True, "max_price": {"prompt": "0.02"}},
            "user": "me",
            "new": [None],
        }
    ]


@both
def test_extra_body_is_in_every_request(kind: Kind) -> None:
    """Every batch of every method has the fields of `extra_body`."""
    service = Service()
    service.run(kind, lambda c: c.embed(["a", "b"], batch_size=1), extra_body={"new": 1})
    service.run(kind, lambda c: c.embed_query("a", extra_body={"new": 1}))
    service.run(kind, lambda c: c.embed_documents("a", extra_body={"new": 1}))
    service.run(kind, lambda c: c.embed_stream(["a", "b"], batch_size=1, extra_body={"new": 1}))
    assert [body["new"] for body in service.bodies] == [1] * 6


@both
def test_a_client_copies_its_default_options(kind: Kind) -> None:
    """Changing a mapping after passing it to the client does not change later requests."""
    extra: Any = {"new": [1]}
    provider: Any = {"order": ["a"]}
    service = Service()

    def call(client: Any) -> Any:
        extra["new"].append(2)
        extra["model"] = "other"
        provider["order"].append("b")
        return client.embed("a", user="me")

    service.run(kind, call, extra_body=extra, provider=provider)
    (body,) = service.bodies
    assert (body["new"], body["provider"]) == ([1], {"order": ["a"]})


@both
@pytest.mark.parametrize(
    ("method", "role"), [("embed_query", "search_query"), ("embed_documents", "search_document")]
)
def test_embed_query_and_embed_documents_send_input_type(
    kind: Kind, method: str, role: str
) -> None:
    """Each method sends its `input_type`, unless the caller sets another."""
    service = Service()
    service.run(kind, lambda c: getattr(c, method)(["a"]))
    service.run(kind, lambda c: getattr(c, method)(["a"], input_type="classification"))
    assert [body["input_type"] for body in service.bodies] == [role, "classification"]


@both
@pytest.mark.parametrize(
    "inputs",
    [
        *([], "", ["a", None], ["\ud800"], b"a"),
        *([made(b"BM\0\0")] for made in (ore.Image, ore.Audio, ore.Video, ore.File)),
        [ore.Content("a", {})],
        [ore.Content({"type": "x", "y": float("nan")})],
    ],
)
def test_an_invalid_input_raises_before_anything_is_sent(kind: Kind, inputs: Any) -> None:
    """No request is sent, even if the invalid input would be in the last batch."""
    service = Service()
    inputs = ["a"] * 50 + inputs if isinstance(inputs, list) and inputs else inputs
    with pytest.raises(ore.InputError):
        service.embed(kind, inputs, batch_size=10)
    assert service.requests == []


@both
def test_responses_of_different_widths_raise(kind: Kind) -> None:
    """Vectors of different widths are not comparable, so the call fails and names the inputs."""
    rows = [[1.0, 2.0], [1.0, 2.0, 3.0]]
    service = Service(
        lambda body, _: answer(
            body["input"], data=[{"object": "embedding", "embedding": rows[body["input"] == ["b"]]}]
        )
    )
    with pytest.raises(ore.ResponseError, match="3 dimensions, but of 2") as caught:
        service.embed(kind, ["a", "b"], batch_size=1)
    assert caught.value.inputs == (1,)


@both
def test_an_unknown_option_is_an_error(kind: Kind) -> None:
    """A misspelt option raises TypeError with its name."""
    with pytest.raises(TypeError, match="modle"):
        Service().embed(kind, "a", modle="x")


@both
def test_the_request_has_the_documented_url_method_and_headers(kind: Kind) -> None:
    """The request has the URL, method and headers that the API documents."""
    service = Service()
    service.run(kind, lambda c: c.embed("a"), base_url="https://example.org/v1/")
    (request,) = service.requests
    assert request.method == "POST"
    assert str(request.url) == "https://example.org/v1/embeddings"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("openrouter-embeddings/")


def test_key_and_base_url_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads both variables when it is made, not when the package is imported."""
    monkeypatch.setenv("OPENROUTER_API_KEY", f"{KEY}\n")
    monkeypatch.setenv("OPENROUTER_BASE_URL", "https://example.org/api")
    service = Service()
    with httpx.Client(transport=httpx.MockTransport(service.handle)) as http:
        ore.Client(http_client=http, model=MODEL).embed("a")
    assert str(service.requests[0].url) == "https://example.org/api/embeddings"
    assert service.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_key": ""}, "no API key: set OPENROUTER_API_KEY"),
        ({"api_key": "snow☃man"}, "is not shown here"),
        ({"api_key": "two words"}, "is not shown here"),
        ({"base_url": "http://example.org/v1"}, "over plain http"),
        ({"base_url": "http://10.0.0.1"}, "over plain http"),
        ({"base_url": "https://a.org/api/v1/embeddings"}, "ends in /embeddings"),
        ({"base_url": "example.org"}, "is not an http"),
        ({"base_url": "ftp://example.org"}, "is not an http"),
        ({"base_url": "https://u:p@example.org"}, "user name or password"),
        ({"base_url": "https://exa mple"}, "has more than a scheme, host"),
        ({"base_url": "https://example.org/v1?x=1"}, "has more than a scheme, host"),
        ({"base_url": 5}, "base_url must be a str, got int"),
        ({"api_key": 5}, "not shown here"),
        ({"http_client": object()}, r"http_client is an object; \w+ takes an httpx\."),
        ({"dimensions": 0}, "dimensions: expected an integer from 1 to 2³¹-1, got 0"),
        ({"extra_body": {"model": "m"}}, "extra_body must not have 'model'; use the option model"),
    ],
)
def test_the_constructor_rejects_invalid_arguments(
    make: Any, options: dict[str, Any], words: str
) -> None:
    """A missing key, plain HTTP to another machine or an invalid default raises at once."""
    with pytest.raises(ore.InputError, match=words):
        make(**{"api_key": KEY, **options})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_plain_http_is_allowed_to_this_machine(host: str) -> None:
    """No other machine can read what goes over the loopback interface."""
    ore.Client(KEY, base_url=f"http://{host}:1234/v1").close()


def test_the_callers_httpx_client_stays_open() -> None:
    """Closing the client leaves the caller's httpx client open."""
    http = httpx.Client(transport=httpx.MockTransport(Service().handle))
    with ore.Client(KEY, http_client=http, model=MODEL) as client:
        client.embed("a")
    assert not http.is_closed
    http.close()


@both
def test_a_closed_client_raises_input_error(kind: Kind) -> None:
    """A closed client raises InputError, not an error of httpx; closing twice is fine."""

    async def use_closed(client: Any) -> None:
        await client.close()
        await client.close()
        await client.embed("a")

    def use(client: Any) -> Any:
        if kind == "async":
            return use_closed(client)
        client.close()
        client.close()
        return client.embed("a")

    client: Any = ore.Client.local() if kind == "sync" else ore.AsyncClient.local()
    assert repr(client) == f"{type(client).__name__}.local(model='local/minilm')"
    with pytest.raises(ore.InputError, match="is closed; make a new one"):
        asyncio.run(use(client)) if kind == "async" else use(client)


def test_a_result_behaves_like_its_matrix() -> None:
    """len, indexing, iteration and numpy use the matrix; the repr is short."""
    result = Service().embed("sync", ["a", "bb"])
    assert len(result) == 2
    assert np.array_equal(result[1], result.vectors[1])
    assert [row.tolist() for row in result] == result.vectors.tolist()
    assert np.asarray(result) is result.vectors
    assert np.asarray(result, np.float64).dtype == np.float64
    assert np.array(result, copy=True) is not result.vectors
    with pytest.raises(ValueError, match="needs a copy"):
        np.array(result, np.float64, copy=False)
    assert repr(result) == (
        "EmbeddingResult(shape=(2, 4), model='embed-1', prompt_tokens=2, cost=0.00000014)"
    )


@pytest.mark.parametrize("make", [ore.Client, ore.AsyncClient])
def test_plain_http_can_be_allowed(make: Any) -> None:
    """`allow_http=True` allows plain HTTP to another machine."""
    client = make("k", base_url="http://embeddings.internal/v1", allow_http=True)
    assert "embeddings.internal" in repr(client)


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="httpx's mocked responses are reference cycles, which this collector finds late",
)
@both
def test_memory_holds_the_matrix_once(kind: Kind) -> None:
    """Peak memory is one matrix plus the batches in flight."""
    width = 4096
    rows = np.random.default_rng(0).standard_normal((1200, width), np.float32)

    def script(body: dict[str, Any], _: int) -> dict[str, Any]:
        vectors = [ore.encode_base64(rows[int(text)]) for text in body["input"]]
        return answer(body["input"], data=items_of(*vectors))

    def embed(client: Any) -> Any:
        tracemalloc.start()
        return client.embed([*map(str, range(1200))], batch_size=4, concurrency=2)

    try:
        result = Service(script).run(kind, embed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(result.vectors, rows)
    assert peak < 1.4 * rows.nbytes


@both
def test_missing_values_have_no_row(kind: Kind) -> None:
    """With `on_error="skip"`, None and NaN get no row, and the other inputs are sent as usual."""
    column = ["a", None, float("nan"), "bb", None]
    for size in (1, 2, 5):
        service = Service()
        result = service.embed(kind, column, on_error="skip", batch_size=size)
        assert np.array_equal(result.vectors, expected(["a", "bb"]))
        assert result.mask.tolist() == [True, False, False, True, False]
        assert sorted(result.errors) == [1, 2, 4]
        assert sorted(text for body in service.bodies for text in body["input"]) == ["a", "bb"]
    service = Service()
    assert service.embed(kind, [None], on_error="skip").vectors.shape == (0, 0)
    with pytest.raises(ore.InputError, match=r"input 1: missing value \(None\)"):
        service.embed(kind, column, batch_size=1)
    assert not service.bodies


@both
def test_a_stream_skips_missing_values(kind: Kind) -> None:
    """With `on_error="skip"` a stream skips None and NaN; otherwise it ends at the first."""
    column = ["a", None, "bb", "c", float("nan")]
    parts = Service().run(kind, lambda c: c.embed_stream(column, batch_size=2, on_error="skip"))
    assert [(part.start, part.mask.tolist()) for part in parts] == [
        (0, [True, False]),
        (2, [True, True]),
        (4, [False]),
    ]
    with pytest.raises(ore.InputError, match="input 1: missing value; remove it"):
        Service().run(kind, lambda c: c.embed_stream(column, batch_size=1))
