"""The stand-in follows the contract of any edition, in what it accepts and what it answers."""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from openrouter_embeddings.local.contract import Contract, shipped
from openrouter_embeddings.local.faults import Fault, Faults
from openrouter_embeddings.local.respond import respond
from openrouter_embeddings.testing import Service

from tests.newest import MEDIA, PARTS, newest, validate
from tests.tools.edits import keep_alternatives
from tests.tools.published_document import DocumentEditor, edited
from tests.tools.random_edits import schemas_below
from tools import editions

AUTH = {"authorization": "Bearer anything"}
EDITIONS = Path(__file__).parents[3] / "shared" / "data" / "editions"
PUBLISHED = EDITIONS / "2026-08-21.md"


def published() -> Contract:
    """A real edition, if the file exists."""
    return Contract(editions.parse_edition(PUBLISHED.read_bytes()).contract)


@cache
def with_ranges() -> Contract:
    """A contract that documents 5XX and `default` instead of single error statuses."""
    document = copy.deepcopy(newest().document)
    responses = document["paths"]["/embeddings"]["post"]["responses"]
    client, server = responses["400"], responses["500"]
    for status in [status for status in responses if status != "200"]:
        del responses[status]
    responses.update({"5XX": server, "default": client})
    return Contract(document)


@cache
def demanding() -> Contract:
    """A contract that requires every field of its answers and allows no others."""
    document = copy.deepcopy(newest().document)
    seen: set[int] = set()
    for answer in document["paths"]["/embeddings"]["post"]["responses"].values():
        whole = (answer["content"]["application/json"], "schema")
        for holder, key in schemas_below(document, whole, seen):
            if "properties" in (schema := holder[key]):
                schema["required"] = sorted(schema["properties"])
                schema["additionalProperties"] = False
    return Contract(document)


