"""Schemas found by their place in a published document, in whatever form it was published."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from tools.openapi import mappings, resolve

Schema = dict[str, Any]
SchemaSlot = tuple[Any, Any]  # a container, and the key of what it holds there
_UNIONS = ("anyOf", "oneOf", "allOf")


class NotApplicable(Exception):
    """An edit has nothing to do in this edition; the text says why."""


class DocumentEditor:
    """A published document, to be edited by place.

    A place is a message and a path in it: `request.provider.max_price`, `response.data[].index`,
    `error 429.error.code`. `:string` after it picks the alternative of that type, `:enum` the one
    that lists values; otherwise the schema as a whole is meant, its alternatives included.
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
        """The components."""
        found: dict[str, Any] = self.document.setdefault("components", {}).setdefault("schemas", {})
        return found

    def content(self, message: str) -> dict[str, Any]:
        """The media types of `request`, `response` or `error 429`."""
        holder = self.operation
        keys = ("responses", message.partition(" ")[2] or "200")
        for key in ("requestBody",) if message == "request" else keys:
            if key not in holder:
                raise NotApplicable(f"there is no {message}")
            holder = holder[key]
            if "$ref" in holder:
                holder = resolve(self.document, holder["$ref"])
        found: dict[str, Any] = holder["content"]
        return found

    def at(self, place: str) -> Schema:
        """The schema at a place, to be changed there alone: what others share is copied.

        Raises Moot where the edition has no such place.
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
        """The ways from a schema down the steps, each as the containers that it leads through."""
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
        """Where one may go from a schema, and the steps that are left there."""
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
        """Put a schema in place of a reference to it."""
        node = hop[0][hop[1]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        there = copy.deepcopy(resolve(self.document, node["$ref"]))
        hop[0][hop[1]] = {**there, **beside}

    def object_at(self, place: str) -> Schema:
        """The object at a place; its fields are in `properties`."""
        found = self.at(f"{place}:object")
        found.setdefault("properties", {})
        return found

    def alternatives_at(self, place: str) -> list[Any]:
        """The alternatives at a place, which has one where there is no union yet."""
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
    """A copy of a document after some edits. Raises Moot where they change nothing."""
    parse_edition = DocumentEditor(document)
    for edit in edits:
        edit(parse_edition)
    if parse_edition.document == document:
        raise NotApplicable("this edition is so already")
    return parse_edition.document
