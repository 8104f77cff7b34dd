"""The repaired contract, read as data, and whether a request keeps it."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from openrouter_embeddings._extras import need

from .reply import Refusal

_REQUEST = ("requestBody", "content", "application/json", "schema")
_LONGEST = 300
_MOST_VALUES = 1 << 15  # 2048 inputs of a text and an image have 20,000


@cache
def contract() -> dict[str, Any]:
    """The OpenAPI document that ships with the generated client."""
    text = files("openrouter_embeddings_api").joinpath("contract.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@cache
def operation() -> dict[str, Any]:
    """`POST /embeddings`."""
    found: dict[str, Any] = contract()["paths"]["/embeddings"]["post"]
    return found


@cache
def _validator() -> Any:
    schema: Any = operation()
    for key in _REQUEST:
        schema = schema[key]
    whole = {**schema, "components": contract()["components"]}
    return need("jsonschema_rs", "local").Draft202012Validator(whole, mask="the value")


def check_request(request: Any) -> None:
    """Raise a 400 that names the field where the contract is not kept."""
    if _values(request) > _MOST_VALUES:  # each of them may be an error, which takes 10 KB
        raise Refusal(400, f"the request: more than {_MOST_VALUES} values that are no numbers")
    try:
        error = next(_validator().iter_errors(request), None)
    except (ValueError, RecursionError):
        raise Refusal(400, "the request: nested too deeply") from None
    if error is not None:
        raise Refusal(400, _explain(error)[:_LONGEST])


def _values(request: Any) -> int:
    """How many texts, objects and so on it holds, as far as they are counted."""
    count, waiting = 0, [request]
    while waiting and count <= _MOST_VALUES:
        value = waiting.pop()
        if isinstance(value, dict):
            value = [*value.values()]
        inner = value if isinstance(value, list) else ()
        found = [one for one in inner if type(one) not in (int, float)]
        count += 1
        waiting += found
    return count


def _explain(error: Any) -> str:
    """`provider.sort: …`: the innermost place, where all alternatives agree on one."""
    place = ".".join(map(str, error.instance_path)) or "the request"
    alternatives = getattr(error.kind, "context", None)
    if not alternatives:
        return f"{place}: {error.message}"
    deepest = [max(errors, key=lambda e: len(e.instance_path)) for errors in alternatives if errors]
    deeper = max(deepest, key=lambda e: len(e.instance_path))
    if len(deeper.instance_path) > len(error.instance_path):
        return _explain(deeper)
    reasons = " or ".join(dict.fromkeys(_explain(e).partition(": ")[2] for e in deepest))
    return f"{place}: {reasons}"