@cache
def with_more() -> Contract:
    """A contract that requires unknown fields of every type."""
    editor = DocumentEditor(newest().document)
    new = {
        "count": {"type": "integer", "minimum": 1},
        "level": {"enum": ["low", "high"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "trace": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        "note": {"type": ["string", "null"]},
        "share": {"type": "number"},
        "final": {"type": "boolean"},
    }
    for status in editor.operation["responses"]:
        answer = editor.object_at(f"response {status}")
        answer["properties"] = {**answer["properties"], **new}
        answer["required"] = [*answer["required"], *new]
    return Contract(editor.document)


CONTRACTS: dict[str, Callable[[], Contract]] = {
    "shipped": shipped,
    "newest": newest,
    "with ranges": with_ranges,
    "demanding": demanding,
    "with more": with_more,
}
if PUBLISHED.exists():
    CONTRACTS["published"] = published
each_contract = pytest.mark.parametrize("name", CONTRACTS)
REQUESTS: dict[str, Any] = {
    "texts": ["a cat", "a dog"],
    "tokens": [[101], [7, 8]],
    "mixed": [
        {
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ]
        }
    ],
}
STATUSES = [400, 401, 402, 403, 404, 408, 413, 418, 429, 500, 502, 503, 504, 524, 529, 599]


@each_contract
@pytest.mark.parametrize("inputs", REQUESTS)
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_success_has_what_the_contract_requires(name: str, inputs: str, encoding: str) -> None:
    """The answer is valid, and has a vector for each input."""
    contract = CONTRACTS[name]()
    request = {"model": "local/hash", "input": REQUESTS[inputs], "encoding_format": encoding}
    reply = respond(json.dumps(request).encode(), AUTH, contract)
    body = json.loads(reply.body)
    assert reply.status == 200, body
    validate(contract, 200, body)
    assert len(body["data"]) == len(REQUESTS[inputs])
    assert all(item["embedding"] for item in body["data"])


@each_contract
@pytest.mark.parametrize("status", STATUSES)
def test_an_error_has_what_the_contract_requires(name: str, status: int) -> None:
    """Requested errors and errors by faults are valid, and have the right code and a message."""
    contract = CONTRACTS[name]()
    request = json.dumps({"model": f"local/status-{status}", "input": "a"}).encode()
    faults = Faults([Fault("status", status=status)], contract=contract)
    for reply in (respond(request, AUTH, contract), faults.play(request, AUTH, 0.0).reply):
        assert reply.status == status
        body = json.loads(reply.body)
        validate(contract, status, body)
        assert body["error"]["code"] == status
        assert body["error"]["message"]


@each_contract
def test_a_refusal_has_what_the_contract_requires(name: str) -> None:
    """The refusal of a missing key, an unknown model or an invalid request is valid."""
    contract = CONTRACTS[name]()
    unknown = b'{"model": "nobody", "input": "a"}'
    refused = {(401, b"{}", 0), (404, unknown, 1), (400, b"{", 1), (400, b"{}", 1)}
    for status, raw, key in refused:
        reply = respond(raw, AUTH if key else {}, contract)
        assert reply.status == status
        validate(contract, status, json.loads(reply.body))


def test_unknown_fields_get_the_plainest_values() -> None:
    """They get the first value of an enum, null if it is allowed, or the least number."""
    request = b'{"model": "local/hash", "input": "a"}'
    body = json.loads(respond(request, AUTH, with_more()).body)
    assert {name: body[name] for name in ("count", "level", "tags", "trace", "note")} == {
        "count": 1,
        "level": "low",
        "tags": [],
        "trace": {"id": ""},
        "note": None,
    }
    assert (body["share"], body["final"]) == (0, False)


def test_an_error_gets_the_description_of_its_range() -> None:
    """The message of a 520 is the description of 5XX."""
    contract = with_ranges()
    reply = respond(b'{"model": "local/status-520", "input": "a"}', AUTH, contract)
    described = contract.operation["responses"]["5XX"]["description"]
    assert json.loads(reply.body)["error"]["message"] == described


@pytest.mark.parametrize("part", MEDIA)
def test_an_edition_accepts_the_parts_that_it_has(part: str) -> None:
    """Any other edition refuses the part, and names the parts that it accepts."""
    request = {
        "model": "local/hash",
        "input": [{"content": [{"type": part, part: {"data": "https://example.org/x"}}]}],
    }
    raw = json.dumps(request).encode()
    assert respond(raw, AUTH, newest()).status == 200
    without = edited(newest().document, keep_alternatives(PARTS, 2))
    refused = respond(raw, AUTH, Contract(without))
    assert refused.status == 400
    message = json.loads(refused.body)["error"]["message"]
    assert message == (
        'input.0.content.0.type: the value is not one of "text" or the value is not one of '
        '"image_url"'
    )


@pytest.mark.parametrize("model", ["local/minilm", "local/visual"])
@pytest.mark.parametrize("part", MEDIA)
def test_a_model_refuses_a_modality_that_it_does_not_support(model: str, part: str) -> None:
    """The answer is a 404 in the service's words."""
    content = [{"type": part, part: {"data": "https://example.org/x"}}]
    raw = json.dumps({"model": model, "input": [{"content": content}]}).encode()
    reply = respond(raw, AUTH, newest())
    assert reply.status == 404
    kind = part.removeprefix("input_")
    message = json.loads(reply.body)["error"]["message"]
    assert message == f"No endpoints found that support {kind} input"


def test_local_hash_tells_every_modality_apart() -> None:
    """It counts tokens by modality, and equal data of another modality gets another vector."""
    content = [{"type": part, part: {"data": "x"}} for part in MEDIA]
    inputs = [{"content": content}, *({"content": [part]} for part in content)]
    raw = json.dumps({"model": "local/hash", "input": inputs}).encode()
    body = json.loads(respond(raw, AUTH, newest()).body)
    assert body["usage"]["prompt_tokens_details"] == {
        "audio_tokens": 512,
        "file_tokens": 512,
        "video_tokens": 512,
    }
    assert len({tuple(item["embedding"]) for item in body["data"]}) == 4


SUCCESS = {"type": "object", "properties": {"new": {"type": "string"}}, "required": ["new"]}
FAILURE = {
    "type": "object",
    "properties": {"error": {"type": "object"}, "failure": {"type": "boolean"}},
    "required": ["error", "failure"],
}


def described(schema: Any) -> dict[str, Any]:
    """A request or response with a JSON body."""
    return {"description": "", "content": {"application/json": {"schema": schema}}}


def small(responses: dict[Any, Any], request: Any = True) -> dict[str, Any]:
    """A document with these responses, by status."""
    operation = {
        "requestBody": described(request),
        "responses": {status: described(schema) for status, schema in responses.items()},
    }
    return {"paths": {"/embeddings": {"post": operation}}}


@pytest.mark.parametrize(
    ("responses", "has"),
    [
        ({200: SUCCESS, 400: FAILURE}, True),
        ({"201": SUCCESS, "400": FAILURE}, True),
        ({201: SUCCESS, "default": FAILURE}, True),
        ({"2XX": SUCCESS, "default": FAILURE}, True),
        ({"400": FAILURE}, False),
        ({"default": FAILURE}, False),
    ],
)
def test_a_success_is_never_completed_as_an_error(responses: dict[Any, Any], has: bool) -> None:
    """It never gets the fields of an error, however the contract writes the statuses."""
    client = Service(contract=small(responses)).client()
    body = client.embed("a").served[0].body
    assert ("new" in body, "failure" in body) == (has, False)


def test_a_contract_without_usage_bills_nothing() -> None:
    """The client reports no cost, and the record shows a cost of 0."""
    closed = {
        "type": "object",
        "properties": {"data": True, "object": True, "model": True},
        "additionalProperties": False,
    }
    service = Service(contract=small({"200": closed}))
    assert service.client().embed("a").usage.cost is None
    assert [bill.cost for bill in service.faults.billed] == [0.0]


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        {"paths": {}},
        {"paths": {"/embeddings": {"get": {}}}},
        {"paths": {"/embeddings": {"post": {}}}},
        {"paths": {"/embeddings": {"post": {"responses": []}}}},
    ],
)
def test_a_document_without_the_operation_is_refused(document: Any) -> None:
    """The error says what the document must have."""
    with pytest.raises(ValueError, match="the contract has no POST /embeddings with responses"):
        Contract(document)


