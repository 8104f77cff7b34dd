"""Finds the places of every schema in the messages, such as `request.input[].content[].image_url`.

`request`, `response`, `error.408` and `query.limit` are the messages of an operation; `.name` is a
field, `[]` a list item, `.*` the value of an arbitrary key. Alternatives share the place of their
union; if several of them become classes, a word in parentheses tells them apart:
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
_ANY_STATUS = "Error"  # for a schema that several statuses share


@dataclass
class SchemaNode:
    """A schema. If several places use it, `origin` and `parent` are those the walk reached first.

    Attributes:
        schema: the schema, with references followed.
        origin: the keys that lead to it in the document.
        parent: the enclosing schema.
        name_part: what it adds to the name of its parent.
        places: all of its places in messages.
        statuses: the error statuses that use it.
        name: its class name, once it has one.
    """

    schema: dict[str, Json]
    origin: Pointer
    parent: "SchemaNode | None"
    name_part: str
    places: list[str]
    statuses: set[str] = field(default_factory=set)
    name: str = ""

    def status(self) -> str:
        """The name of the status whose response it is in; "" outside of errors."""
        above = self.parent.status() if self.parent else ""
        if above == _ANY_STATUS or len(self.statuses) > 1:
            return _ANY_STATUS
        return "".join(_status_words(status) for status in self.statuses)


class _Pending(NamedTuple):
    """A schema that the walk has yet to reach."""

    place: str
    schema: Json
    origin: Pointer
    parent: SchemaNode | None
    name_part: str
    status: str  # "" outside of errors


def walk_schemas(document: dict[str, Json], order: Iterable[str] = ()) -> list[SchemaNode]:
    """List every schema of the operations once, breadth first.

    Args:
        document: an OpenAPI document.
        order: operations such as `POST /embeddings`; places of the first have no prefix. All other
            operations follow by name.
    """
    met: dict[int, SchemaNode] = {}
    waiting = [*_messages(document, [*order])]
    for step in waiting:  # grows during the loop
        schema, origin = _follow(document, step.schema, step.origin)
        if not isinstance(schema, dict):  # `true` is also a schema
            continue
        node = met.get(id(schema))
        if node is None:
            node = SchemaNode(schema, origin, step.parent, step.name_part, [])
            met[id(schema)] = node
            waiting += _below(document, node, step)
        node.places.append(step.place)
        node.statuses |= {step.status} - {""}
    return [*met.values()]


def is_class(schema: Json) -> bool:
    """Whether the generator makes a class or an enum of a schema."""
    return isinstance(schema, dict) and (
        schema.get("type") == "object"
        or bool(schema.get("enum"))
        or ("properties" in schema and "type" not in schema)
    )


def pascal(text: str) -> str:
    """Convert a name to the case of classes: `image_url` to `ImageUrl`."""
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
    """Return the place of a response, its name part, and the status if it is an error."""
    if status == "200":
        return "response", "Response", ""
    words = f"{_status_words(status)}Response"
    if status.startswith("2"):
        return f"response.{status}", words, ""
    return f"error.{status}", words, status


def _status_words(status: str) -> str:
    return _STATUSES.get(status if status == "default" else status.upper(), f"Status{status}")


def _follow(document: dict[str, Json], node: Json, origin: Pointer) -> tuple[Json, Pointer]:
    """Follow references; return the schema and its keys. Circular references allow anything."""
    seen: set[str] = set()
    while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
        if reference in seen:
            return {}, origin
        seen.add(reference)
        node, origin = resolve(document, reference), parse_pointer(reference)
    return node, origin


def _below(document: dict[str, Json], node: SchemaNode, step: _Pending) -> Iterator[_Pending]:
    schema, origin, status = node.schema, node.origin, step.status
    place = re.sub(r"\([^()]*\)$", "", step.place)
    properties = schema.get("properties", {})
    for name in sorted(properties):
        inner = (*origin, "properties", name)
        yield _Pending(f"{place}.{name}", properties[name], inner, node, pascal(name), status)
    if "items" in schema:
        yield _Pending(f"{place}[]", schema["items"], (*origin, "items"), node, "Item", status)
    if isinstance(extra := schema.get("additionalProperties"), dict):
        inner = (*origin, "additionalProperties")
        yield _Pending(f"{place}.*", extra, inner, node, "Value", status)
    for key in ("anyOf", "oneOf", "allOf"):
        alternatives = schema.get(key, [])
        resolved = [_follow(document, each, ())[0] for each in alternatives]
        for number, alternative in enumerate(alternatives):
            word = _distinguishing_word(resolved, number)
            label = place + (f"({word})" if word else "")
            inner = (*origin, key, str(number))
            yield _Pending(label, alternative, inner, node, pascal(word), status)


def _distinguishing_word(alternatives: list[Json], number: int) -> str:
    """Return a word that tells an alternative from the others; "" if no other becomes a class.

    The word is the value of its tag, or its type, or a field that no other alternative has.
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
