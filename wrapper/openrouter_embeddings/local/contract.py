"""The repaired contract, read as data: whether a request keeps it, and what an answer needs."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from .reply import Refusal
from .schemas import Schemas

_LONGEST = 300
_MOST_VALUES = 1 << 15  # 2048 inputs of a text and an image have 20,000


class Contract:
    """What the stand-in follows: the operation `POST /embeddings` of an OpenAPI document.

    Component names mean nothing to it: they change from one edition to the next. Raises ValueError
    for a document without that operation, or with a reference in it that leads nowhere.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        try:
            # as JSON has it: YAML reads a status without quotes as a number
            document = json.loads(json.dumps(document, default=str))
            schemas = Schemas(document)
            path = schemas.resolve(document["paths"]["/embeddings"])
            operation: dict[str, Any] = schemas.resolve(path["post"])
            self._responses = {**operation["responses"]}
        except (AttributeError, LookupError, TypeError):
            raise ValueError(
                "the contract has no POST /embeddings with responses; give an OpenAPI document "
                "that has paths → /embeddings → post → responses"
            ) from None
        schemas.check(operation)
        self.document = document
        self.operation = operation
        self._schemas = schemas

    def check_request(self, request: Any) -> None:
        """Raise a 400 that names the field where the contract is not kept."""
        if _values(request) > _MOST_VALUES:  # each of them may be an error, which takes 10 KB
            raise Refusal(400, f"the request: more than {_MOST_VALUES} values that are no numbers")
        schema = _json_schema(self._schemas.resolve(self.operation.get("requestBody", {})))
        try:
            error = next(self._schemas.validator(schema).iter_errors(request), None)
        except (ValueError, RecursionError):
            raise Refusal(400, "the request: nested too deeply") from None
        if error is not None:
            raise Refusal(400, _explain(error)[:_LONGEST])

    def response(self, status: int) -> dict[str, Any]:
        """What is documented for a status: by itself, as `5XX` or as `default`; else empty.

        Of a success another documented success counts, and never `default`, which is of errors.
        """
        names = [str(status), f"{status // 100}XX", f"{status // 100}xx"]
        if status < 300:
            names += sorted(name for name in self._responses if name.startswith("2"))
        else:
            names += ["default"]
        documented = next((n for n in names if n in self._responses), None)
        found: dict[str, Any] = (
            {} if documented is None else self._schemas.resolve(self._responses[documented])
        )
        return found

    def complete(self, status: int, body: dict[str, Any]) -> dict[str, Any]:
        """An answer with what the contract requires of it besides, as far as `Schemas` can.

        An error that is not documented is completed as a 400 is.
        """
        described = self.response(status)
        if not described and status >= 300:
            described = self.response(400)
        completed: dict[str, Any] = self._schemas.complete(body, _json_schema(described))
        return completed


def _json_schema(message: dict[str, Any]) -> Any:
    """Of a request's or response's JSON; one that allows everything where there is none."""
    content = message.get("content", {})
    kinds = ("application/json", *(kind for kind in content if "json" in kind))
    return next((content[kind].get("schema", True) for kind in kinds if kind in content), True)


@cache
def shipped() -> Contract:
    """The contract that ships with the generated client."""
    text = files("openrouter_embeddings_api").joinpath("contract.json").read_text("utf-8")
    return Contract(json.loads(text))


def contract() -> dict[str, Any]:
    """The OpenAPI document of the contract that ships with the generated client."""
    return shipped().document


def operation() -> dict[str, Any]:
    """Its `POST /embeddings`."""
    return shipped().operation


def check_request(request: Any) -> None:
    """Raise a 400 that names the field where that contract is not kept."""
    shipped().check_request(request)


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
        deepest = [e for e in deepest if e.instance_path == deeper.instance_path]
        if len(deepest) == 1:
            return _explain(deeper)
        place = ".".join(map(str, deeper.instance_path))
    reasons = " or ".join(dict.fromkeys(_explain(e).partition(": ")[2] for e in deepest))
    return f"{place}: {reasons}"