def test_a_broken_reference_is_refused() -> None:
    """`Service` raises an error that names the reference."""
    with pytest.raises(ValueError, match="refers to '#/components/x', which is not in"):
        Service(contract=small({"200": {"$ref": "#/components/x"}}))


@pytest.mark.parametrize(
    "request_",
    [
        {},
        [],
        {"input": "a"},
        {"model": 5, "input": "a"},
        {"model": "local/hash"},
        {"model": "local/hash", "input": None},
        {"model": "local/hash", "input": {"a": 1}},
        {"model": "local/hash", "input": [[1, "a"]]},
        {"model": "local/hash", "input": [True]},
        {"model": "local/hash", "input": [{"content": 5}]},
        {"model": "local/hash", "input": [{"content": [5]}]},
        {"model": "local/hash", "input": [{"content": [{"type": "text", "text": 5}]}]},
        {"model": "local/hash", "input": [{"content": [{"type": "image_url", "image_url": "x"}]}]},
        {"model": "local/hash", "input": [{"content": [{"no": "type"}]}]},
        {"model": "local/hash", "input": "a", "dimensions": "7"},
        {"model": "local/hash", "input": "a", "dimensions": [7]},
        {"model": "local/hash", "input": "a", "dimensions": {}},
    ],
)
def test_an_unreadable_request_is_refused_though_the_contract_allows_it(request_: Any) -> None:
    """A contract without a schema for requests still leads to a 400, and to no crash."""
    loose = Contract(small({"200": True}))
    reply = respond(json.dumps(request_).encode(), AUTH, loose)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["message"]
