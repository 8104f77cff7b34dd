"""The schemas of an OpenAPI document: follow references, complete values, make sample values."""

import math
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from openrouter_embeddings._extras import need

_MAX_DEPTH = 24  # ends the recursion of a schema that requires itself
_CHOICES = "$choices"  # key in a flattened schema: the alternatives of every `anyOf` and `oneOf`
_MERGED = ("$ref", "allOf", "anyOf", "oneOf")
_KINDS = ("object", "array", "string", "boolean", "number")


class Schemas:
    """The schemas of one OpenAPI document, which must not change afterwards."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        # what a validator needs beside a schema: everything that references can point to
        self._around = {"$defs": _definitions(document)}
        self._around |= {key: document[key] for key in ("components", "paths") if key in document}
        self._flat: dict[int, dict[str, Any]] = {}
        self._samples: dict[int, Any] = {}
        self._validators: dict[int, Any] = {}
        self._alive: list[Any] = []  # the objects whose ids are keys above

    def validator(self, schema: Any) -> Any:
        """A validator of jsonschema_rs for the schema and everything that it refers to."""
        found = self._validators.get(id(schema))
        if found is None:
            whole = {**schema, **self._around} if isinstance(schema, dict) else schema
            found = need("jsonschema_rs", "local").Draft202012Validator(whole, mask="the value")
            self._validators[id(schema)] = found
            self._alive.append(schema)
        return found

    def resolve(self, node: Any) -> Any:
        """The target of a reference, merged with the keys beside it; any other node as it is.

        Raises ValueError for a reference that leads nowhere.
        """
        for _ in range(_MAX_DEPTH):
            if not isinstance(node, dict) or "$ref" not in node:
                break
            found = self._target(node["$ref"])
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node = {**found, **beside} if beside else found
        return node

    def check(self, node: Any) -> None:
        """Raise ValueError if any reference that can be reached from the node leads nowhere."""
        seen: set[int] = set()
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, dict):
                if isinstance(reference := node.get("$ref"), str):
                    waiting.append(self._target(reference))
                node = [*node.values()]
            waiting += [one for one in node if isinstance(one, dict | list)]

    def _target(self, reference: Any) -> Any:
        found: Any = {**self._document, **self._around}
        try:
            for step in reference.removeprefix("#/").split("/"):
                name = unquote(step).replace("~1", "/").replace("~0", "~")
                found = found[int(name) if isinstance(found, list) else name]
        except (AttributeError, LookupError, TypeError, ValueError):
            raise ValueError(
                f"the contract refers to {reference!r:.200}, which is not in the document"
            ) from None
        return found

    def complete(self, value: Any, schema: Any, level: int = 0) -> Any:
        """Add the fields that the schema requires to a value, and remove those that it forbids.

        Changes objects only, at any depth. If a value can meet no alternative of an `anyOf` or
        `oneOf`, it stays as it is.
        """
        holds_objects = isinstance(value, list) and value[:1] and isinstance(value[0], dict | list)
        if level > _MAX_DEPTH or not (isinstance(value, dict) or holds_objects):
            return value
        return self._completed(value, self._flattened(schema), level)

    def _completed(self, value: Any, flat: dict[str, Any], level: int) -> Any:
        for alternatives in flat.get(_CHOICES, ()):
            value = self._completed_choice(value, alternatives, level)
        if isinstance(value, list):
            items = flat.get("items", True)
            return value if items is True else [self.complete(v, items, level + 1) for v in value]
        return self._completed_object(value, flat, level)

    def _completed_choice(self, value: Any, alternatives: list[Any], level: int) -> Any:
        """Complete by the alternative that keeps the most fields; if several do, by the first."""
        if any(self.validator(alternative).is_valid(value) for alternative in alternatives):
            return value
        best, most = value, -1
        for alternative in alternatives:
            completed = self.complete(value, alternative, level + 1)
            kept = _kept(value, completed)
            if kept > most and self.validator(alternative).is_valid(completed):
                best, most = completed, kept
        return best

    def _completed_object(
        self, value: dict[str, Any], flat: dict[str, Any], level: int
    ) -> dict[str, Any]:
        properties = flat.get("properties", {})
        closed = flat.get("additionalProperties") is False and "patternProperties" not in flat
        completed = {}
        for name, inner in value.items():
            if name in properties:
                if inner is not None or self.validator(properties[name]).is_valid(None):
                    completed[name] = self.complete(inner, properties[name], level + 1)
            elif not closed:
                completed[name] = inner
        for name in flat.get("required", ()):
            if name not in completed:
                completed[name] = self.sample(properties.get(name, True), level + 1)
        return completed

    def sample(self, schema: Any, level: int = 0) -> Any:
        """The plainest value that the schema allows: the first of an enum, null, {}, 0, "", ….

        None if no candidate is allowed.
        """
        if id(schema) not in self._samples:
            valid = self.validator(schema).is_valid
            found = next(filter(valid, self._candidates(schema, level)), None)
            self._samples[id(schema)] = found
            self._alive.append(schema)
        return self._samples[id(schema)]

    def _candidates(self, schema: Any, level: int) -> Iterator[Any]:
        flat = self._flattened(schema)
        if "const" in flat:
            yield flat["const"]
        yield from flat.get("enum", ())
        yield None
        if level > _MAX_DEPTH:
            return
        kinds = flat.get("type", [*_KINDS])
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            yield from self._of_kind(kind, flat, level)
        for alternative in (one for choice in flat.get(_CHOICES, ()) for one in choice):
            found = self.sample(alternative, level + 1)
            yield self._completed(found, flat, level + 1) if isinstance(found, dict) else found
        yield from (flat[key] for key in ("default", "example") if key in flat)
        yield from flat.get("examples", ())

    def _of_kind(self, kind: str, flat: dict[str, Any], level: int) -> Iterator[Any]:
        if kind == "object":
            yield self._completed({}, flat, level + 1)
        elif kind == "array":
            yield [self.sample(flat.get("items", True), level + 1)] * flat.get("minItems", 0)
        elif kind == "string":
            yield "x" * flat.get("minLength", 0)
        elif kind == "boolean":
            yield False
        else:
            yield from _numbers(flat, whole=kind == "integer")

    def _flattened(self, schema: Any, within: tuple[int, ...] = ()) -> dict[str, Any]:
        """A schema with its reference followed and its `allOf` merged.

        `within` has the ids of the schemas that it is a part of.
        """
        if not isinstance(schema, dict) or id(schema) in within:  # it refers to itself
            return {}
        if id(schema) not in self._flat:
            flat = {key: value for key, value in schema.items() if key not in _MERGED}
            flat[_CHOICES] = [schema[key] for key in ("anyOf", "oneOf") if key in schema]
            parts = [self._target(schema["$ref"])] if "$ref" in schema else []
            for part in [*parts, *schema.get("allOf", ())]:
                flat = _merged(flat, self._flattened(part, (*within, id(schema))))
            self._alive.append(schema)
            self._flat[id(schema)] = flat  # only now: other threads use it at once
        return self._flat[id(schema)]


def _definitions(document: Any) -> dict[str, Any]:
    """All `$defs` of the document: a schema refers to its own from its own root."""
    found: dict[str, Any] = {}
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(inner := node.get("$defs"), dict):
                found = {**inner, **found}
            node = [*node.values()]
        waiting += [one for one in node if isinstance(one, dict | list)]
    return found


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both schemas in one; if they conflict, the first one counts."""
    properties = {**other.get("properties", {}), **one.get("properties", {})}
    for name, inner in one.get("properties", {}).items():
        if other.get("properties", {}).get(name, inner) is not inner:
            properties[name] = {"allOf": [inner, other["properties"][name]]}
    return {
        **other,
        **one,
        "properties": properties,
        "required": [*one.get("required", ()), *other.get("required", ())],
        _CHOICES: [*one.get(_CHOICES, ()), *other.get(_CHOICES, ())],
    }


def _kept(before: Any, after: Any) -> int:
    """How many fields of a value are still there after a change."""
    if isinstance(before, dict) and isinstance(after, dict):
        return sum(1 + _kept(before[name], after[name]) for name in before if name in after)
    if isinstance(before, list) and before[:1] and isinstance(before[0], dict):
        return sum(map(_kept, before, after))
    return 0


def _numbers(flat: dict[str, Any], *, whole: bool) -> Iterator[float]:
    """Zero, and the numbers nearest to the bounds."""
    step = flat.get("multipleOf", 1 if whole else 0.5)
    bounds = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    yield 0
    for bound in (flat[name] for name in bounds if name in flat):
        yield bound
        nearest = math.floor(bound / step)
        yield from (step * (nearest + offset) for offset in (0, 1, -1))
        yield bound + 1e-9
