"""Compares the responses, operations and addresses of the contract with the wrapper."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import openrouter_embeddings as ore

from tools.diff.operations import NO_KEY, addresses, json_schema, keys, operations_by_name
from tools.drift.finding import WRAPPER, Finding
from tools.drift.recording_client import RecordingClient
from tools.openapi import Json, dereference
from tools.schema.model import SchemaReader
from tools.schema.samples import Place, Sampler

_CLIENT = f"{WRAPPER}/client/_sync.py"
_DECODE = f"{WRAPPER}/core/decode.py"
_ERRORS = f"{WRAPPER}/errors.py"
_RESULT = f"{WRAPPER}/result.py"
_OPTIONS = f"{WRAPPER}/core/options.py"
_ADDRESS = f"{WRAPPER}/transport/_url.py"
_KEY = f"{WRAPPER}/transport/_connections.py"
# Where callers find a field of a response; `.*` matches every field below.
OFFERED = {
    "data": "EmbeddingResult.vectors",
    "data[].embedding": "EmbeddingResult.vectors",
    "data[].index": "EmbeddingResult.vectors",
    "id": "EmbeddingResult.ids",
    "model": "EmbeddingResult.model",
    "provider": "EmbeddingResult.providers",
    "usage": "EmbeddingResult.usage",
    "usage.cost": "Usage.cost",
    "usage.cost_details": "Usage.cost_details",
    "usage.cost_details.*": "Usage.cost_details",
    "usage.is_byok": "Usage.is_byok",
    "usage.prompt_tokens": "Usage.prompt_tokens",
    "usage.prompt_tokens_details": "Usage.prompt_tokens_details",
    "usage.total_tokens": "Usage.total_tokens",
}
# Where callers find a field of an error body: the attribute of the exception.
_OFFERED_BY_ERRORS = {"error": "message", "error.code": "code", "error.message": "message"}


class ServiceDrift:
    """Checks the operations, parameters, address and key."""

    def __init__(self, document: dict[str, Json], name: str, wrapper: RecordingClient) -> None:
        self._document = document
        self._operations = operations_by_name(document)
        self._name = name
        self._wrapper = wrapper

    def findings(self) -> Iterator[Finding]:
        """Yield the findings."""
        for name in self._operations:
            if name != self._name:
                words = "the client has no method for it"
                yield Finding(
                    f"operation {name}", "operations", name, words, _CLIENT, is_offered=False
                )
        operation = self._operations[self._name]
        request = self._wrapper.request()
        for parameter in operation["parameters"]:
            yield self._parameter(dereference(self._document, parameter), request.headers)
        here = str(request.url).removesuffix(self._name.partition(" ")[2])
        there = addresses(operation)
        if there:  # old pages do not document it
            key, words = f"address {' or '.join(there)}", f"the wrapper uses {here}"
            yield Finding(key, "service", "address", words, _ADDRESS, here in there)
        ways = keys(self._document, operation)
        if ways:
            is_bearer = request.headers.get("authorization", "").startswith("Bearer ")
            is_right = is_bearer and bool({"http bearer", NO_KEY} & {*ways})
            key, words = f"key {' or '.join(ways)}", "the wrapper sends the key as http bearer"
            yield Finding(key, "service", "key", words, _KEY, is_right)

    def _parameter(self, parameter: Json, sent: Mapping[str, str]) -> Finding:
        name = f"{parameter.get('in')} {parameter.get('name')}"
        is_sent = parameter.get("in") == "header" and parameter.get("name", "").lower() in sent
        words = "the wrapper sends it" if is_sent else "the wrapper does not send it"
        return Finding(f"request parameter {name}", "request", name, words, _OPTIONS, is_sent)


class ResponseDrift:
    """Checks how the wrapper handles responses."""

    def __init__(
        self, document: dict[str, Json], operation: Json, wrapper: RecordingClient
    ) -> None:
        self._schemas = {
            str(status): json_schema(document, response)
            for status, response in operation.get("responses", {}).items()
        }
        self._sampler = Sampler(SchemaReader(document))
        self._wrapper = wrapper

    def findings(self) -> Iterator[Finding]:
        """Yield the findings about statuses, and about the fields of successes and errors."""
        successes = [status for status in self._schemas if status.startswith("2")]
        if not {"200", "2XX"} & {*successes}:
            words = "the contract no longer has one"
            yield Finding(
                "no response 200", "response", "status 200", words, _DECODE, is_offered=False
            )
        for status in successes:
            yield from self._success(status)
        for status in [status for status in self._schemas if status not in successes]:
            yield self._status(status)
            whole = self._sampler.whole(self._schemas[status])
            for place in self._fields(whole, _OFFERED_BY_ERRORS.get, frozenset()):
                yield self._error_field(place.path)

    def _success(self, status: str) -> Iterator[Finding]:
        number = int(status) if status.isdecimal() else 200
        whole = self._sampler.whole(self._schemas[status])
        least = self._sampler.smallest(whole.allowed)
        refusal = self._wrapper.error_for(number, least)
        yield Finding(
            f"response {status}",
            "response",
            f"status {status}",
            "the smallest response is accepted"
            if refusal is None
            else f"the smallest response is rejected: {refusal}",
            _DECODE,
            refusal is None,
        )
        for place in self._fields(whole, _offered_as, frozenset()):
            yield self._field(place.path)
            variants = place.allowed.variants.values()
            tried = [
                (variant.words, self._sampler.value(variant, place.name)) for variant in variants
            ]
            tried += [("null", None)] if place.allowed.null and not place.allowed.anything else []
            for words, value in tried:
                if refusal is None:
                    error = self._wrapper.error_for(number, place.message_with(value))
                    yield self._variant(place.path, words, error)

    def _fields(
        self, place: Place, known: Callable[[str], str | None], above: frozenset[int]
    ) -> Iterator[Place]:
        """Yield the fields of a message, parents first; do not descend into unknown fields."""
        if place.allowed.source <= above:
            return
        below = above | place.allowed.source
        for variant in place.allowed.variants.values():
            if variant.items is not None:
                yield from self._fields(self._sampler.items(place, variant), known, below)
            if variant.kind == "object":
                for one in self._sampler.alternatives(variant):
                    for field in self._sampler.fields(place, one):
                        yield field
                        if known(field.path):
                            yield from self._fields(field, known, below)

    def _field(self, path: str) -> Finding:
        named = _offered_as(path)
        words = f"it is {named}" if named else "it is only in served[…].body"
        return Finding(f"response field {path}", "response", path, words, _RESULT, bool(named))

    def _variant(self, path: str, words: str, error: ore.EmbeddingsError | None) -> Finding:
        result = "is accepted" if error is None else f"is rejected: {error}"
        key = f"response null {path}" if words == "null" else f"response type {path} {words}"
        sentence = f"a response with {words} there {result}"
        return Finding(key, "response", path, sentence, _DECODE, error is None, (words,))

    def _error_field(self, path: str) -> Finding:
        named = _OFFERED_BY_ERRORS.get(path, "")
        words = f"it is error.{named}" if named else "it is only in error.body"
        return Finding(f"error field {path}", "errors", path, words, _ERRORS, bool(named))

    def _status(self, status: str) -> Finding:
        """Check that a status has its own exception; ranges such as 5XX share one."""
        digits = status.upper().replace("X", "0")
        number = int(digits) if digits.isdecimal() else 500
        body = {"error": {"code": number, "message": "x", "metadata": None}}
        error = self._wrapper.error_for(number, body)
        name = type(error).__name__
        is_own = isinstance(error, ore.APIStatusError)
        if status.isdecimal():
            is_own = is_own and type(error) is not ore.APIStatusError
        words = f"it is raised as {name}"
        place = f"status {status}"
        return Finding(place, "errors", place, words, _ERRORS, is_own, (status,))


def _offered_as(path: str) -> str:
    """Return where callers find a field; "" if the wrapper does not have it."""
    named = OFFERED.get(path) or OFFERED.get(f"{path.rpartition('.')[0]}.*", "")
    owner, _, attribute = named.partition(".")
    made = getattr(ore, owner, None)
    fields = {field.name for field in dataclasses.fields(made)} if made else set()
    return named if attribute in fields or hasattr(made, attribute) else ""
