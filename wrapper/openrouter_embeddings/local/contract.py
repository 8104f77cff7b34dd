"""The contract that the stand-in follows: `POST /embeddings` of an OpenAPI document, as data."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from . import validation
from .schemas import Schemas


class Contract:
    """The operation `POST /embeddings` of an OpenAPI document.

    Uses no component names, because they change from one edition to the next. Raises ValueError
    for a document without the operation, or with a reference that leads nowhere.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        try:
            # by way of JSON, because YAML reads a status without quotes as a number
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
        """Raise `Refusal` (400, naming a field) for a request that breaks the contract."""
        schema = _json_schema(self._schemas.resolve(self.operation.get("requestBody", {})))
        validation.check_request(request, self._schemas.validator(schema))

    def response(self, status: int) -> dict[str, Any]:
        """The response documented for a status: as itself, as `5XX` or as `default`; else empty.

        For a success, any documented success will do, but never `default`, which describes errors.
        """
        names = [str(status), f"{status // 100}XX", f"{status // 100}xx"]
        if status < 300:
            names += sorted(name for name in self._responses if name.startswith("2"))
        else:
            names += ["default"]
        documented: Any = next((self._responses[n] for n in names if n in self._responses), {})
        response: dict[str, Any] = self._schemas.resolve(documented)
        return response

    def complete(self, status: int, body: dict[str, Any]) -> dict[str, Any]:
        """A response body with the fields that the contract requires, as far as `Schemas` can.

        An error without documentation is completed like a 400.
        """
        described = self.response(status)
        if not described and status >= 300:
            described = self.response(400)
        completed: dict[str, Any] = self._schemas.complete(body, _json_schema(described))
        return completed


def _json_schema(message: dict[str, Any]) -> Any:
    """The schema of a request's or response's JSON; True, which allows everything, if none."""
    content = message.get("content", {})
    kinds = ("application/json", *(kind for kind in content if "json" in kind))
    return next((content[kind].get("schema", True) for kind in kinds if kind in content), True)


@cache
def shipped() -> Contract:
    """The contract that ships with the generated client."""
    text = files("openrouter_embeddings_api").joinpath("contract.json").read_text("utf-8")
    return Contract(json.loads(text))
