"""A made-up edition of the contract with everything that the service supports today.

It edits the shipped contract by place, because component names differ between editions. It keeps
what the contract already has.
"""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
from openrouter_embeddings.local.contract import Contract, shipped

MEDIA = ("input_audio", "input_video", "input_file")
STATUSES = {
    "408": "Request Timeout - Operation exceeded time limit",
    "413": "Payload Too Large - Request payload exceeds size limits",
    "524": "Infrastructure Timeout - Provider request timed out at edge network",
    "529": "Provider Overloaded - Provider is temporarily overloaded",
}


class ContractEditor:
    """Finds the schemas of a contract that are to be edited."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.operation: dict[str, Any] = document["paths"]["/embeddings"]["post"]
        self.request = self.json_of(self.operation["requestBody"])

    def resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """Follow references; return the target itself, not a copy."""
        while "$ref" in node:
            found: Any = self.document
            for step in node["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            node = found
        return node

    def json_of(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON schema of a request or response; an empty one if it has none."""
        content = self.resolved(message).get("content", {})
        return self.resolved(content.get("application/json", {}).get("schema", {}))

    def response(self, status: str) -> dict[str, Any]:
        """Return the schema of a response."""
        return self.json_of(self.operation["responses"][status])

    def below(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a schema, its alternatives and those of its items."""
        schema = self.resolved(schema)
        yield schema
        for key in ("anyOf", "oneOf", "allOf"):
            for alternative in schema.get(key, ()):
                yield from self.below(alternative)
        if isinstance(schema.get("items"), dict):
            yield from self.below(schema["items"])

    def property_of(self, schema: dict[str, Any], name: str) -> dict[str, Any]:
        """Return the schema of a property of any alternative."""
        holders = (one["properties"] for one in self.below(schema) if "properties" in one)
        return self.resolved(next(holder[name] for holder in holders if name in holder))

    def object_of(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the alternative that is an object with properties."""
        return next(one for one in self.below(schema) if "properties" in one)


def newest_document() -> dict[str, Any]:
    """Make a new copy, which callers may edit further."""
    editor = ContractEditor(copy.deepcopy(shipped().document))
    _edit_request(editor)
    _edit_success(editor)
    _edit_errors(editor)
    return editor.document


def _edit_request(editor: ContractEditor) -> None:
    inputs = editor.property_of(editor.request, "input")
    texts = [*editor.below(inputs)]
    content = editor.property_of(inputs, "content")
    content["minItems"] = 1
    parts = editor.resolved(content["items"])
    alternatives = parts.get("oneOf") or parts["anyOf"]
    known = {
        value for one in alternatives for value in editor.property_of(one, "type").get("enum", ())
    }
    text = {"type": "string"}
    media = {"type": "object", "properties": {"data": text, "format": text}, "required": ["data"]}
    for kind in MEDIA:
        if kind not in known:
            tag = {"type": "string", "enum": [kind]}
            properties = {"type": tag, kind: media}
            alternatives.append(
                {"type": "object", "properties": properties, "required": ["type", kind]}
            )
    texts += [editor.property_of(one, "text") for one in alternatives if _has(editor, one, "text")]
    for one in texts:
        if one.get("type") == "string":
            one["minLength"] = 1
    editor.property_of(editor.request, "dimensions")["minimum"] = 1
    provider = editor.object_of(editor.property_of(editor.request, "provider"))
    provider["additionalProperties"] = False
    prices = editor.object_of(provider["properties"]["max_price"])["properties"]
    prices.update({name: {"type": "string"} for name in prices})


def _has(editor: ContractEditor, schema: dict[str, Any], name: str) -> bool:
    return name in editor.object_of(schema)["properties"]


def _edit_success(editor: ContractEditor) -> None:
    usage = editor.object_of(editor.property_of(editor.response("200"), "usage"))["properties"]
    usage.setdefault("is_byok", {"type": "boolean"})
    prompt, completions = (f"upstream_inference_{kind}_cost" for kind in ("prompt", "completions"))
    details = {
        "type": ["object", "null"],
        "properties": {
            "upstream_inference_cost": {"type": ["number", "null"]},
            prompt: {"type": "number"},
            completions: {"type": "number"},
        },
        "required": [prompt, completions],
    }
    usage.setdefault("cost_details", details)
    tokens = editor.object_of(usage["prompt_tokens_details"])["properties"]
    tokens.setdefault("file_tokens", {"type": "integer"})


def _edit_errors(editor: ContractEditor) -> None:
    responses = editor.operation["responses"]
    for status, description in STATUSES.items():
        if status not in responses:
            responses[status] = {**copy.deepcopy(responses["400"]), "description": description}
    for status in responses:
        answer = next((a for a in editor.below(editor.response(status)) if "properties" in a), None)
        if answer is not None and not status.startswith("2"):
            metadata = {"type": ["object", "null"], "additionalProperties": {}}
            answer["properties"].setdefault("openrouter_metadata", metadata)


@cache
def newest() -> Contract:
    """Return the contract, for the third argument of `respond` or for `Faults`."""
    return Contract(newest_document())


def validate(contract: Contract, status: int, body: Any) -> None:
    """Raise unless the contract allows the body; an undocumented status is validated as a 400."""
    responses = contract.operation["responses"]
    names = (str(status), f"{status // 100}XX", "default", "400")
    described = next(responses[name] for name in names if name in responses)
    schema = described["content"]["application/json"]["schema"]
    whole = {**schema, "components": contract.document["components"]}
    jsonschema_rs.Draft202012Validator(whole).validate(body)
