"""Finds and edits schemas by their place in a published document of any page format."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from tools.openapi import mappings, resolve

Schema = dict[str, Any]
SchemaSlot = tuple[Any, Any]  # a container and a key in it
_UNIONS = ("anyOf", "oneOf", "allOf")


def document_of(request: Any, responses: Any = None, **components: Any) -> dict[str, Any]:
    """Make a document of one operation with this request schema, and components."""
    body = {"required": True, "content": {"application/json": {"schema": request}}}
    operation = {"operationId": "embed", "tags": ["embeddings"], "requestBody": body}
    operation["responses"] = responses or {"200": {"description": "ok"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/embeddings": {"post": operation}},
        "components": {"schemas": components},
    }


class NotApplicable(Exception):
    """An edit does not apply to this edition; the text says why."""


class DocumentEditor:
    """Edits a copy of a published document by place.

    A place is a message and a path in it: `request.provider.max_price`, `response.data[].index`,
    `error 429.error.code`. The suffix `:string` selects the alternative of that type, `:enum` the
    one that lists values; without a suffix, it is the whole schema.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = copy.deepcopy(document)

    @property
    def operation(self) -> dict[str, Any]:
        """`POST /embeddings`."""
        found: dict[str, Any] = self.document["paths"]["/embeddings"]["post"]
        return found

    @property
    def schemas(self) -> dict[str, Any]:
        """The component schemas."""
        found: dict[str, Any] = self.document.setdefault("components", {}).setdefault("schemas", {})
        return found

    def content(self, message: str) -> dict[str, Any]:
        """Return the media types of `request`, `response` or `error 429`."""
        holder = self.operation
        keys = ("responses", message.partition(" ")[2] or "200")
        for key in ("requestBody",) if message == "request" else keys:
            if key not in holder:
                raise NotApplicable(f"there is no {message}")
            holder = holder[key]
            if "$ref" in holder:
                holder = resolve(self.document, holder["$ref"])
        if "content" not in holder:
            raise NotApplicable(f"the {message} has no body")
        found: dict[str, Any] = holder["content"]
        return found

    def at(self, place: str) -> Schema:
        """Return the schema at a place for editing; shared schemas are copied first.

        Raises NotApplicable if the edition has no such place.
        """
        message, _, path = place.partition(":")[0].partition(".")
        kind = place.partition(":")[2]
        steps = [step for part in path.split(".") if part for step in _steps(part)]
        steps += [f":{kind}"] if kind else []
        content = self.content(message)
        if "application/json" not in content:
            raise NotApplicable(f"the {message} is not JSON")
        start: SchemaSlot = (content["application/json"], "schema")
        while True:
            hops = next(self._ways(start, steps), None)
            if hops is None:
                raise NotApplicable(f"there is no {place}")
            shared = [hop for hop in hops if self._is_shared(hop)]
            if not shared:
                holder, key = hops[-1]
                found: Schema = holder[key]
                return found
            self._copy(shared[0])

    def _ways(self, hop: SchemaSlot, steps: list[str]) -> Iterator[list[SchemaSlot]]:
        """Yield the ways from a schema down the steps, each as a list of slots."""
        node = hop[0][hop[1]]
        if not isinstance(node, dict):
            return
        if "$ref" not in node and not steps:
            yield [hop]
            return
        for below, rest in self._next(node, steps):
            yield from ([hop, *way] for way in self._ways(below, rest))
        if steps and steps[0].startswith(":") and _is(node, steps[0][1:]):
            yield from self._ways(hop, steps[1:])

    def _next(self, node: Schema, steps: list[str]) -> Iterator[tuple[SchemaSlot, list[str]]]:
        """Yield the next slots from a schema, and the steps that remain there."""
        if "$ref" in node:
            *path, last = node["$ref"].removeprefix("#/").split("/")
            there: Any = self.document
            for key in path:
                there = there[key]
            yield (there, last), steps
            return
        if steps[0] == "[]" and "items" in node:
            yield (node, "items"), steps[1:]
        if steps[0] in node.get("properties", {}):
            yield (node["properties"], steps[0]), steps[1:]
        for union in _UNIONS:
            yield from (((node[union], i), steps) for i in range(len(node.get(union, ()))))

    def _is_shared(self, hop: SchemaSlot) -> bool:
        reference = hop[0][hop[1]].get("$ref")
        uses = [node for _, node in mappings(self.document) if node.get("$ref") == reference]
        return reference is not None and len(uses) > 1

    def _copy(self, hop: SchemaSlot) -> None:
        """Replace a reference by a copy of its target."""
        node = hop[0][hop[1]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        there = copy.deepcopy(resolve(self.document, node["$ref"]))
        hop[0][hop[1]] = {**there, **beside}

    def object_at(self, place: str) -> Schema:
        """Return the object at a place; its fields are in `properties`."""
        found = self.at(f"{place}:object")
        found.setdefault("properties", {})
        return found

    def alternatives_at(self, place: str) -> list[Any]:
        """Return the alternatives at a place; make a union of one if there is none."""
        node = self.at(place)
        for union in ("anyOf", "oneOf"):
            if union in node:
                found: list[Any] = node[union]
                return found
        whole = dict(node)
        node.clear()
        node["anyOf"] = [whole]
        alternatives: list[Any] = node["anyOf"]
        return alternatives


def _steps(part: str) -> list[str]:
    name, *items = part.split("[]")
    return [name, *["[]" for _ in items]]


def _is(node: Schema, kind: str) -> bool:
    if kind == "enum":
        return "enum" in node
    kinds = node.get("type", "object" if "properties" in node else None)
    return kind in (kinds if isinstance(kinds, list) else [kinds])


Edit = Callable[[DocumentEditor], None]


def edited(document: dict[str, Any], *edits: Edit) -> dict[str, Any]:
    """Return an edited copy of a document. Raises NotApplicable if nothing changes."""
    editor = DocumentEditor(document)
    for edit in edits:
        edit(editor)
    if editor.document == document:
        raise NotApplicable("the edits change nothing")
    return editor.document
