"""Places: the way to a schema as one would say it, `request.input[].content[].image_url`.

`request`, `response`, `error.408` and `query.limit` are the messages of an operation; `.name` is a
field, `[]` an item of a list, `.*` a value of an object of any keys. Alternatives share the place
of their union; where several of them become classes, a word in brackets tells which:
`request.input[].content[](input_audio)`. Places of operations other than the first begin with the
operation: `POST /rerank request.documents[]`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from openapi_python_client.schema.untrusted_string import UntrustedString
from openapi_python_client.strings import ClassName

from tools.openapi import Json, Pointer, operation_name, operations, parse_pointer, resolve

_STATUSES = {
    "201": "Created",
    "202": "Accepted",
    "400": "BadRequest",
    "401": "Unauthorized",
    "402": "PaymentRequired",
    "403": "Forbidden",
    "404": "NotFound",
    "405": "MethodNotAllowed",
    "408": "RequestTimeout",
    "409": "Conflict",
    "410": "Gone",
    "412": "PreconditionFailed",
    "413": "PayloadTooLarge",
    "415": "UnsupportedMediaType",
    "422": "UnprocessableEntity",
    "429": "TooManyRequests",
    "499": "ClientClosedRequest",
    "500": "InternalServer",
    "501": "NotImplemented",
    "502": "BadGateway",
    "503": "ServiceUnavailable",
    "504": "GatewayTimeout",
    "524": "EdgeNetworkTimeout",
    "529": "ProviderOverloaded",
    "4XX": "ClientError",
    "5XX": "ServerError",
    "default": "DefaultError",
}
_ANY_STATUS = "Error"  # of a schema that several statuses share


@dataclass
class SchemaNode:
    """A schema where the walk met it first, and how it got there.

    Attributes:
        schema: the schema, with no reference left to follow.
        origin: the keys that lead to it in the document.
        parent: the schema around it.
        words: what the step from there adds to a name.
        places: every place where it stands.
        statuses: the errors in which it stands.
        name: its class, once it has one.
    """

    schema: dict[str, Json]
    origin: Pointer
    parent: "SchemaNode | None"
    words: str
    places: list[str]
    statuses: set[str] = field(default_factory=set)
    name: str = ""

    def status(self) -> str:
        """The words for the status in whose answer it stands, "" outside of errors."""
        above = self.parent.status() if self.parent else ""
        if above == _ANY_STATUS or len(self.statuses) > 1:
            return _ANY_STATUS
        return "".join(_status_words(status) for status in self.statuses)


class _Pending(NamedTuple):
    """A schema that waits for its visit."""

    place: str
    node: Json
    origin: Pointer
    parent: SchemaNode | None
    words: str
    status: str  # "" outside of errors


def walk_schemas(document: dict[str, Json], order: Iterable[str] = ()) -> list[SchemaNode]:
    """Every schema below the operations, nearest first, each once.

    Args:
        document: an OpenAPI document.
        order: operations as `POST /embeddings`; the places of the first have no prefix. Others
            follow by name.
    """
    met: dict[int, SchemaNode] = {}
    waiting = [*_messages(document, [*order])]
    for step in waiting:  # grows while it is read
        schema, origin = _follow(document, step.node, step.origin)
        if not isinstance(schema, dict):  # `true` is a schema, too
            continue
        visit = met.get(id(schema))
        if visit is None:
            visit = SchemaNode(schema, origin, step.parent, step.words, [])
            met[id(schema)] = visit
            waiting += _below(document, visit, step)
        visit.places.append(step.place)
        visit.statuses |= {step.status} - {""}
    return [*met.values()]


def is_class(schema: Json) -> bool:
    """Whether the generator makes a class, or a named set of values, of a schema."""
    return isinstance(schema, dict) and (
        schema.get("type") == "object"
        or bool(schema.get("enum"))
        or ("properties" in schema and "type" not in schema)
    )


def pascal(text: str) -> str:
    """`image_url` as a class would spell it: `ImageUrl`."""
    return str(ClassName(UntrustedString(text), "field_")) if text else ""


def _messages(document: dict[str, Json], order: list[str]) -> Iterator[_Pending]:
    found = {operation_name(path): (path, each) for path, each in operations(document)}
    ranked = [name for name in order if name in found]
    ranked += sorted(name for name in found if name not in order)
    for number, name in enumerate(ranked):
        path, operation = found[name]
        prefix = f"{name} " if number else ""
        function = pascal(operation.get("operationId") or "_".join(path[1:]))
        body = (("requestBody",), operation.get("requestBody", {}), "request", "Request", "")
        messages: list[tuple[Pointer, Json, str, str, str]] = [body]
        for status, answer in sorted(operation.get("responses", {}).items()):
            messages.append((("responses", status), answer, *_answer(status)))
        for key, message, place, words, error in messages:
            for media, content in message.get("content", {}).items():
                if "schema" in content:
                    origin = (*path, *key, "content", media, "schema")
                    first = "" if error and not prefix else function
                    yield _Pending(
                        prefix + place, content["schema"], origin, None, first + words, error
                    )
        for number_, given in enumerate(operation.get("parameters", [])):
            parameter, origin = _follow(document, given, (*path, "parameters", str(number_)))
            if isinstance(parameter, dict) and "schema" in parameter:
                kind, parameter_name = parameter.get("in", ""), parameter.get("name", "")
                place = f"{prefix}{kind}.{parameter_name}"
                words = function + pascal(parameter_name)
                yield _Pending(place, parameter["schema"], (*origin, "schema"), None, words, "")


def _answer(status: str) -> tuple[str, str, str]:
    """The place of an answer, the words for it, and the status where it is an error."""
    if status == "200":
        return "response", "Response", ""
    words = f"{_status_words(status)}Response"
    if status.startswith("2"):
        return f"response.{status}", words, ""
    return f"error.{status}", words, status


def _status_words(status: str) -> str:
    return _STATUSES.get(status if status == "default" else status.upper(), f"Status{status}")


def _follow(document: dict[str, Json], node: Json, origin: Pointer) -> tuple[Json, Pointer]:
    """A schema without references, and where it stands; a circle of them means anything."""
    seen: set[str] = set()
    while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
        if reference in seen:
            return {}, origin
        seen.add(reference)
        node, origin = resolve(document, reference), parse_pointer(reference)
    return node, origin


def _below(document: dict[str, Json], visit: SchemaNode, step: _Pending) -> Iterator[_Pending]:
    schema, origin, status = visit.schema, visit.origin, step.status
    place = re.sub(r"\([^()]*\)$", "", step.place)
    properties = schema.get("properties", {})
    for name in sorted(properties):
        inner = (*origin, "properties", name)
        yield _Pending(f"{place}.{name}", properties[name], inner, visit, pascal(name), status)
    if "items" in schema:
        yield _Pending(f"{place}[]", schema["items"], (*origin, "items"), visit, "Item", status)
    if isinstance(extra := schema.get("additionalProperties"), dict):
        inner = (*origin, "additionalProperties")
        yield _Pending(f"{place}.*", extra, inner, visit, "Value", status)
    for key in ("anyOf", "oneOf", "allOf"):
        alternatives = schema.get(key, [])
        resolved = [_follow(document, each, ())[0] for each in alternatives]
        for number, alternative in enumerate(alternatives):
            word = _which(resolved, number)
            label = place + (f"({word})" if word else "")
            inner = (*origin, key, str(number))
            yield _Pending(label, alternative, inner, visit, pascal(word), status)


def _which(alternatives: list[Json], number: int) -> str:
    """A word that tells an alternative that becomes a class from the others; "" for the only one.

    The value of its tag, or what it is, or a field that no other has.
    """
    this = alternatives[number]
    classes = [each for each in alternatives if is_class(each)]
    if not is_class(this) or len(classes) == 1:
        return ""
    if tag := _tag(this):
        return tag
    alike = [each for each in classes if ("enum" in each) == ("enum" in this) and not _tag(each)]
    if len(alike) == 1:
        return "" if "enum" in this else "object"
    others = {name for each in classes if each is not this for name in each.get("properties", {})}
    own = sorted(set(this.get("properties", {})) - others)
    return f"with_{own[0]}" if own else f"form_{number + 1}"


def _tag(schema: dict[str, Json]) -> str:
    tags = [
        each["const"]
        for each in schema.get("properties", {}).values()
        if isinstance(each, dict) and isinstance(each.get("const"), str)
    ]
    return tags[0] if len(tags) == 1 else ""
