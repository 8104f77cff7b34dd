"""`respond` answers as the contract describes, and refuses what the contract refuses."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from openrouter_embeddings._json import dumps
from openrouter_embeddings.local.contract import shipped
from openrouter_embeddings.local.models import MODELS
from openrouter_embeddings.local.respond import respond

from tests.newest import validate
from tests.support import PNG

AUTH = {"authorization": "Bearer anything"}
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
IMAGE = {"type": "image_url", "image_url": {"url": DATA_URL}}
INPUTS: dict[str, Any] = {
    "text": "a cat",
    "texts": ["a cat", "a dog"],
    "tokens": [101, 2023, 102],
    "token lists": [[101, 102], [7]],
    "text objects": [{"content": [{"type": "text", "text": "a"}]}],
    "images": [{"content": [IMAGE]}],
    "mixed": [{"content": [IMAGE, {"type": "text", "text": "a"}]}, {"content": [IMAGE]}],
}


def ask(request: Any, **headers: str) -> tuple[int, Any]:
    """The status and JSON of an answer, after validating it against the contract."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = request if isinstance(request, bytes) else json.dumps(request).encode()
    reply = respond(raw, {**AUTH, **named})
    body = json.loads(reply.body)
    validate(shipped(), reply.status, body)
    return reply.status, body


@pytest.mark.parametrize("form", INPUTS)
@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_local_hash_takes_every_form_of_input(form: str, encoding: str | None) -> None:
    """Every form works in both encodings, with equal vectors; the default encoding is floats."""
    request = {"model": "local/hash", "input": INPUTS[form], "dimensions": 8}
    status, body = ask(request | ({"encoding_format": encoding} if encoding else {}))
    assert status == 200
    assert [item["index"] for item in body["data"]] == [*range(len(body["data"]))]
    first = body["data"][0]["embedding"]
    assert isinstance(first, str) == (encoding == "base64")
    _, floats = ask(request)
    if encoding == "base64":
        first = np.frombuffer(base64.b64decode(first), "<f4").tolist()
    assert first == floats["data"][0]["embedding"]


def test_usage_counts_real_tokens() -> None:
    """`usage` counts the tokens of the model's own tokenizer, [CLS] and [SEP] included."""
    _, body = ask({"model": "local/minilm", "input": ["read a zip archive", "zip"]})
    usage = body["usage"]
    assert usage["prompt_tokens"] == usage["total_tokens"] == 6 + 3
    assert usage["cost"] == pytest.approx(9 * 2e-8)
    assert "prompt_tokens_details" not in usage


def test_usage_breaks_tokens_down_by_modality_if_there_are_several() -> None:
    """`prompt_tokens_details` counts each modality, as the specification says."""
    _, body = ask({"model": "local/hash", "input": INPUTS["mixed"]})
    details = body["usage"]["prompt_tokens_details"]
    assert details == {"image_tokens": 512, "text_tokens": 3}
    assert body["usage"]["prompt_tokens"] == 515


def test_answers_have_the_fields_that_the_service_adds() -> None:
    """Answers have provider, id, is_byok and cost_details, even if the edition lacks them."""
    _, body = ask({"model": "local/hash", "input": "a"})
    assert body["provider"] == "Local"
    assert body["id"].startswith("gen-emb-")
    assert body["usage"]["is_byok"] is False
    cost = body["usage"]["cost"]
    assert body["usage"]["cost_details"] == {
        "upstream_inference_cost": cost,
        "upstream_inference_prompt_cost": cost,
        "upstream_inference_completions_cost": 0,
    }


def test_equal_requests_get_equal_answers() -> None:
    """The answer depends on no clock and no random number."""
    request = json.dumps({"model": "local/minilm", "input": ["a cat", "a dog"]}).encode()
    assert respond(request, AUTH) == respond(request, AUTH)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        ([], "the request: "),
        ({}, '"input" is a required property'),
        ({"input": "a"}, '"model" is a required property'),
        ({"input": 5}, "input: "),
        ({"input": ["a", None]}, "input.1: "),
        ({"input": [[1, "a"]]}, "input.0.1: "),
        ({"input": [{"type": "text", "text": "flat"}]}, "input.0: "),
        ({"input": [{"content": [{"type": "txt", "text": "a"}]}]}, "input.0.content.0.type: "),
        ({"input": "a", "encoding_format": "base32"}, "encoding_format: "),
        ({"input": "a", "encoding_format": None}, "encoding_format: "),
        ({"input": "a", "dimensions": "8"}, "dimensions: "),
        ({"input": "a", "dimensions": 1.5}, "dimensions: "),
        ({"input": "a", "user": 5}, "user: "),
        ({"input": "a", "provider": {"sort": "cheapest"}}, "provider.sort: "),
        ({"input": "a", "provider": {"zdr": "yes"}}, "provider.zdr: "),
        ({"input": "a", "provider": {"order": "OpenAI"}}, "provider.order: "),
        ({"input": "a", "dimensions": 0}, "dimensions: "),
    ],
)
def test_an_invalid_request_gets_a_400_that_names_the_field(request_: Any, field: str) -> None:
    """The message names the field and is at most 300 characters long."""
    if isinstance(request_, dict) and "required" not in field:
        request_ = {"model": "local/hash", **request_}
    status, body = ask(request_)
    assert status == 400
    assert field in body["error"]["message"]
    assert len(body["error"]["message"]) <= 300


