"""What the contract says of answers, operations and addresses, held against the wrapper."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import openrouter_embeddings as ore

from tools.documents import target
from tools.findings import WRAPPER, Finding
from tools.meaning import Reader
from tools.operation_changes import NO_KEY, addresses, json_schema, keys, operations_by_name
from tools.samples import Place, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tools.documents import Json
    from tools.probes import Wrapper

_CLIENT = f"{WRAPPER}/client/_sync.py"
_DECODE = f"{WRAPPER}/core/decode.py"
_ERRORS = f"{WRAPPER}/errors.py"
_RESULT = f"{WRAPPER}/result.py"
_OPTIONS = f"{WRAPPER}/core/options.py"
_ADDRESS = f"{WRAPPER}/transport/_url.py"
_KEY = f"{WRAPPER}/transport/_connections.py"
# Where callers find a field of an answer; `.*` stands for every field below.
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
# The same of an error's body, by what the exceptions carry.
_OFFERED_BY_ERRORS = {"error": "message", "error.code": "code", "error.message": "message"}


class ServiceDrift:
    """Looks at where and how the wrapper asks."""

    def __init__(self, document: dict[str, Json], name: str, wrapper: Wrapper) -> None:
        self._document = document
        self._operations = operations_by_name(document)
        self._name = name
        self._wrapper = wrapper

    def findings(self) -> Iterator[Finding]:
        """Other operations, parameters, the address, and the key."""
        for name in self._operations:
            if name != self._name:
                words = "the client has no method for it"
                yield Finding(
                    f"operation {name}", "operations", name, words, _CLIENT, is_offered=False
                )
        operation = self._operations[self._name]
        request = self._wrapper.request()
        for parameter in operation["parameters"]:
            yield self._parameter(target(self._document, parameter), request.headers)
        here = str(request.url).removesuffix(self._name.partition(" ")[2])
        there = addresses(operation)
        if there:  # an old page said nothing of it
            key, words = f"address {' or '.join(there)}", f"the wrapper asks {here}"
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
    """Looks at what becomes of answers."""

    def __init__(self, document: dict[str, Json], operation: Json, wrapper: Wrapper) -> None:
        self._schemas = {
            str(status): json_schema(document, response)
            for status, response in operation.get("responses", {}).items()
        }
        self._sampler = Sampler(Reader(document))
        self._wrapper = wrapper

    def findings(self) -> Iterator[Finding]:
        """The statuses, and the fields of successes and of errors."""
        successes = [status for status in self._schemas if status.startswith("2")]
        if not {"200", "2XX"} & {*successes}:
            words = "the contract has none any more"
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
        least = self._sampler.least(whole.shape)
        refusal = self._wrapper.refuses(number, least)
        yield Finding(
            f"response {status}",
            "response",
            f"status {status}",
            "the least answer is read"
            if refusal is None
            else f"the least answer is not: {refusal}",
            _DECODE,
            refusal is None,
        )
        for place in self._fields(whole, _offered_as, frozenset()):
            yield self._field(place.path)
            forms = place.shape.forms.values()
            tried = [(form.words, self._sampler.of(form, place.name)) for form in forms]
            tried += [("null", None)] if place.shape.null and not place.shape.anything else []
            for words, value in tried:
                if refusal is None:
                    error = self._wrapper.refuses(number, place.into(value))
                    yield self._form(place.path, words, error)

    def _fields(
        self, place: Place, known: Callable[[str], str | None], above: frozenset[int]
    ) -> Iterator[Place]:
        """Every field of a message, parents first; one that is not known stands for all in it."""
        if place.shape.source <= above:
            return
        below = above | place.shape.source
        for form in place.shape.forms.values():
            if form.items is not None:
                yield from self._fields(self._sampler.items(place, form), known, below)
            if form.kind == "object":
                for one in self._sampler.alternatives(form):
                    for field in self._sampler.fields(place, one):
                        yield field
                        if known(field.path):
                            yield from self._fields(field, known, below)

    def _field(self, path: str) -> Finding:
        named = _offered_as(path)
        words = f"it is {named}" if named else "no result has it; it is in served[…].body alone"
        return Finding(f"response field {path}", "response", path, words, _RESULT, bool(named))

    def _form(self, path: str, words: str, error: ore.EmbeddingsError | None) -> Finding:
        said = "is read" if error is None else f"is refused: {error}"
        key = f"response null {path}" if words == "null" else f"response form {path} {words}"
        sentence = f"an answer with {words} there {said}"
        return Finding(key, "response", path, sentence, _DECODE, error is None, (words,))

    def _error_field(self, path: str) -> Finding:
        named = _OFFERED_BY_ERRORS.get(path, "")
        words = f"it is error.{named}" if named else "it is in error.body alone"
        return Finding(f"error field {path}", "errors", path, words, _ERRORS, bool(named))

    def _status(self, status: str) -> Finding:
        """A status has an exception of its own; what stands for several has that of its kind."""
        digits = status.upper().replace("X", "0")
        number = int(digits) if digits.isdecimal() else 500
        body = {"error": {"code": number, "message": "x", "metadata": None}}
        error = self._wrapper.refuses(number, body)
        name = type(error).__name__
        is_own = isinstance(error, ore.APIStatusError)
        if status.isdecimal():
            is_own = is_own and type(error) is not ore.APIStatusError
        words = f"it is raised as {name}"
        place = f"status {status}"
        return Finding(place, "errors", place, words, _ERRORS, is_own, (status,))


def _offered_as(path: str) -> str:
    """Where callers find a field, if the wrapper does have it there."""
    named = OFFERED.get(path) or OFFERED.get(f"{path.rpartition('.')[0]}.*", "")
    owner, _, attribute = named.partition(".")
    made = getattr(ore, owner, None)
    fields = {field.name for field in dataclasses.fields(made)} if made else set()
    return named if attribute in fields or hasattr(made, attribute) else ""
