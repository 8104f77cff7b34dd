"""What the wrapper does not offer of the contract is said in words, or accepted in gaps.toml."""

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import openrouter_embeddings as ore
import pytest
from openrouter_embeddings.core.accept import accept
from openrouter_embeddings.core.options import merged
from openrouter_embeddings.core.policy import error_class
from openrouter_embeddings.local.contract import contract

from tools.changes import Field, fields_of, json_schema, operations_by_name

ACCEPTED = tomllib.loads(Path(__file__).with_name("gaps.toml").read_text("utf-8"))["gaps"]
SAMPLES = {"provider": {"zdr": True}}
OPERATION = "POST /embeddings"
# Where a field of the response is offered to callers.
OFFERED = {
    "data": "EmbeddingResult.vectors",
    "data[].embedding": "EmbeddingResult.vectors",
    "data[].index": "the order of EmbeddingResult.vectors",
    "id": "EmbeddingResult.ids",
    "model": "EmbeddingResult.model",
    "usage": "EmbeddingResult.usage",
    "usage.cost": "Usage.cost",
    "usage.prompt_tokens": "Usage.prompt_tokens",
    "usage.total_tokens": "Usage.total_tokens",
    "usage.prompt_tokens_details": "Usage.prompt_tokens_details",
    "usage.prompt_tokens_details.text_tokens": "Usage.prompt_tokens_details",
    "usage.prompt_tokens_details.image_tokens": "Usage.prompt_tokens_details",
}


def gaps(document: dict[str, Any]) -> list[str]:
    """What a contract offers and the wrapper does not."""
    operations = operations_by_name(document)
    found = [f"operation {name}" for name in operations if name != OPERATION]
    operation = operations[OPERATION]
    request = fields_of(document, json_schema(operation["requestBody"]))
    top = [path for path in request if path and "." not in path and "[]" not in path]
    found += [f"request field {path}" for path in top if not _sends(path, request[path])]
    parts = request.get("input[].content[].type", Field(required=True)).values
    found += [f"content part {part}" for part in sorted(parts) if not _takes_part(part)]
    responses = operation["responses"]
    for status in responses:
        if not status.startswith("2") and error_class(int(status)) is ore.APIStatusError:
            found.append(f"status {status}")
    if "200" not in responses:
        return [*found, "no response 200"]
    response = fields_of(document, json_schema(responses["200"]))
    named = [path for path in response if path and not path.endswith("[]")]
    return found + [f"response field {path}" for path in named if path not in OFFERED]


def _sends(name: str, field: Field) -> bool:
    """Whether there is an option for a field, and it ends in the body of a request."""
    if name == "input":
        return True
    if name not in ore.EmbedOptions.__annotations__:
        return False
    sample = SAMPLES.get(name, 3 if "integer" in field.kinds else "x")
    value = next(iter(sorted(field.values)), sample)
    try:
        sent = merged({"model": "m"}, cast("ore.EmbedOptions", {name: value})).request_fields()
    except (ore.InputError, TypeError):  # of another type, or known to the annotations alone
        return False
    return bool(sent.get(name) == value)


def _takes_part(kind: str) -> bool:
    """Whether the API's own form of a part is taken as an input."""
    inner = {"text": "x"}.get(kind, {"url": "https://example.org/x"})
    try:
        accept({"content": [{"type": kind, kind: inner}]})
    except ore.InputError:
        return False
    return True


def test_every_gap_is_accepted_with_a_reason() -> None:
    """And nothing is accepted that is no gap any more."""
    found = {*gaps(contract())}
    assert not found - {*ACCEPTED}, "not offered: offer it, or give a reason in gaps.toml"
    assert not {*ACCEPTED} - found, "no gap any more: remove it from gaps.toml"
    assert all(len(reason) > 20 for reason in ACCEPTED.values())


def request_schema(document: dict[str, Any]) -> Any:
    """The schema of the request, to be changed."""
    body = document["paths"]["/embeddings"]["post"]["requestBody"]
    return body["content"]["application/json"]["schema"]


def new_field(document: dict[str, Any]) -> None:
    """A request field that the next edition may bring."""
    request_schema(document)["properties"]["priority"] = {"type": "string"}


def new_operation(document: dict[str, Any]) -> None:
    """A path that the next edition may bring."""
    document["paths"]["/embeddings/models"] = {"get": {"responses": {}}}


def new_status(document: dict[str, Any]) -> None:
    """A status without an exception of its own."""
    document["paths"]["/embeddings"]["post"]["responses"]["409"] = {"description": "Conflict"}


def new_response_field(document: dict[str, Any]) -> None:
    """Something that the service says of every vector."""
    schemas = document["components"]["schemas"]
    (item,) = [s for name, s in schemas.items() if name.endswith("SchemaDataItems")]
    item["properties"]["truncated"] = {"type": "boolean"}


def new_part(document: dict[str, Any]) -> None:
    """Audio, say."""
    schemas = document["components"]["schemas"]
    (parts,) = [s for name, s in schemas.items() if name.endswith("ContentItems")]
    kind = {"type": "string", "enum": ["input_smell"]}
    parts["anyOf"].append({"type": "object", "properties": {"type": kind}})


@pytest.mark.parametrize(
    ("edit", "gap"),
    [
        (new_field, "request field priority"),
        (new_operation, "operation GET /embeddings/models"),
        (new_status, "status 409"),
        (new_response_field, "response field data[].truncated"),
        (new_part, "content part input_smell"),
    ],
)
def test_what_a_new_edition_brings_is_said(
    edit: Callable[[dict[str, Any]], None], gap: str
) -> None:
    """In words, one for each gap."""
    document = copy.deepcopy(contract())
    edit(document)
    assert {*gaps(document)} - {*gaps(contract())} == {gap}