def test_whole_numbers_may_be_written_as_floats() -> None:
    """A width of 64.0 is valid, because it is an integer in JSON Schema."""
    status, body = ask({"model": "local/hash", "input": "a", "dimensions": 64.0})
    assert status == 200
    assert len(body["data"][0]["embedding"]) == 64


def test_deep_nesting_is_refused() -> None:
    """An input of 900 nested lists gets a 400 and causes no crash."""
    status, _ = ask(b'{"model": "local/hash", "input": ' + b"[" * 900 + b"]" * 900 + b"}")
    assert status == 400


def test_long_inputs_are_not_echoed() -> None:
    """An error message has at most 300 characters, however long the request is."""
    _, body = ask({"model": "local/hash", "input": [{"x" * 5000: "y" * 5000}]})
    assert len(body["error"]["message"]) <= 300
    _, body = ask({"model": "z" * 5000, "input": "a"})
    assert len(body["error"]["message"]) <= 300


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 429, 500, 502, 503, 524, 529])
def test_a_request_can_ask_for_an_error_status(status: int) -> None:
    """The header and the model name have the same effect, with the documented message."""
    request = {"model": "local/hash", "input": "a"}
    by_header = ask(request, x_local_status=str(status))
    by_model = ask({**request, "model": f"local/status-{status}"})
    assert by_header == by_model
    assert by_header[0] == status == by_header[1]["error"]["code"]
    documented = shipped().operation["responses"].get(str(status))
    if documented:
        assert by_header[1]["error"]["message"] == documented["description"]


@pytest.mark.parametrize("status", [429, 503])
def test_429_and_503_have_a_retry_after(status: int) -> None:
    """These two statuses come with `Retry-After: 1`."""
    body = b'{"model": "local/hash", "input": "a"}'
    assert respond(body, {**AUTH, "x-local-status": str(status)}).headers == {"Retry-After": "1"}


@pytest.mark.parametrize("asked", ["200", "600", "x", "", "٤٠٠", "4" * 5000])
def test_a_request_can_ask_for_error_statuses_only(asked: str) -> None:
    """Anything but a status from 400 to 599 gets a 400 that says so."""
    status, body = ask({"model": f"local/status-{asked}", "input": "a"})
    assert status == 400
    assert "is not 400 to 599" in body["error"]["message"]


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"model": "nope", "input": "a"}, 404, "No endpoints found for nope. Models here: local/"),
        ({"model": "local/minilm", "input": INPUTS["images"]}, 404, "that support image input"),
        ({"model": "local/visual", "input": "a"}, 404, "that support text input"),
        ({"model": "local/minilm", "input": "a", "dimensions": 31}, 400, "32 to 384"),
        ({"model": "local/visual", "input": INPUTS["images"], "dimensions": 9}, 400, "; use 144"),
        ({"model": "local/minilm", "input": [99999]}, 400, "input.0: token 0 is 99999"),
        ({"model": "local/minilm", "input": [[1], [1.5]]}, 400, "input.1: token 0 is 1.5"),
    ],
)
def test_a_request_that_the_model_cannot_serve_is_refused(
    request_: Any, status: int, words: str
) -> None:
    """An unknown name or modality gets a 404 in the service's words, an unsupported value a 400."""
    found, body = ask(request_)
    assert found == status
    assert words in body["error"]["message"]


@pytest.mark.parametrize(
    "url", ["https://example.org/a.png", "data:image/png;base64,AAAA", "data:,x", "x", "data:x"]
)
def test_images_that_cannot_be_read_are_refused(url: str) -> None:
    """URLs other than data: URLs and damaged images get a 400 that names the input."""
    image = {"content": [{"type": "image_url", "image_url": {"url": url}}]}
    status, body = ask({"model": "local/visual", "input": [image]})
    assert status == 400
    assert body["error"]["message"].startswith("input.0: image_url: ")


def test_a_request_without_a_key_is_refused() -> None:
    """Without an Authorization header, the answer is a 401 of the contract's shape."""
    reply = respond(b"{}", {})
    assert reply.status == 401
    validate(shipped(), 401, json.loads(reply.body))


def test_the_models_are_hash_minilm_and_visual() -> None:
    """The stand-in has exactly the three documented models."""
    assert sorted(MODELS) == ["local/hash", "local/minilm", "local/visual"]


@pytest.mark.parametrize("inner", [{}, "", [[]], {"content": [{}]}])
def test_a_request_with_very_many_values_is_refused(inner: Any) -> None:
    """Each value may be an error that takes 10 KB to describe. Numbers do not count."""
    body = dumps({"model": "local/hash", "input": [inner] * 40_000})
    reply = respond(body, {"authorization": "Bearer local"})
    assert reply.status == 400
    assert b"more than 32768 values" in reply.body
    tokens = dumps({"model": "local/hash", "input": [[*range(1, 500)]] * 100})
    assert respond(tokens, {"authorization": "Bearer local"}).status == 200
