"""A made-up edition of the contract with everything that the service supports today.

It edits the shipped contract by place, because component names differ between editions. It keeps
what the contract already has.
"""

from functools import cache
from typing import Any

import jsonschema_rs
from openrouter_embeddings.local.contract import Contract, shipped

from tests.tools import edits as e
from tests.tools.published_document import DocumentEditor, NotApplicable, Schema

MEDIA = ("input_audio", "input_video", "input_file")
PARTS = "request.input[].content[]"
STATUSES = {
    "408": "Request Timeout - Operation exceeded time limit",
    "413": "Payload Too Large - Request payload exceeds size limits",
    "524": "Infrastructure Timeout - Provider request timed out at edge network",
    "529": "Provider Overloaded - Provider is temporarily overloaded",
}
STRING = {"type": "string"}


@cache
def newest() -> Contract:
    """Return the contract, for the third argument of `respond` or for `Faults`."""
    editor = DocumentEditor(shipped().document)
    _edit_request(editor)
    _edit_success(editor)
    _edit_errors(editor)
    return Contract(editor.document)


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*required]}


def _edit_request(editor: DocumentEditor) -> None:
    media = _object("data", data=STRING, format=STRING)
    for kind in MEDIA:
        try:
            editor.at(f"{PARTS}.{kind}")
        except NotApplicable:
            tag = {"type": "string", "enum": [kind]}
            part = _object("type", kind, type=tag, **{kind: media})
            e.add_alternative(PARTS, part)(editor)
    for text in ("request.input:string", "request.input[]:string", f"{PARTS}.text"):
        e.set_keys(text, minLength=1)(editor)
    e.set_keys("request.input[].content:array", minItems=1)(editor)
    e.set_keys("request.dimensions", minimum=1)(editor)
    e.set_keys("request.provider:object", additionalProperties=False)(editor)
    for name in editor.object_at("request.provider.max_price")["properties"]:
        e.replace_schema(f"request.provider.max_price.{name}", STRING)(editor)


def _edit_success(editor: DocumentEditor) -> None:
    prompt, completions = (f"upstream_inference_{kind}_cost" for kind in ("prompt", "completions"))
    amount = {"type": "number"}
    costs = {"upstream_inference_cost": {"type": ["number", "null"]}}
    details = _object(prompt, completions, **costs, **{prompt: amount, completions: amount})
    e.where_applicable(
        e.add_field("response.usage", "is_byok", {"type": "boolean"}),
        e.add_field("response.usage", "cost_details", {**details, "type": ["object", "null"]}),
        e.add_field("response.usage.prompt_tokens_details", "file_tokens", {"type": "integer"}),
    )(editor)


def _edit_errors(editor: DocumentEditor) -> None:
    responses = editor.operation["responses"]
    described = {s: {**responses["400"], "description": text} for s, text in STATUSES.items()}
    e.where_applicable(*(e.status(*one) for one in described.items()))(editor)
    metadata = {"type": ["object", "null"], "additionalProperties": {}}
    failed = (f"error {status}" for status in responses if not status.startswith("2"))
    e.where_applicable(*(e.add_field(f, "openrouter_metadata", metadata) for f in failed))(editor)


def validate(contract: Contract, status: int, body: Any) -> None:
    """Raise unless the contract allows the body; an undocumented status is validated as a 400."""
    responses = contract.operation["responses"]
    names = (str(status), f"{status // 100}XX", "default", "400")
    described = next(responses[name] for name in names if name in responses)
    schema = described["content"]["application/json"]["schema"]
    whole = {**schema, "components": contract.document["components"]}
    jsonschema_rs.Draft202012Validator(whole).validate(body)
